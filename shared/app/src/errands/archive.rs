//! An agent that nobody uses is archived: its container has stopped and was not needed again, or it has had
//! none.

use std::time::Duration;

use domain::agent::{Agent, AgentState};
use domain::{AgentId, AuditId, ContainerId, Timestamp};
use store::audit::Entry;
use store::document::{self, Loaded};
use store::{Expect, Scope, Write, keys};

use super::{Errands, Outcome};
use crate::Error;

impl Errands<'_> {
    /// Archives each agent of a container that has been stopped, and the agent unchanged, for as long as
    /// the realm says. Where there is no such container, the agent whose own it would be. Looks again when
    /// that may be, where it is not yet.
    pub(super) async fn archive(&self, scope: Scope, id: ContainerId) -> Result<Outcome, Error> {
        let app = self.0;
        let container = app.containers().load(scope, id).await?;
        let limits = self.realm(scope).await?.limits;
        let Some(after) = limits.archive_after() else { return Ok(Outcome::Done) };
        let (agents, stopped, still) = match &container {
            Some(one) if !one.value.state.needs_start() || !one.value.busy.is_empty() => {
                return Ok(Outcome::Done);
            }
            // It looks by itself, later.
            Some(one) if one.value.archive_at.is_some_and(|at| app.now() < at) => {
                return Ok(Outcome::Done);
            }
            Some(one) => {
                let agents = one.value.agents.keys().copied().collect();
                (agents, one.value.updated_at, document::check(one))
            }
            None => {
                let none = Write::Check { key: keys::container(scope, id), expect: Expect::Absent };
                (vec![AgentId::new(id.ulid())], Timestamp::default(), none)
            }
        };
        let mut soonest = None;
        for agent in agents {
            let key = keys::agent(scope, agent);
            let Some(agent) = document::get::<Agent>(app.table(), &key).await? else { continue };
            let here = agent.value.container.is_none_or(|place| place == id);
            if !here || !matches!(agent.value.state, AgentState::Active | AgentState::Paused) {
                continue;
            }
            let now = app.now();
            let rested = now.since(stopped.max(agent.value.updated_at));
            if let Some(left) = after.checked_sub(rested).filter(|left| !left.is_zero()) {
                soonest = Some(soonest.map_or(left, |soonest: Duration| soonest.min(left)));
                continue;
            }
            let archived = agent.value.moved(AgentState::Archived, now, limits.reclaim_after());
            let mut writes = store::agent::update(&agent, &archived, now);
            // Who needs it at this moment comes before or after.
            writes.push(still.clone());
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
