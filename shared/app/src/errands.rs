//! What is done outside, later or again: the one worker's work.
//!
//! An errand is claimed by a conditional write, carried out by looking at the state as it is, and
//! then removed or put back in line. Any number of schedulers may run. A claim that its scheduler
//! did not live to finish falls due again when its lease ends.
//!
//! A tick costs one read for each shard and a commit for every fifty errands that are due; it does
//! not grow with what exists.

mod archive;
mod dismantle;
mod plan;
mod raze;
mod reclaim;
mod wake;

use std::time::Duration;

use domain::container::{Container, ContainerEvent, ContainerState};
use domain::due::{Due, Errand};
use domain::event::Draft;
use domain::key::ApiKey;
use domain::realm::{Realm, RealmState};
use domain::run::{End, Run, RunEvent, RunState};
use domain::session::{Session, SessionState};
use domain::{ContainerId, KeyId, RunId, SessionId, Timestamp};
use futures::future::join_all;
use store::document::{self, Loaded};
use store::{Direction, MAX_WRITES, Query, Range, Scope, Write, keys};
use wire::shim::{Command, Down, failure};

use crate::commit::retry_conflict;
use crate::ports::ComputeError;
use crate::turn::{Turn, load_run, place};
use crate::{App, Error};

/// The worker's use cases.
#[derive(Clone, Copy, Debug)]
pub struct Errands<'a>(&'a App);

impl App {
    /// The worker's use cases.
    pub const fn errands(&self) -> Errands<'_> {
        Errands(self)
    }
}

/// What a tick found.
#[derive(Debug)]
pub struct Tick {
    /// What is due, oldest first.
    pub due: Vec<Loaded<Due>>,
    /// When the next errand falls due, where one waits and none is due.
    pub next: Option<Timestamp>,
}

/// What became of an errand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// What it asks for is done, or not wanted any more.
    Done,
    /// It is to be tried again after this long.
    Again(Duration),
}

/// The most errands a tick takes from one shard.
const PER_SHARD: usize = 64;

/// How long an index may take to show what was written.
const SHOWN: Duration = Duration::from_secs(5);

/// The most errands claimed in one commit: a claim is two writes.
const CLAIMS: usize = MAX_WRITES / 2;

/// How late a report may be written that was begun while its session was there.
const LATE: Duration = Duration::from_hours(1);

/// How often a container whose shim has hung up is looked for: over half a minute.
const LOOKS: u32 = 6;

