//! An agent whose container has stopped and was not needed again is archived.

use std::time::Duration;

use domain::agent::{Agent, AgentState};
use domain::{AuditId, ContainerId};
use store::audit::Entry;
use store::document::{self, Loaded};
use store::{Expect, Scope, keys};

use super::{Errands, Outcome};
use crate::Error;

impl Errands<'_> {
    /// Archives each agent of a container that has been stopped, and the agent unchanged, for as long as
    /// the realm says. Looks again when that may be, where it is not yet.
    pub(super) async fn archive(&self, scope: Scope, id: ContainerId) -> Result<Outcome, Error> {
        let app = self.0;
        let Some(container) = app.containers().load(scope, id).await? else {
            return Ok(Outcome::Done);
        };
        let limits = self.realm(scope).await?.limits;
        let Some(after) = limits.archive_after() else { return Ok(Outcome::Done) };
        if !container.value.state.needs_start() || !container.value.busy.is_empty() {
            return Ok(Outcome::Done);
        }
        let mut soonest = None;
        for &agent in container.value.agents.keys() {
            let key = keys::agent(scope, agent);
            let Some(agent) = document::get::<Agent>(app.table(), &key).await? else { continue };
            if !matches!(agent.value.state, AgentState::Active | AgentState::Paused) {
                continue;
            }
            let now = app.now();
            let rested = now.since(container.value.updated_at.max(agent.value.updated_at));
            if let Some(left) = after.checked_sub(rested).filter(|left| !left.is_zero()) {
                soonest = Some(soonest.map_or(left, |soonest: Duration| soonest.min(left)));
                continue;
            }
            let archived = agent.value.moved(AgentState::Archived, now, limits.reclaim_after());
            let mut writes = store::agent::update(&agent, &archived, now);
            // Who needs it at this moment comes before or after.
            writes.push(document::check(&container));
            writes.push(self.entry(&agent, "agent.archive"));
            app.commit_own("agent.put_away", writes).await?;
        }
        Ok(soonest.map_or(Outcome::Done, Outcome::Again))
    }

    /// What the control plane did to an agent by itself, for the audit log.
    pub(super) fn entry(self, agent: &Loaded<Agent>, action: &str) -> store::Write {
        let now = self.0.now();
        let entry = Entry {
            id: AuditId::new(self.0.ulid(now)),
            realm: agent.value.realm,
            actor: None,
            action: action.to_owned(),
            target: agent.value.id.to_string(),
            time: now,
        };
        document::put(&entry, Expect::Absent)
    }
}
