//! Containers: started when a run needs one, watched, stopped, and given up when they are lost.
//!
//! What a container's end means for its sessions is decided once, in `Containers::settle`: a run
//! that was given to a start that is over has ended, whatever it was doing. Each session is settled
//! by its own commit, so a container may serve any number of them; the errand that sees to it stays
//! in line until all are.

mod manage;
mod place;

use std::collections::BTreeSet;
use std::time::Duration;

use domain::agent::{Agent, AgentState};
use domain::container::{Container, ContainerEvent, ContainerState};
use domain::due::Errand;
use domain::plan::ContainerPlan;
use domain::realm::Realm;
use domain::run::{End, RunEvent};
use domain::session::{Session, SessionState};
use domain::text::Slug;
use domain::{AgentId, ContainerId, SessionId};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use store::container::Bounds;
use store::document::{self, Loaded};
use store::{Expect, Scope, Write, keys};
use wire::shim::failure;

use crate::commit::retry_conflict;
use crate::ports::Observed;
use crate::turn::{Turn, load_run};
use crate::{App, Error};

/// The most sessions or runs that one commit is about: it takes 100 writes, and has a few more.
const AT_ONCE: usize = 90;

/// The most sessions that are told of a start in the commit that begins it.
const MAX_TOLD: usize = 64;

/// The use cases about containers.
#[derive(Clone, Copy, Debug)]
pub struct Containers<'a>(pub(crate) &'a App);

impl App {
    /// The use cases about containers.
    pub const fn containers(&self) -> Containers<'_> {
        Containers(self)
    }
}

