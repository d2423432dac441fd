//! What the errands have in common that have a container started.

use std::time::Duration;

use domain::container::Container;
use domain::reconcile::Seen;
use store::Scope;
use wire::shim::{Command, Down};

use super::{Errands, Outcome, pace};
use crate::Error;

impl Errands<'_> {
    /// Asks the platform for the start a container is at. What it does not do is decided about as what
    /// it shows is.
    pub(super) async fn provision(
        &self,
        scope: Scope,
        container: &Container,
        attempt: u32,
    ) -> Result<Outcome, Error> {
        let generation = container.generation;
        let (seen, why) = match self.0.containers().provision(scope, container).await {
            Ok(()) => return Ok(Outcome::Again(pace(attempt))),
            Err(Error::Platform(why)) => (Seen::Refused(generation), why),
            Err(Error::Unavailable(source)) if attempt >= self.0.settings.start_tries => {
                tracing::warn!(container.id = %container.id, error = %source, "a start has failed");
                (Seen::Ended(generation), "the platform could not start the container".to_owned())
            }
            Err(error) => return Err(error),
        };
        self.0.containers().see(scope, container.id, seen, Some(&why)).await?;
        Ok(Outcome::Again(Duration::ZERO))
    }

    /// Hands commands to the shim at the end of a connection.
    pub(super) async fn push(&self, connection: Option<&str>, commands: Vec<Command>) {
        let Some(connection) = connection.filter(|_| !commands.is_empty()) else { return };
        let Ok(frames) = Down::Commands(commands).frames() else { return };
        for frame in frames {
            // A connection that is gone asks for what is pending when it comes again.
            if self.0.ports.push.deliver(connection, frame).await.is_err() {
                return;
            }
        }
    }
}
