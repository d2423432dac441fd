//! A start: it begins in the table, is asked for on the platform, and counts as made when that has it.

use std::collections::BTreeSet;
use std::time::Duration;

use domain::agent::{Agent, AgentState};
use domain::container::{Container, ContainerEvent, ContainerState};
use domain::due::Errand;
use domain::plan::ContainerPlan;
use domain::session::Session;
use domain::text::Slug;
use domain::{AgentId, ContainerId};
use store::container::Bounds;
use store::document::{self, Loaded};
use store::{Scope, Write, keys};

use super::Containers;
use crate::Error;
use crate::commit::retry_conflict;

/// The most sessions that are told of a start in the commit that begins it.
const MAX_TOLD: usize = 64;

impl Containers<'_> {
    /// Begins a start: the container gets its next generation, and every session that needs it
    /// listens to that one, as far as one commit holds them: the rest is told by its own errands.
    /// It is looked after from when it may have been idle long enough. What waited while its agent was
    /// paused wakes it. Answers with the container as it is now.
    pub(crate) async fn begin(
        &self,
        scope: Scope,
        id: ContainerId,
        may_idle: Duration,
    ) -> Result<Option<Container>, Error> {
        retry_conflict(self.0, || async {
            let app = self.0;
            let Some(before) = self.load(scope, id).await? else { return Ok(None) };
            // Nothing is started without room: see `admission`.
            if !before.value.state.needs_start() || !before.value.room {
                return Ok(Some(before.value));
            }
            let started = self.started(scope, &before, may_idle, Bounds::NONE).await?;
            let Some((container, writes)) = started else { return Ok(None) };
            app.commit_own("container.begin", writes).await?;
            Ok(Some(container))
        })
        .await
    }

    /// The next start of a container that is at rest and has room, and the writes that begin it: every
    /// start there is goes through here. None where nobody is left whom it could be for. Reads the
    /// agents that are needed, and the sessions that need them.
    pub(crate) async fn started(
        &self,
        scope: Scope,
        before: &Loaded<Container>,
        may_idle: Duration,
        bounds: Bounds,
    ) -> Result<Option<(Container, Vec<Write>)>, Error> {
        let app = self.0;
        let now = app.now();
        let id = before.value.id;
        let needed = before.value.needed();
        let mut writes = Vec::new();
        let agents = self.agents(scope, needed.iter().copied()).await?;
        let live = |agent: &&Loaded<Agent>| crate::agents::is_there(&agent.value);
        if !needed.is_empty() && !agents.iter().any(|agent| live(&agent)) {
            return Ok(None);
        }
        for agent in agents.iter().filter(live) {
            match agent.value.state {
                AgentState::Paused | AgentState::Archived => {
                    let awake = agent.value.moved(AgentState::Active, now, None);
                    writes.extend(store::agent::update(agent, &awake, now));
                }
                AgentState::Active | AgentState::Deleting | AgentState::Deleted => {
                    writes.push(document::check(agent));
                }
            }
        }
        let event = if before.value.state == ContainerState::Failed {
            ContainerEvent::Recover
        } else {
            ContainerEvent::Provision
        };
        let mut container = before.value.apply(event, now)?;
        container.generation += 1;
        container.connection = None;
        (container.seen_at, container.begun_at) = (now, Some(now));
        container.failures.again_at = None;
        container.archive_at = None;
        container.room = true;
        container.waits_since = None;
        writes.extend(store::container::write(Some(before), &container, bounds, now));
        for &session in container.busy.keys().take(MAX_TOLD) {
            let key = keys::session(scope, session);
            let Some(loaded) = document::get::<Session>(app.table(), &key).await? else {
                continue;
            };
            let expect = loaded.expect();
            let mut session = loaded.value;
            // Of a start that nobody heard of nobody will: what it was given is given to this one.
            let unheard = session.reports.is_none_or(|old| old.generation > container.heard_of);
            if unheard && !session.held {
                session.listen_to(id, container.generation);
                writes.push(document::put(&session, expect));
            }
        }
        let watch = Errand::Watch { container: id, generation: container.generation };
        let may_idle = container.profile.may_idle(may_idle);
        let at = now.after(app.settings.start.min(may_idle));
        writes.push(store::due::put(&app.due(scope.realm(), watch, at)));
        Ok(Some((container, writes)))
    }

    /// Those of these agents that there are. One read.
    async fn agents(
        &self,
        scope: Scope,
        ids: impl Iterator<Item = AgentId>,
    ) -> Result<Vec<Loaded<Agent>>, Error> {
        let keys: Vec<_> = ids.map(|id| keys::agent(scope, id)).collect();
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let found = self.0.table().batch_get(&keys).await?;
        Ok(found.iter().flatten().map(document::read).collect::<Result<_, _>>()?)
    }

    /// Asks the platform for the start a container is at. Idempotent.
    pub(crate) async fn provision(&self, scope: Scope, container: &Container) -> Result<(), Error> {
        let app = self.0;
        let agents = self.agents(scope, container.agents.keys().copied()).await?;
        let repositories: BTreeSet<Slug> =
            agents.into_iter().flat_map(|agent| agent.value.spec.repositories).collect();
        let plan = ContainerPlan {
            realm: scope.realm(),
            agent: container.owner(),
            container: container.id,
            generation: container.generation,
            token: app.shim_token(scope, container.id, container.generation)?,
            repositories: repositories.into_iter().collect(),
            resources: container.profile.resource_limits.unwrap_or_default(),
        };
        app.ports.compute.provision(&plan).await?;
        retry_conflict(self.0, || async {
            let before = match self.load(scope, container.id).await? {
                // A later start has taken its place.
                Some(now) if now.value.generation != container.generation => return Ok(()),
                // It was removed, or given up, before it was there.
                None => return Ok(app.ports.compute.forget(container.owner()).await?),
                Some(now) if now.value.state == ContainerState::Deleting => {
                    return Ok(app.ports.compute.forget(container.owner()).await?);
                }
                Some(now) if !now.value.state.may_run() => {
                    return Ok(app.ports.compute.stop(container.id).await?);
                }
                Some(now) => now,
            };
            // A shim that was faster has made this true already; a stop that was, has overtaken it.
            match before.value.apply(ContainerEvent::Started, app.now()) {
                Ok(next) if next.state != before.value.state => {
                    let writes = vec![document::put(&next, before.expect())];
                    app.commit_own("container.started", writes).await
                }
                Ok(_) | Err(_) => Ok(()),
            }
        })
        .await
    }
}
