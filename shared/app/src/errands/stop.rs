//! A container that is to stop has stopped.

use std::time::Duration;

use domain::ContainerId;
use domain::container::ContainerState;
use domain::run::End;
use store::Scope;
use wire::shim::{Command, failure};

use super::{Errands, Outcome};
use crate::Error;

impl Errands<'_> {
    /// Sees that a container that is to stop has stopped: first by asking its shim, then by force.
    pub(super) async fn stop(
        &self,
        scope: Scope,
        id: ContainerId,
        attempt: u32,
    ) -> Result<Outcome, Error> {
        let app = self.0;
        let Some(container) = app.containers().load(scope, id).await? else {
            return Ok(Outcome::Done);
        };
        if container.value.state != ContainerState::Hibernating {
            return Ok(Outcome::Done);
        }
        if attempt <= 1 && container.value.connection.is_some() {
            self.push(container.value.connection.as_deref(), vec![Command::Stop]).await;
            // A shim that has directories to send takes longer; its exit is heard of.
            let patience = if app.ports.workspaces.are_here() { 3 } else { 30 };
            return Ok(Outcome::Again(Duration::from_secs(patience)));
        }
        let end = End::failure(failure::CONTAINER_LOST, "the container was stopped");
        app.containers().give_up(scope, id, container.value.generation, end).await?;
        Ok(Outcome::Done)
    }
}
