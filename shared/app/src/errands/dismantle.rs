//! A deleted agent is taken apart: what runs, then its sessions, then what it kept, then itself.

use std::time::Duration;

use domain::agent::{Agent, AgentState};
use domain::container::{Container, ContainerEvent, ContainerState};
use domain::due::Errand;
use domain::session::Session;
use domain::{AgentId, ContainerId};
use store::container::Bounds;
use store::document::{self, Loaded};
use store::realm::{Counter, count};
use store::{Query, Scope, Write, keys};

use super::{Errands, Outcome, pace, partition};
use crate::Error;
use crate::turn::container_id;

impl Errands<'_> {
    /// Takes a deleted agent apart: some sessions at a time, then the rest. Its container goes with it,
    /// where it has one to itself; another goes on for the others.
    pub(super) async fn dismantle(
        &self,
        scope: Scope,
        id: AgentId,
        attempt: u32,
    ) -> Result<Outcome, Error> {
        let app = self.0;
        let key = keys::agent(scope, id);
        let Some(agent) = document::get::<Agent>(app.table(), &key).await? else {
            return Ok(Outcome::Done);
        };
        if agent.value.state != AgentState::Deleting {
            return Ok(Outcome::Done);
        }
        let place = agent.value.container.unwrap_or_else(|| container_id(id));
        let own = place == container_id(id);
        let container = app.containers().load(scope, place).await?;
        match &container {
            Some(before) if own && before.value.state != ContainerState::Deleting => {
                self.give_up_own(scope, before).await?;
                return Ok(Outcome::Again(Duration::ZERO));
            }
            Some(shared) if !own && self.still_runs(scope, shared, id).await? => {
                let connection = shared.value.connection.as_deref();
                if let Some(container) = app.containers().load(scope, place).await? {
                    self.push(connection, app.commands(scope, &container.value).await?).await;
                }
                return Ok(Outcome::Again(pace(attempt)));
            }
            Some(_) | None => {}
        }
        if own {
            app.ports.compute.stop(place).await?;
        }
        let query = Query { on_index: true, ..partition(keys::sessions_of(scope, id), 20) };
        let sessions = document::list::<Session>(app.table(), query).await?;
        if !sessions.items.is_empty() {
            for session in &sessions.items {
                self.end(scope, session.id).await?;
                self.purge(scope, session.id).await?;
            }
            return Ok(Outcome::Again(Duration::ZERO));
        }
        let turn = app.ports.workspaces.turn(id).await;
        if own {
            app.ports.compute.forget(id).await?;
        } else {
            app.ports.compute.evict(place, id).await?;
        }
        app.files().purge(scope, id).await?;
        drop(turn);
        loop {
            let writes = store::log::remove(app.table(), scope, id).await?;
            if writes.is_empty() {
                break;
            }
            app.commit_own("agent.purge_log", writes).await?;
        }
        let mut writes = store::agent::remove(&agent);
        writes.extend(self.without(scope, place, id).await?);
        writes.push(count(scope, Counter::Agents, -1, i64::MAX));
        writes.extend(app.files().late(scope, id));
        app.commit_own("agent.gone", writes).await?;
        Ok(Outcome::Done)
    }

    /// Whether a process of the agent goes on in a container that it shares. Nothing does in one that is
    /// being deleted: it is stopped before anything of it goes.
    pub(super) async fn still_runs(
        &self,
        scope: Scope,
        shared: &Loaded<Container>,
        id: AgentId,
    ) -> Result<bool, Error> {
        let app = self.0;
        if shared.value.state == ContainerState::Deleting {
            app.ports.compute.stop(shared.value.id).await?;
            return Ok(false);
        }
        app.containers().quiet(scope, shared.value.id, id).await
    }

    /// Has the container that an agent has to itself go.
    async fn give_up_own(&self, scope: Scope, before: &Loaded<Container>) -> Result<(), Error> {
        debug_assert_eq!(before.value.realm, scope.realm());
        let now = self.0.now();
        let mut next = before.value.apply(ContainerEvent::Delete, now)?;
        (next.waits_since, next.archive_at) = (None, None);
        // What may run has room until it is gone.
        next.room &= !before.value.state.needs_start();
        let writes = store::container::write(Some(before), &next, Bounds::NONE, now);
        self.0.commit_own("container.delete", writes).await
    }

    /// The writes by which an agent's container is without it: the agent's own goes.
    async fn without(
        &self,
        scope: Scope,
        place: ContainerId,
        id: AgentId,
    ) -> Result<Vec<Write>, Error> {
        let app = self.0;
        let Some(before) = app.containers().load(scope, place).await? else {
            return Ok(Vec::new());
        };
        let now = app.now();
        if !before.value.is_shared() {
            let mut writes = store::container::remove(&before, now);
            writes.push(store::due::put(&app.due(scope.realm(), Errand::Admit, now)));
            return Ok(writes);
        }
        let mut next = before.value.clone();
        for session in next.sessions_of(id) {
            for session in next.vacate(session, now)? {
                let errand = app.due(scope.realm(), Errand::Dispatch { session }, now);
                app.commit_own("session.turn", vec![store::due::put(&errand)]).await?;
            }
        }
        self.leave(scope, &before, next, id)
    }

    /// The writes by which a container that agents share is without one of them. One that was made to
    /// place an agent goes with the last.
    pub(super) fn leave(
        self,
        scope: Scope,
        before: &Loaded<Container>,
        mut next: Container,
        id: AgentId,
    ) -> Result<Vec<Write>, Error> {
        let (app, now) = (self.0, self.0.now());
        next.agents.remove(&id);
        let mut writes = Vec::new();
        if next.is_left_over() {
            next = next.apply(ContainerEvent::Delete, now)?;
            (next.waits_since, next.archive_at) = (None, None);
            next.room &= !before.value.state.needs_start();
            let raze = Errand::Raze { container: next.id };
            writes.push(store::due::put(&app.due(scope.realm(), raze, now)));
        }
        writes.extend(store::container::write(Some(before), &next, Bounds::NONE, now));
        Ok(writes)
    }
}
