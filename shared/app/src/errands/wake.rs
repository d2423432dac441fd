//! A container that was started for nobody's run comes up, or is given up.

use std::time::Duration;

use domain::ContainerId;
use domain::container::ContainerState;
use domain::realm::RealmState;
use store::Scope;

use super::{Errands, Outcome, backoff, may_idle, pace};
use crate::Error;

/// How often a start is tried until the container counts as failed for good.
const STARTS: u32 = 3;

impl Errands<'_> {
    /// Sees that a container comes up that had `before` starts when somebody asked for it. A start that
    /// fails is followed by another, three in all, with growing pauses; then the last one's fault stays.
    /// Done as well where it is stopped meanwhile: whoever did that wanted it so.
    pub(super) async fn wake(
        &self,
        scope: Scope,
        (id, before): (ContainerId, u32),
        attempt: u32,
    ) -> Result<Outcome, Error> {
        let app = self.0;
        let Some(container) = app.containers().load(scope, id).await? else {
            return Ok(Outcome::Done);
        };
        let (state, starts) =
            (container.value.state, container.value.generation.saturating_sub(before));
        if state.is_connected() {
            let commands = app.commands(scope, &container.value).await?;
            let told = commands.is_empty();
            self.push(container.value.connection.as_deref(), commands).await;
            return Ok(if told { Outcome::Done } else { Outcome::Again(pace(attempt)) });
        }
        if state.is_being_started() {
            // Asked for by somebody who may not have lived to see it: asking again is asking once.
            return self.provision(scope, &container.value, attempt).await;
        }
        if state != ContainerState::Failed || starts >= STARTS {
            return Ok(Outcome::Done);
        }
        let realm = self.realm(scope).await?;
        if realm.state == RealmState::Suspended {
            return Ok(Outcome::Done);
        }
        if app.now().since(container.value.updated_at) < backoff(starts.max(1)) {
            return Ok(Outcome::Again(backoff(starts.max(1))));
        }
        let began = app.containers().restart(scope, &container, &realm, may_idle(&realm)).await?;
        Ok(Outcome::Again(if began { Duration::ZERO } else { pace(attempt) }))
    }
}
