//! One start of a container is looked after: whether it lives, and whether it is idle for too long.

use std::time::Duration;

use domain::ContainerId;
use domain::container::ContainerEvent;
use domain::due::Errand;
use domain::reconcile::{Decision, Seen, decide};
use store::{Scope, document};

use super::{Errands, Outcome, may_idle};
use crate::Error;

impl Errands<'_> {
    /// Looks after one start of a container.
    pub(super) async fn watch(
        &self,
        scope: Scope,
        id: ContainerId,
        generation: u32,
    ) -> Result<Outcome, Error> {
        let app = self.0;
        let Some(container) = app.containers().load(scope, id).await? else {
            return Ok(Outcome::Done);
        };
        if container.value.generation != generation || !container.value.state.may_run() {
            return Ok(Outcome::Done);
        }
        let (now, settings) = (app.now(), &app.settings);
        let container = container.value;
        // While nobody could hear it, it was not silent.
        let silent = now.since(container.seen_at.max(app.listens_since()));
        let patience =
            if container.state.is_connected() { settings.silence } else { settings.start };
        let seen = if silent >= patience {
            Seen::Silent(generation)
        } else {
            app.containers().shown(id, container.begun_at.unwrap_or(now)).await
        };
        match decide(Some(container.stored(now)), seen) {
            Decision::Leave | Decision::Adopt => {}
            Decision::Remove
            | Decision::Stop
            | Decision::Fail(_)
            | Decision::Recover(..)
            | Decision::GiveUp(_) => {
                app.containers().see(scope, id, seen, None).await?;
                return Ok(Outcome::Again(Duration::ZERO));
            }
        }
        let may_idle = container.profile.may_idle(may_idle(&self.realm(scope).await?));
        let mut left = may_idle;
        if let Some(idle_at) = container.idle_at {
            left = may_idle.saturating_sub(now.since(idle_at));
            if left.is_zero() {
                self.hibernate(scope, id, generation).await?;
                left = may_idle;
            }
        }
        // One that becomes idle meanwhile is looked at before it has been so for twice as long as it may.
        let wait = patience.saturating_sub(silent).min(left);
        Ok(Outcome::Again(wait.max(Duration::from_secs(1))))
    }

    async fn hibernate(&self, scope: Scope, id: ContainerId, generation: u32) -> Result<(), Error> {
        let app = self.0;
        let Some(before) = app.containers().load(scope, id).await? else { return Ok(()) };
        if before.value.generation != generation || !before.value.busy.is_empty() {
            return Ok(());
        }
        let now = app.now();
        let next = before.value.apply(ContainerEvent::Hibernate, now)?;
        let errand = app.due(scope.realm(), Errand::Stop { container: id }, now);
        let writes = vec![document::put(&next, before.expect()), store::due::put(&errand)];
        match app.commit_own("container.hibernate", writes).await {
            // Somebody just needed it.
            Err(Error::Conflict) => Ok(()),
            done => done,
        }
    }
}
