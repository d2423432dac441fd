//! A container whose shim has hung up is looked for.

use domain::ContainerId;
use domain::container::Container;
use domain::reconcile::Seen;
use store::Scope;

use super::{Errands, Outcome, pace};
use crate::Error;

/// How often a container whose shim has hung up is looked for: over half a minute.
const LOOKS: u32 = 6;

impl Errands<'_> {
    /// Looks, for a while, whether a start whose shim has hung up is gone. It may have hung up for
    /// another reason; then it comes again, and its watch goes on.
    pub(super) async fn look(
        &self,
        scope: Scope,
        id: ContainerId,
        generation: u32,
        attempt: u32,
    ) -> Result<Outcome, Error> {
        let app = self.0;
        let Some(container) = app.containers().load(scope, id).await? else {
            return Ok(Outcome::Done);
        };
        let Container { state, generation: present, ref connection, .. } = container.value;
        if present != generation || !state.is_connected() || connection.is_some() {
            return Ok(Outcome::Done);
        }
        let since = container.value.begun_at.unwrap_or(container.value.seen_at);
        let seen = app.containers().shown(id, since).await;
        if seen == Seen::Unknown || seen == Seen::Runs(generation) {
            let last = attempt >= LOOKS;
            return Ok(if last { Outcome::Done } else { Outcome::Again(pace(attempt)) });
        }
        app.containers().see(scope, id, seen, None).await?;
        Ok(Outcome::Done)
    }
}