impl Containers<'_> {
    /// The platform says that a start of a container is over. What ran in it has ended. A start that
    /// is not the present one changes nothing, and neither does one that was never heard of.
    pub async fn exited(&self, observed: Observed) -> Result<(), Error> {
        #[expect(clippy::disallowed_methods, reason = "the platform names what it ran for us")]
        let scope = Scope::grant(observed.realm);
        let Some(container) = self.load(scope, observed.container).await? else { return Ok(()) };
        if container.value.generation != observed.generation {
            return Ok(());
        }
        if container.value.state.is_being_started() {
            // It ended on its way up, perhaps because who started it did: whoever needs it asks again,
            // and its watch gives it up in time.
            return Ok(());
        }
        let end = End::failure(failure::CONTAINER_LOST, "the container ended while it was needed");
        self.over(scope, observed.container, observed.generation, end).await
    }

    /// What the platform runs and nobody needs is stopped; what it runs and somebody needs is kept.
    /// For when a control plane starts. Answers with how many were kept: their silence counts from
    /// now, because nobody was there to hear them.
    pub async fn reconcile(&self) -> Result<usize, Error> {
        let mut kept = 0;
        for observed in self.0.ports.compute.list().await? {
            #[expect(clippy::disallowed_methods, reason = "the platform names what it ran for us")]
            let scope = Scope::grant(observed.realm);
            if self.keep(scope, observed).await? {
                kept += 1;
            } else {
                self.0.ports.compute.stop(observed.container).await?;
            }
        }
        Ok(kept)
    }

    /// What the platform runs and nobody needs is stopped. For now and then: unlike
    /// [`reconcile`](Self::reconcile) it writes nothing, so whoever is silent stays so. Answers with
    /// how many were stopped. One read for each that runs.
    pub async fn sweep(&self) -> Result<usize, Error> {
        let mut stopped = 0;
        for observed in self.0.ports.compute.list().await? {
            #[expect(clippy::disallowed_methods, reason = "the platform names what it ran for us")]
            let scope = Scope::grant(observed.realm);
            if !self.load(scope, observed.container).await?.is_some_and(|c| needs(&c, observed)) {
                self.0.ports.compute.stop(observed.container).await?;
                stopped += 1;
            }
        }
        Ok(stopped)
    }

    async fn keep(&self, scope: Scope, observed: Observed) -> Result<bool, Error> {
        retry_conflict(self.0, || async {
            let found = self.load(scope, observed.container).await?;
            let Some(before) = found.filter(|container| needs(container, observed)) else {
                return Ok(false);
            };
            let container = Container { seen_at: self.0.now(), ..before.value.clone() };
            let writes = vec![document::put(&container, before.expect())];
            self.0.commit_own("container.keep", writes).await?;
            Ok(true)
        })
        .await
    }

    /// Stops every container of this platform, because the installation stops. What is in flight
    /// fails as interrupted; what waits, waits.
    pub async fn stop_all(&self) -> Result<(), Error> {
        let all = self.0.ports.compute.list().await?;
        let stopped = futures::future::join_all(all.into_iter().map(async |observed| {
            #[expect(clippy::disallowed_methods, reason = "the platform names what it ran for us")]
            let scope = Scope::grant(observed.realm);
            let end = End::failure(failure::INTERRUPTED, "the installation was stopped");
            self.give_up(scope, observed.container, observed.generation, end).await?;
            // Nobody carries out errands any more: what ran is told of here.
            let Some(container) = self.load(scope, observed.container).await? else {
                return Ok(());
            };
            for &session in container.value.busy.keys() {
                retry_conflict(self.0, || async {
                    match self.load(scope, observed.container).await? {
                        Some(container) => self.settle(scope, session, &container).await,
                        None => Ok(false),
                    }
                })
                .await?;
            }
            Ok(())
        }));
        stopped.await.into_iter().collect()
    }

    pub(crate) async fn load(
        &self,
        scope: Scope,
        id: ContainerId,
    ) -> Result<Option<Loaded<Container>>, Error> {
        Ok(document::get(self.0.table(), &keys::container(scope, id)).await?)
    }

    /// Marks what a session has in flight as to be stopped, and takes what waits out of the line.
    pub(crate) async fn call_off(&self, scope: Scope, session: SessionId) -> Result<(), Error> {
        while retry_conflict(self.0, || self.call_off_some(scope, session)).await? {}
        Ok(())
    }

    /// Answers whether more wait: one commit holds only so many.
    async fn call_off_some(&self, scope: Scope, session: SessionId) -> Result<bool, Error> {
        let app = self.0;
        let mut turn = Turn::of(app, scope, session).await?;
        let waiting: Vec<_> = turn.session.queue.iter().copied().take(AT_ONCE).collect();
        if waiting.is_empty() && turn.session.state != SessionState::Streaming {
            return Ok(false);
        }
        for id in waiting {
            let run = load_run(app, scope, id).await?;
            let expect = run.expect();
            let now = turn.now;
            turn.session.withdraw(id, now);
            let run = turn.step(run, RunEvent::Cancel, Some(End::plain()))?;
            turn.keep(run.value, expect);
        }
        let more = !turn.session.queue.is_empty();
        let in_flight = turn.session.active.is_some();
        if !more && in_flight && turn.session.state == SessionState::Streaming {
            let now = turn.now;
            turn.session.cancel(now)?;
            turn.errand(Errand::Dispatch { session });
        }
        app.commit_own("session.call_off", turn.into_writes(app).await?).await?;
        Ok(more)
    }

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
        container.seen_at = now;
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
            if session.reports.is_none() && !session.held {
                session.listen_to(id, container.generation);
                writes.push(document::put(&session, expect));
            }
        }
        let watch = Errand::Watch { container: id, generation: container.generation };
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
        let bundles = app.bundles().of_agents(scope, &agents).await?;
        let repositories: BTreeSet<Slug> =
            agents.into_iter().flat_map(|agent| agent.value.spec.repositories).collect();
        let plan = ContainerPlan {
            realm: scope.realm(),
            agent: container.owner(),
            container: container.id,
            generation: container.generation,
            token: app.shim_token(scope, container.id, container.generation)?,
            repositories: repositories.into_iter().collect(),
            bundles,
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

    /// Stops a start on the platform, and then counts it as over.
    pub(crate) async fn give_up(
        &self,
        scope: Scope,
        id: ContainerId,
        generation: u32,
        end: End,
    ) -> Result<(), Error> {
        if self.load(scope, id).await?.is_none_or(|now| now.value.generation == generation) {
            self.0.ports.compute.stop(id).await?;
        }
        self.over(scope, id, generation, end).await
    }

    /// A start is over: the container is stopped where that was wanted, failed where not, and
    /// the sessions it served are put in line to be settled.
    async fn over(
        &self,
        scope: Scope,
        id: ContainerId,
        generation: u32,
        end: End,
    ) -> Result<(), Error> {
        retry_conflict(self.0, || async {
            let app = self.0;
            let Some(before) = self.load(scope, id).await? else { return Ok(()) };
            if before.value.generation != generation || before.value.state.needs_start() {
                return Ok(());
            }
            // Before it counts as over: no later start has begun until it does.
            app.ports.compute.stop(id).await?;
            let now = app.now();
            let wanted = before.value.state == ContainerState::Hibernating;
            let event = if wanted { ContainerEvent::Stopped } else { ContainerEvent::Fail };
            let Ok(mut next) = before.value.apply(event, now) else { return Ok(()) };
            next.connection = None;
            next.fault = Some(end.clone());
            (next.room, next.leaving) = (false, false);
            let realm = document::get::<Realm>(app.table(), &keys::realm(scope)).await?;
            let rest = realm.and_then(|realm| realm.value.limits.archive_after());
            next.archive_at = rest.map(|rest| now.after(rest));
            let mut writes = store::container::write(Some(&before), &next, Bounds::NONE, now);
            let settle = app.due(scope.realm(), Errand::Settle { container: id }, now);
            writes.push(store::due::put(&settle));
            app.commit_own("container.over", writes).await
        })
        .await
    }

    /// Lets a session listen to the present start of its container.
    pub(crate) async fn listen(
        &self,
        scope: Scope,
        id: SessionId,
        container: &Loaded<Container>,
    ) -> Result<(), Error> {
        let table = self.0.table();
        let loaded = document::get::<Session>(table, &keys::session(scope, id)).await?;
        let Some(Loaded { value: mut session, version }) = loaded else { return Ok(()) };
        if session.reports.is_some() || session.active.is_none() {
            return Ok(());
        }
        session.listen_to(container.value.id, container.value.generation);
        let expect = Expect::Version(version);
        let writes = vec![document::put(&session, expect), document::check(container)];
        self.0.commit_own("session.listen", writes).await
    }

    /// Settles every session that a container serves.
    pub(crate) async fn settle_all(&self, scope: Scope, id: ContainerId) -> Result<(), Error> {
        let Some(container) = self.load(scope, id).await? else { return Ok(()) };
        for session in container.value.busy.into_keys() {
            let settled = retry_conflict(self.0, || async {
                match self.load(scope, id).await? {
                    Some(container) => self.settle(scope, session, &container).await,
                    None => Ok(false),
                }
            });
            match settled.await {
                Ok(_) | Err(Error::NotFound(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Ends the run a session has in flight, if it was given to a start that is over. Answers whether
    /// it was.
    pub(crate) async fn settle(
        &self,
        scope: Scope,
        session: SessionId,
        container: &Loaded<Container>,
    ) -> Result<bool, Error> {
        let app = self.0;
        let mut turn = Turn::of(app, scope, session).await?;
        let Some(active) = turn.session.active else { return Ok(false) };
        let cancelling = turn.session.state == SessionState::Cancelling;
        let over = |generation| {
            generation < container.value.generation || container.value.state.needs_start()
        };
        // A run that is held was given to nobody.
        let held = turn.session.held;
        let lost = !held && turn.session.reports.is_some_and(|reports| over(reports.generation));
        // A run that was called off before any start had it needs none.
        let unwanted = cancelling
            && (held || (turn.session.reports.is_none() && container.value.state.needs_start()));
        if !lost && !unwanted {
            return Ok(false);
        }
        let run = load_run(app, scope, active).await?;
        if lost {
            turn.session.reports = None;
        }
        turn.with_container(container.value.clone(), container.expect());
        if cancelling {
            turn.finish(app, run, RunEvent::Cancel, End::plain(), None).await?;
        } else {
            let fault = container.value.fault.clone();
            let end = fault.unwrap_or_else(|| {
                End::failure(failure::CONTAINER_LOST, "the container was stopped")
            });
            turn.finish(app, run, RunEvent::Fail, end, None).await?;
        }
        app.commit_own("session.settle", turn.into_writes(app).await?).await?;
        Ok(true)
    }
}

/// Whether what the platform runs is what the table wants to run.
fn needs(container: &Loaded<Container>, observed: Observed) -> bool {
    container.value.generation == observed.generation && container.value.state.may_run()
}

impl App {
    /// The token by which the shim of one start of a container proves itself:
    /// `st_<realm>_<container>_<generation>_<HMAC-SHA-256>`. It says nothing that is secret but its
    /// signature, and is worth nothing once that start is over.
    pub(crate) fn shim_token(
        &self,
        scope: Scope,
        id: ContainerId,
        generation: u32,
    ) -> Result<String, Error> {
        let claim = format!("st_{}_{}_{generation}", scope.realm().ulid(), id.ulid());
        let signature = self.sign(&claim)?;
        Ok(format!("{claim}_{signature}"))
    }

    pub(crate) fn sign(&self, claim: &str) -> Result<String, Error> {
        use std::fmt::Write;
        let key = self.settings.signing_key.ok_or(Error::Bug("who signs has the key"))?;
        let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(&key)
            .unwrap_or_else(|_| unreachable!("HMAC takes keys of any length"));
        mac.update(claim.as_bytes());
        Ok(mac.finalize().into_bytes().iter().fold(String::with_capacity(64), |mut out, byte| {
            let _ = write!(out, "{byte:02x}");
            out
        }))
    }
}
