//! A container comes up that somebody wants up, or has a clear end.

use std::time::Duration;

use domain::ContainerId;
use domain::container::{Container, ContainerState};
use domain::due::Errand;
use domain::realm::RealmState;
use store::Scope;
use store::container::Bounds;
use store::document::Loaded;

use super::{Errands, Outcome, may_idle, pace};
use crate::Error;

impl Errands<'_> {
    /// Sees that a container comes up that was started for nobody's run, or has now got the room to. A
    /// start that fails is followed by others as long as it is being recovered; then the last one's fault
    /// stays. Done as well where it is stopped meanwhile: whoever did that wanted it so.
    pub(super) async fn wake(
        &self,
        scope: Scope,
        id: ContainerId,
        attempt: u32,
    ) -> Result<Outcome, Error> {
        let app = self.0;
        let Some(container) = app.containers().load(scope, id).await? else {
            return Ok(Outcome::Done);
        };
        if container.value.state.is_connected() {
            let commands = app.commands(scope, &container.value).await?;
            let told = commands.is_empty();
            self.push(container.value.connection.as_deref(), commands).await;
            return Ok(if told { Outcome::Done } else { Outcome::Again(pace(attempt)) });
        }
        if container.value.was_let_in() {
            let realm = self.realm(scope).await?;
            if realm.state == RealmState::Suspended {
                return Ok(Outcome::Again(pace(attempt)));
            }
            if app.containers().begin(scope, id, may_idle(&realm)).await?.is_some() {
                return Ok(Outcome::Again(Duration::ZERO));
            }
            // Whoever it was woken for is gone.
            let now = app.now();
            let mut next = container.value.clone();
            next.withdraw();
            let mut writes = store::container::write(Some(&container), &next, Bounds::NONE, now);
            writes.push(store::due::put(&app.due(scope.realm(), Errand::Admit, now)));
            app.commit_own("container.withdraw", writes).await?;
            return Ok(Outcome::Done);
        }
        self.bring_up(scope, &container, attempt).await
    }

    /// Sees that a container is started again whose start `generation` has failed, if somebody still needs
    /// it by then.
    pub(super) async fn recover(
        &self,
        scope: Scope,
        id: ContainerId,
        generation: u32,
        attempt: u32,
    ) -> Result<Outcome, Error> {
        let Some(container) = self.0.containers().load(scope, id).await? else {
            return Ok(Outcome::Done);
        };
        let Container { state, generation: present, .. } = container.value;
        // The start that this one has begun is its own to see to; what follows that has an errand itself.
        let own = present == generation || (present == generation + 1 && state.is_being_started());
        if !own || !container.value.is_wanted() {
            return Ok(Outcome::Done);
        }
        self.bring_up(scope, &container, attempt).await
    }

    /// Asks for the start that is under way, or begins the next one where it is time.
    async fn bring_up(
        &self,
        scope: Scope,
        container: &Loaded<Container>,
        attempt: u32,
    ) -> Result<Outcome, Error> {
        let app = self.0;
        if container.value.state.is_being_started() {
            // Asked for by somebody who may not have lived to see it: asking again is asking once.
            return self.provision(scope, &container.value, attempt).await;
        }
        let recovers = container.value.failures.again_at.is_some();
        if container.value.state != ContainerState::Failed || !recovers {
            return Ok(Outcome::Done);
        }
        let realm = self.realm(scope).await?;
        if realm.state == RealmState::Suspended {
            return Ok(Outcome::Done);
        }
        if let Some(left) = container.value.must_wait(app.now()) {
            return Ok(Outcome::Again(left));
        }
        let began = app.containers().restart(scope, container, &realm, may_idle(&realm)).await?;
        Ok(Outcome::Again(if began { Duration::ZERO } else { pace(attempt) }))
    }
}
