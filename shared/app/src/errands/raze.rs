//! A deleted container is taken apart: what runs, then its agents, then what it kept.

use std::time::Duration;

use domain::ContainerId;
use domain::Machine;
use domain::agent::{Agent, AgentEvent, AgentLifecycle, AgentState};
use domain::container::ContainerState;
use domain::due::Errand;
use store::{Scope, document, keys};

use super::{Errands, Outcome};
use crate::Error;

/// How long the errands of its agents may take before it is looked again.
const LOOK: Duration = Duration::from_millis(500);

impl Errands<'_> {
    /// Takes a container apart that is being deleted. Its agents go with it: their workspaces are part
    /// of it.
    pub(super) async fn raze(&self, scope: Scope, id: ContainerId) -> Result<Outcome, Error> {
        let app = self.0;
        let Some(container) = app.containers().load(scope, id).await? else {
            return Ok(Outcome::Done);
        };
        if container.value.state != ContainerState::Deleting {
            return Ok(Outcome::Done);
        }
        app.ports.compute.stop(id).await?;
        let now = app.now();
        for &agent in container.value.agents.keys() {
            let key = keys::agent(scope, agent);
            let Some(before) = document::get::<Agent>(app.table(), &key).await? else { continue };
            if matches!(before.value.state, AgentState::Deleting | AgentState::Deleted) {
                continue;
            }
            let state = AgentLifecycle::step(before.value.state, AgentEvent::Delete)?;
            let next = before.value.moved(state, now, None);
            let mut writes = store::agent::update(&before, &next, now);
            let errand = app.due(scope.realm(), Errand::Dismantle { agent }, now);
            writes.push(store::due::put(&errand));
            app.commit_own("agent.delete", writes).await?;
        }
        if !container.value.agents.is_empty() {
            return Ok(Outcome::Again(LOOK));
        }
        app.ports.compute.forget(container.value.owner()).await?;
        let mut writes = store::container::remove(&container, now);
        writes.extend(store::pool::leave(&container.value));
        writes.push(store::due::put(&app.due(scope.realm(), Errand::Admit, now)));
        app.commit_own("container.gone", writes).await?;
        Ok(Outcome::Done)
    }
}
