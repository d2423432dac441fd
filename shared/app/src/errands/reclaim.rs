//! An agent that nobody took out of the archive loses its workspace and home, and keeps the rest.

use std::time::Duration;

use domain::AgentId;
use domain::agent::{Agent, AgentState};
use store::{Expect, Scope, Write, document, keys};

use super::{Errands, Outcome};
use crate::Error;
use crate::turn::container_id;

/// When to look again at a container, or at a process in one with other agents, that is on its way to rest.
const AT_REST: Duration = Duration::from_mins(10);

impl Errands<'_> {
    /// Says first that an agent is reclaimed, so that nothing wakes it any more, and then removes what
    /// it has on disk, its snapshots and its place in a container. What it said and did stays.
    pub(super) async fn reclaim(&self, scope: Scope, id: AgentId) -> Result<Outcome, Error> {
        let app = self.0;
        let key = keys::agent(scope, id);
        let Some(agent) = document::get::<Agent>(app.table(), &key).await? else {
            return Ok(Outcome::Done);
        };
        if agent.value.state != AgentState::Archived {
            return Ok(Outcome::Done);
        }
        if agent.value.reclaimed_at.is_none() {
            let never = self.realm(scope).await?.limits.reclaim_after().is_none();
            let Some(at) = agent.value.reclaim_at.filter(|_| !never) else {
                return Ok(Outcome::Done);
            };
            let now = app.now();
            if now < at {
                return Ok(Outcome::Again(at.since(now)));
            }
            let place = agent.value.container.unwrap_or_else(|| container_id(id));
            let container = app.containers().load(scope, place).await?;
            let mut reclaimed = agent.value.moved(AgentState::Archived, now, None);
            reclaimed.reclaimed_at = Some(now);
            let mut writes = store::agent::update(&agent, &reclaimed, now);
            match &container {
                Some(shared) if shared.value.is_shared() => {
                    if self.still_runs(scope, shared, id).await? {
                        return Ok(Outcome::Again(AT_REST));
                    }
                    writes.extend(self.leave(scope, shared, shared.value.clone(), id)?);
                }
                Some(own) if !own.value.state.needs_start() => {
                    return Ok(Outcome::Again(AT_REST));
                }
                Some(own) => writes.extend(store::container::remove(own, now)),
                None => writes.push(Write::Check {
                    key: keys::container(scope, place),
                    expect: Expect::Absent,
                }),
            }
            writes.push(self.entry(&agent, "agent.reclaim"));
            writes.extend(app.files().late(scope, id));
            app.commit_own("agent.reclaim", writes).await?;
        }
        // Who changes files has looked before whether there is anything left to change.
        let _turn = app.ports.workspaces.turn(id).await;
        match agent.value.container {
            Some(place) if place != container_id(id) => {
                app.ports.compute.evict(place, id).await?;
            }
            Some(_) | None => app.ports.compute.forget(id).await?,
        }
        app.files().purge(scope, id).await?;
        Ok(Outcome::Done)
    }
}