impl Errands<'_> {
    /// What is due. One read for each shard.
    pub async fn tick(&self) -> Result<Tick, Error> {
        let now = self.0.now();
        let mut due = Vec::new();
        let mut next: Option<Timestamp> = None;
        for shard in 0..keys::DUE_SHARDS {
            let (head, _) = store::due::head(self.0.table(), shard, None, PER_SHARD).await?;
            for errand in head {
                if errand.value.at <= now {
                    due.push(errand);
                } else {
                    next = Some(next.map_or(errand.value.at, |next| next.min(errand.value.at)));
                    break;
                }
            }
        }
        due.sort_by_key(|errand| errand.value.at);
        Ok(Tick { due, next })
    }

    /// Takes an errand for oneself. None where another scheduler was faster. One commit.
    pub async fn claim(&self, due: &Loaded<Due>) -> Result<Option<Due>, Error> {
        match self.claim_together(std::slice::from_ref(due)).await {
            Ok(held) => Ok(held.into_iter().next()),
            Err(Error::Conflict) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Takes errands for oneself, many in one commit, and one by one those of a commit in which
    /// another scheduler was faster with any. None in the place of each that another has.
    pub async fn claim_all(&self, due: &[Loaded<Due>]) -> Vec<Result<Option<Due>, Error>> {
        let commits = due.chunks(CLAIMS).map(async |due| match self.claim_together(due).await {
            Ok(held) => held.into_iter().map(|held| Ok(Some(held))).collect(),
            // Which it was, the others' own commits say.
            Err(Error::Conflict) if due.len() > 1 => {
                join_all(due.iter().map(async |due| self.claim(due).await)).await
            }
            Err(Error::Conflict) => vec![Ok(None)],
            Err(error) => vec![Err(error)],
        });
        join_all(commits).await.into_iter().flatten().collect()
    }

    async fn claim_together(&self, due: &[Loaded<Due>]) -> Result<Vec<Due>, Error> {
        let until = self.0.now().after(self.0.settings.lease);
        let (held, writes): (Vec<_>, Vec<_>) =
            due.iter().map(|due| store::due::claim(due, until)).unzip();
        self.0.commit_own("errand.claim", writes.concat()).await?;
        Ok(held)
    }

    /// Does what an errand one holds asks for, and removes it or puts it back in line.
    pub async fn carry_out(&self, held: &Due) -> Result<Outcome, Error> {
        let outcome = match self.attempt(held).await {
            Ok(outcome) => outcome,
            // Nothing is there any more to do it to.
            Err(Error::NotFound(_)) => Outcome::Done,
            Err(error) => {
                tracing::warn!(errand = %held.errand, attempt = held.attempt, %error, "an errand failed");
                Outcome::Again(backoff(held.attempt))
            }
        };
        let writes = match outcome {
            Outcome::Done => vec![store::due::done(held)],
            Outcome::Again(wait) => {
                store::due::release(held, self.0.now().after(wait), held.attempt).into()
            }
        };
        match self.0.commit_own("errand.settle", writes).await {
            // The lease ended and another scheduler has it.
            Ok(()) | Err(Error::Conflict) => Ok(outcome),
            Err(error) => Err(error),
        }
    }

    /// Makes every claim and every watch due at once: for a control plane that starts and knows that
    /// no other runs. Costs what is in line.
    pub async fn take_over(&self) -> Result<(), Error> {
        for shard in 0..keys::DUE_SHARDS {
            let mut after = None;
            loop {
                let (page, next) = store::due::head(self.0.table(), shard, after, 100).await?;
                let now = self.0.now();
                for due in page {
                    let stale =
                        due.value.claimed || matches!(due.value.errand, Errand::Watch { .. });
                    if stale && due.value.at > now {
                        let writes = store::due::release(&due.value, now, due.value.attempt);
                        match self.0.commit_own("errand.take_over", writes.into()).await {
                            Ok(()) | Err(Error::Conflict) => {}
                            Err(error) => return Err(error),
                        }
                    }
                }
                match next {
                    Some(next) => after = Some(next),
                    None => break,
                }
            }
        }
        Ok(())
    }

    async fn attempt(&self, held: &Due) -> Result<Outcome, Error> {
        #[expect(clippy::disallowed_methods, reason = "a stored errand names its realm")]
        let scope = Scope::grant(held.realm);
        match held.errand {
            Errand::Dispatch { session } => self.dispatch(scope, session, held.attempt).await,
            Errand::Expire { session, run } => self.expire(scope, session, run).await,
            Errand::Watch { container, generation } => {
                self.watch(scope, container, generation).await
            }
            Errand::Look { container, generation } => {
                self.look(scope, container, generation, held.attempt).await
            }
            Errand::Settle { container } => {
                self.0.containers().settle_all(scope, container).await?;
                // What it ran is over, so somebody who waits may have room.
                self.0.admission().serve(scope).await?;
                Ok(Outcome::Done)
            }
            Errand::Stop { container } => self.stop(scope, container, held.attempt).await,
            Errand::Wake { container, before } => {
                self.wake(scope, (container, before), held.attempt).await
            }
            Errand::Raze { container } => self.raze(scope, container).await,
            Errand::Dismantle { agent } => self.dismantle(scope, agent, held.attempt).await,
            Errand::Quell => self.quell(scope).await,
            Errand::Disconnect { key } => self.disconnect(scope, key, held.attempt).await,
            Errand::Snapshot { agent, run } => {
                self.0.files().after_run(scope, agent, run).await?;
                Ok(Outcome::Done)
            }
            Errand::Admit => {
                self.0.admission().serve(scope).await?;
                Ok(Outcome::Done)
            }
            Errand::Archive { container } => self.archive(scope, container).await,
            Errand::Reclaim { agent } => self.reclaim(scope, agent).await,
            Errand::SyncRegistry { round } => {
                self.0.registry().sync(held.realm, round, held.attempt).await
            }
            Errand::Resolve { bundle, round } => {
                self.0.bundles().resolve(scope, bundle, round, held.attempt).await
            }
            Errand::Forget { session } => self.forget(scope, session).await,
        }
    }

    /// Sees that the run a session has in flight reaches its agent.
    async fn dispatch(&self, scope: Scope, id: SessionId, attempt: u32) -> Result<Outcome, Error> {
        let app = self.0;
        let key = keys::session(scope, id);
        let Some(session) = document::get::<Session>(app.table(), &key).await? else {
            return Ok(Outcome::Done);
        };
        let session = session.value;
        let Some(run) = session.active else { return Ok(Outcome::Done) };
        let containers = app.containers();
        let container = containers.load(scope, place(&session)).await?;
        let Some(container) = container else { return Ok(Outcome::Done) };
        if containers.settle(scope, id, &container).await? {
            return Ok(Outcome::Done);
        }
        let state = container.value.state;
        if session.held && container.value.has_place() {
            // It leaves an errand of its own.
            let gone = app.admission().let_go(scope, id).await?;
            return Ok(if gone { Outcome::Done } else { Outcome::Again(pace(attempt)) });
        }
        if state.needs_start() {
            let realm = self.realm(scope).await?;
            if realm.state == RealmState::Suspended {
                containers.call_off(scope, id).await?;
                return Ok(Outcome::Again(Duration::ZERO));
            }
            // Before anything is held for it: a download may take a while.
            if let Some(outcome) = self.plan(scope, &session, attempt).await? {
                return Ok(outcome);
            }
            if !app.admission().seek(scope, container.value.id, &realm.limits).await? {
                app.admission().tell(scope, id).await?;
                app.admission().serve(scope).await?;
                return Ok(Outcome::Again(pace(attempt)));
            }
            if session.held {
                return Ok(Outcome::Again(Duration::ZERO));
            }
            let idle = may_idle(&realm);
            let Some(begun) = containers.begin(scope, container.value.id, idle).await? else {
                return Ok(Outcome::Done);
            };
            if !begun.state.is_being_started() {
                // Somebody was faster, and it has come further already.
                return Ok(Outcome::Again(Duration::ZERO));
            }
            return self.provision(scope, &begun, attempt).await;
        }
        if session.reports.is_none() && state.takes_work() {
            containers.listen(scope, id, &container).await?;
        }
        if state.is_being_started() {
            // Asked for by somebody who may not have lived to see it: asking again is asking once.
            return self.provision(scope, &container.value, attempt).await;
        }
        if state.is_connected() {
            let run = load_run(app, scope, run).await?.value;
            let told = run.state != RunState::Dispatching && !run.owes_answer();
            if told && session.state != SessionState::Cancelling {
                return Ok(Outcome::Done);
            }
            if run.plan.is_none()
                && let Some(outcome) = self.plan(scope, &session, attempt).await?
            {
                return Ok(outcome);
            }
            let mut own = container.value;
            own.busy.retain(|&busy, _| busy == id);
            let commands = app.commands(scope, &own).await?;
            self.push(own.connection.as_deref(), commands).await;
        }
        // Confirmed by the shim's report, or by what becomes of the container.
        Ok(Outcome::Again(pace(attempt)))
    }

    async fn provision(
        &self,
        scope: Scope,
        container: &Container,
        attempt: u32,
    ) -> Result<Outcome, Error> {
        let why = match self.0.containers().provision(scope, container).await {
            Ok(()) => return Ok(Outcome::Again(pace(attempt))),
            Err(Error::Platform(why)) => why,
            Err(Error::Unavailable(source)) if attempt >= self.0.settings.start_tries => {
                tracing::warn!(container.id = %container.id, error = %source, "a start was given up");
                "the platform could not start the container".to_owned()
            }
            Err(error) => return Err(error),
        };
        let end = End::failure(failure::CONTAINER_UNAVAILABLE, why);
        self.0.containers().give_up(scope, container.id, container.generation, end).await?;
        Ok(Outcome::Again(Duration::ZERO))
    }

    async fn push(&self, connection: Option<&str>, commands: Vec<Command>) {
        let Some(connection) = connection.filter(|_| !commands.is_empty()) else { return };
        let Ok(frames) = Down::Commands(commands).frames() else { return };
        for frame in frames {
            // A connection that is gone asks for what is pending when it comes again.
            if self.0.ports.push.deliver(connection, frame).await.is_err() {
                return;
            }
        }
    }

    /// Ends a run that is past its time and that no shim has ended.
    async fn expire(&self, scope: Scope, id: SessionId, run: RunId) -> Result<Outcome, Error> {
        let app = self.0;
        let turn = Turn::of(app, scope, id).await?;
        if turn.session.active != Some(run) {
            return Ok(Outcome::Done);
        }
        let end = End::failure(failure::TIMEOUT, "the run took longer than its limit");
        let container = app.containers().load(scope, turn.place()).await?;
        if let Some(container) = container
            && container.value.state.may_run()
        {
            let Loaded { value, .. } = container;
            app.containers().give_up(scope, value.id, value.generation, end).await?;
            return Ok(Outcome::Again(Duration::from_secs(1)));
        }
        retry_conflict(self.0, || async {
            let mut turn = Turn::of(app, scope, id).await?;
            if turn.session.active == Some(run) {
                let loaded = load_run(app, scope, run).await?;
                turn.finish(app, loaded, RunEvent::Fail, end.clone(), None).await?;
                app.commit_own("run.expire", turn.into_writes(app).await?).await?;
            }
            Ok(())
        })
        .await?;
        Ok(Outcome::Done)
    }

    /// Looks after one start of a container.
    async fn watch(
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
        let silent = now.since(container.seen_at);
        let patience =
            if container.state.is_connected() { settings.silence } else { settings.start };
        let gone = match app.ports.compute.describe(id).await {
            Ok(observed) => observed.is_none_or(|observed| observed.generation != generation),
            Err(ComputeError::Refused(_) | ComputeError::Unavailable(_)) => false,
        };
        // What is being asked for may not be there yet; what has been seen must be.
        if silent >= patience || (gone && !container.state.is_being_started()) {
            let end = if container.state.is_connected() {
                End::failure(failure::CONTAINER_LOST, "the container was not heard of any more")
            } else {
                End::failure(
                    failure::CONTAINER_UNAVAILABLE,
                    "the container did not come up in time",
                )
            };
            app.containers().give_up(scope, id, generation, end).await?;
            return Ok(Outcome::Done);
        }
        let may_idle = may_idle(&self.realm(scope).await?);
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

    /// Looks, for a while, whether a start whose shim has hung up is gone. It may have hung up for
    /// another reason; then it comes again, and its watch goes on.
    async fn look(
        &self,
        scope: Scope,
        id: ContainerId,
        generation: u32,
        attempt: u32,
    ) -> Result<Outcome, Error> {
        let app = self.0;
        let Some(container) = app.containers().load(scope, id).await? else {
            return Ok(Outcome::Done);
        };
        let Container { state, generation: present, ref connection, .. } = container.value;
        if present != generation || !state.is_connected() || connection.is_some() {
            return Ok(Outcome::Done);
        }
        let there = app.ports.compute.describe(id).await?;
        if there.is_some_and(|observed| observed.generation == generation) {
            let last = attempt >= LOOKS;
            return Ok(if last { Outcome::Done } else { Outcome::Again(pace(attempt)) });
        }
        let end = End::failure(failure::CONTAINER_LOST, "the container ended while it was needed");
        app.containers().give_up(scope, id, generation, end).await?;
        Ok(Outcome::Done)
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

    /// Sees that a container that is to stop has stopped: first by asking its shim, then by force.
    async fn stop(&self, scope: Scope, id: ContainerId, attempt: u32) -> Result<Outcome, Error> {
        let app = self.0;
        let Some(container) = app.containers().load(scope, id).await? else {
            return Ok(Outcome::Done);
        };
        if container.value.state != ContainerState::Hibernating {
            return Ok(Outcome::Done);
        }
        if attempt <= 1 && container.value.connection.is_some() {
            self.push(container.value.connection.as_deref(), vec![Command::Stop]).await;
            return Ok(Outcome::Again(Duration::from_secs(3)));
        }
        let end = End::failure(failure::CONTAINER_LOST, "the container was stopped");
        app.containers().give_up(scope, id, container.value.generation, end).await?;
        Ok(Outcome::Done)
    }

    /// Stops whatever a suspended realm runs. Costs what the realm has.
    async fn quell(&self, scope: Scope) -> Result<Outcome, Error> {
        let app = self.0;
        if self.realm(scope).await?.state == RealmState::Active {
            return Ok(Outcome::Done);
        }
        app.stream().cut_all(scope, None).await?;
        let mut query = partition(keys::containers(scope), 100);
        loop {
            let page = document::list::<Container>(app.table(), query.clone()).await?;
            for container in page.items {
                let line = container.line.iter().map(|waiting| waiting.session);
                for session in container.busy.keys().copied().chain(line) {
                    app.containers().call_off(scope, session).await?;
                }
                if container.state.may_run() {
                    let end = End::failure(failure::INTERRUPTED, "the realm was suspended");
                    app.containers()
                        .give_up(scope, container.id, container.generation, end)
                        .await?;
                }
            }
            match page.next {
                Some(next) => query.after = Some(next),
                None => return Ok(Outcome::Done),
            }
        }
    }

    /// Sees that nobody listens with a key that has stopped working. Costs what listens.
    async fn disconnect(&self, scope: Scope, key: KeyId, attempt: u32) -> Result<Outcome, Error> {
        let known = document::get::<ApiKey>(self.0.table(), &keys::api_key(key)).await?;
        if known.is_some_and(|known| known.value.is_live(self.0.now())) {
            return Ok(Outcome::Done);
        }
        self.0.stream().cut_all(scope, Some(key)).await?;
        // One that was opened just before may not be in the index yet.
        Ok(if attempt > 1 { Outcome::Done } else { Outcome::Again(SHOWN) })
    }

    /// Ends what a session has in flight and in line, because its agent goes.
    async fn end(&self, scope: Scope, id: SessionId) -> Result<(), Error> {
        let app = self.0;
        app.containers().call_off(scope, id).await?;
        retry_conflict(self.0, || async {
            let mut turn = Turn::of(app, scope, id).await?;
            if let Some(active) = turn.session.active {
                let run = load_run(app, scope, active).await?;
                turn.finish(app, run, RunEvent::Cancel, End::plain(), None).await?;
            }
            let before = turn.session.state;
            let now = turn.now;
            turn.session.close(now)?;
            if turn.session.state != before {
                turn.draft(Draft::session_state(turn.session.state));
            }
            app.commit_own("session.end", turn.into_writes(app).await?).await
        })
        .await
    }

    /// Removes a closed session whose time is over.
    async fn forget(&self, scope: Scope, id: SessionId) -> Result<Outcome, Error> {
        let turn = Turn::of(self.0, scope, id).await?;
        if turn.session.state == SessionState::Completed {
            self.purge(scope, id).await?;
        }
        Ok(Outcome::Done)
    }

    /// Removes a session's events, its runs and itself, in that order: what is left after a crash is
    /// found again.
    async fn purge(&self, scope: Scope, id: SessionId) -> Result<(), Error> {
        let app = self.0;
        let (mut after, until) = (None, app.now().after(LATE));
        loop {
            let (writes, next) =
                store::event::remove(app.table(), scope, id, after, until, 100).await?;
            if !writes.is_empty() {
                app.commit_own("session.purge_events", writes).await?;
            }
            if next.is_none() {
                break;
            }
            after = next;
        }
        loop {
            let query = Query { on_index: true, ..partition(keys::runs_of(scope, id), 100) };
            let runs = document::list_versions::<Run>(app.table(), query).await?.items;
            if runs.is_empty() {
                break;
            }
            let writes: Vec<Write> = runs.iter().map(document::delete).collect();
            app.commit_own("session.purge_runs", writes).await?;
        }
        let session = document::get::<Session>(app.table(), &keys::session(scope, id)).await?;
        if let Some(session) = session {
            app.commit_own("session.purge", vec![document::delete(&session)]).await?;
        }
        Ok(())
    }

    async fn realm(&self, scope: Scope) -> Result<Realm, Error> {
        let realm = document::get::<Realm>(self.0.table(), &keys::realm(scope)).await?;
        realm.map(|realm| realm.value).ok_or(Error::NotFound("realm"))
    }
}

fn partition(pk: String, limit: usize) -> Query {
    Query {
        pk,
        on_index: false,
        range: Range::Prefix(String::new()),
        direction: Direction::Ascending,
        after: None,
        limit,
    }
}

/// 200 ms, doubling to 30 s.
fn backoff(attempt: u32) -> Duration {
    Duration::from_millis(200 << attempt.saturating_sub(1).min(8)).min(Duration::from_secs(30))
}

/// How long to wait for somebody else's word before looking again: 1 s, doubling to 30 s. The word
/// itself is acted on when it comes; looking is for when it is lost.
fn pace(attempt: u32) -> Duration {
    Duration::from_secs(1 << attempt.saturating_sub(1).min(5)).min(Duration::from_secs(30))
}

/// How long a container of this realm may be idle.
fn may_idle(realm: &Realm) -> Duration {
    Duration::from_secs(u64::from(realm.limits.idle_seconds))
}
