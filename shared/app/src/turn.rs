//! One step of a session's turns: what was read, what is decided about it, and the writes that make
//! it so.
//!
//! Every change of a session goes through here: a prompt, a report, a cancel, a lost container. So
//! the session, its run, the next run, the container's occupancy, the events and the errands that
//! follow are always written by one commit.
//!
//! A report that only continues what is said while a run is in flight is its batch of events alone. It
//! rests on what it read of the session all the same: whatever changes whose reports are taken, or which
//! run is in flight, appends an event, and of two that append at one number one gets a conflict. So the
//! end of the events is read first and the session after it, and a batch that finds its place free was
//! decided about the session as it is. What changes a session without an event (a run in flight is to
//! stop; a start is listened to where none was) does not matter to such a report.

use std::sync::Arc;
use std::time::Duration;

use domain::admission::Place;
use domain::container::Container;
use domain::due::{Due, Errand};
use domain::event::Draft;
use domain::instance::{AuthMethod, InstanceEvent};
use domain::reconcile::Failures;
use domain::run::{End, Reason, Run, RunEvent};
use domain::session::Session;
use domain::{ContainerId, DueId, RunId, SessionId, Timestamp};
use store::container::Bounds;
use store::document::{self, Loaded};
use store::event::Tail;
use store::{Expect, Scope, Write, keys};
use wire::shim::{Ended, failure};

use crate::admission::Seats;
use crate::ports::Ids;
use crate::{App, Error};

/// A container, as it was and as it is now.
#[derive(Debug)]
struct Kept {
    before: Option<Loaded<Container>>,
    now: Container,
    changed: bool,
}

/// A session, with the changes that were decided about it and about what hangs on it.
#[derive(Debug)]
pub(crate) struct Turn {
    pub(crate) scope: Scope,
    pub(crate) now: Timestamp,
    pub(crate) session: Session,
    session_before: Loaded<Session>,
    /// Where the events ended before the session was read, where that is known.
    tail: Option<Tail>,
    container: Option<Kept>,
    bounds: Bounds,
    /// Whether other containers wait for room, as far as is known.
    others_wait: bool,
    runs: Vec<(Run, Expect)>,
    drafts: Vec<Draft>,
    dues: Vec<Due>,
    /// What is written besides.
    besides: Vec<Write>,
    ids: Arc<dyn Ids>,
}

impl Turn {
    /// Reads where a session's events end, and then the session: what a report needs. Two reads.
    pub(crate) async fn continuing(
        app: &App,
        scope: Scope,
        session: SessionId,
    ) -> Result<Self, Error> {
        let tail = store::event::tail(app.table(), scope, session).await?;
        let mut turn = Self::of(app, scope, session).await?;
        turn.session.catch_up(tail.last, tail.heard);
        turn.tail = Some(tail);
        Ok(turn)
    }

    /// Reads a session that somebody asks for, and nothing else.
    pub(crate) async fn there(app: &App, scope: Scope, session: SessionId) -> Result<Self, Error> {
        Self::of(app, scope, session).await?.unless_deleted()
    }

    /// The same, where it is a session to whoever asks.
    pub(crate) fn unless_deleted(self) -> Result<Self, Error> {
        if self.session.deleting { Err(Error::NotFound("session")) } else { Ok(self) }
    }

    /// Reads a session, and nothing else.
    pub(crate) async fn of(app: &App, scope: Scope, session: SessionId) -> Result<Self, Error> {
        let key = keys::session(scope, session);
        let loaded =
            document::get::<Session>(app.table(), &key).await?.ok_or(Error::NotFound("session"))?;
        Ok(Self::over(app, scope, loaded))
    }

    /// Reads a session and one run, at once.
    pub(crate) async fn with_run(
        app: &App,
        scope: Scope,
        session: SessionId,
        run: RunId,
    ) -> Result<(Self, Option<Loaded<Run>>), Error> {
        let (session, run) = document::get_both::<Session, Run>(
            app.table(),
            &keys::session(scope, session),
            &keys::run(scope, run),
        )
        .await?;
        Ok((Self::over(app, scope, session.ok_or(Error::NotFound("session"))?), run))
    }

    pub(crate) fn over(app: &App, scope: Scope, loaded: Loaded<Session>) -> Self {
        Self {
            scope,
            now: app.now(),
            session: loaded.value.clone(),
            session_before: loaded,
            tail: None,
            container: None,
            bounds: Bounds::NONE,
            others_wait: false,
            runs: Vec::new(),
            drafts: Vec::new(),
            dues: Vec::new(),
            besides: Vec::new(),
            ids: Arc::clone(&app.ports.ids),
        }
    }

    /// Takes the container along, which was read or is new.
    pub(crate) fn with_container(&mut self, container: Container, expect: Expect) {
        let before = match expect {
            Expect::Absent => None,
            Expect::Version(version) => Some(Loaded { value: container.clone(), version }),
        };
        let changed = before.is_none();
        self.container = Some(Kept { before, now: container, changed });
    }

    /// Appends an event.
    pub(crate) fn draft(&mut self, draft: Draft) {
        self.drafts.push(draft);
    }

    /// Leaves an errand, due at once.
    pub(crate) fn errand(&mut self, errand: Errand) {
        self.errand_at(errand, self.now);
    }

    /// Leaves an errand, due at `at`.
    pub(crate) fn errand_at(&mut self, errand: Errand, at: Timestamp) {
        let id = DueId::new(self.ids.ulid(self.now));
        self.dues.push(Due::new(id, self.scope.realm(), errand, at));
    }

    /// Applies an event to a run and tells it. Answers with the run as it is now.
    pub(crate) fn step(
        &mut self,
        run: Loaded<Run>,
        event: RunEvent,
        end: Option<End>,
    ) -> Result<Loaded<Run>, Error> {
        let Loaded { value, version } = run;
        let value = value.apply(event, end, self.now)?;
        self.drafts.push(Draft::run_state(&value));
        Ok(Loaded { value, version })
    }

    /// How long who follows a deleted session has to hear its last event.
    pub(crate) const FAREWELL: Duration = Duration::from_secs(1);

    /// The session, which is deleted and has nothing in flight, ends with its last event.
    pub(crate) fn leave(&mut self) -> Result<(), Error> {
        let before = self.session.state;
        self.session.close(self.now)?;
        if self.session.state != before {
            self.draft(Draft::session_state(self.session.state));
        }
        self.draft(Draft::session_deleted());
        Ok(())
    }

    /// Writes something else along with the session.
    pub(crate) fn write(&mut self, write: Write) {
        self.besides.push(write);
    }

    /// Keeps a run as it is now.
    pub(crate) fn keep(&mut self, run: Run, expect: Expect) {
        self.runs.push((run, expect));
    }

    /// It is `run`'s turn, and this is what its container finds: it is started for it, or waits; where
    /// neither is possible, the run is refused.
    pub(crate) fn seat(&mut self, run: Loaded<Run>, seats: &Seats) -> Result<Loaded<Run>, Error> {
        self.bounds = seats.bounds();
        let now = self.now;
        if let Some(Kept { now: container, before, .. }) = &mut self.container {
            if before.is_none() {
                seats.one_more()?;
            }
            if container.has_place() {
                return self.promote(run);
            }
            if !container.state.needs_start() || container.waits_since.is_some() {
                return Ok(self.hold(run));
            }
            match seats.place() {
                Place::Room => container.room = true,
                Place::Line => {
                    container.waits_since = Some(now);
                    return Ok(self.hold(run));
                }
                Place::Full => return Err(Error::CapacityExhausted),
            }
        }
        self.promote(run)
    }

    /// It is `run`'s turn, and its container cannot be started yet: the run stays where it is, and
    /// somebody is to see that it goes on.
    fn hold(&mut self, mut run: Loaded<Run>) -> Loaded<Run> {
        let (session, agent) = (self.session.id, run.value.agent);
        self.session.held = true;
        if let Some(Kept { now: container, changed, .. }) = &mut self.container {
            // A start that goes on numbers on where it was.
            if !container.state.takes_work() {
                self.session.reports = None;
            }
            self.session.container = Some(container.id);
            *changed = true;
            if !container.takes(session) {
                container.stand_in_line(session, agent);
                run.value.reason = Some(Reason::ContainerFull);
                self.drafts.push(Draft::waiting_for_container(run.value.id, container.capacity));
                // Whoever makes room in it says so.
                return run;
            }
            container.busy.insert(session, agent);
            if container.waits_since.is_some() {
                run.value.reason = Some(Reason::WaitingForCapacity);
                self.drafts.push(Draft::waiting_for_capacity(run.value.id));
            }
        }
        self.errand(Errand::Dispatch { session });
        run
    }

    /// Somebody asks for the container anew, where it was given up.
    pub(crate) fn ask_anew(&mut self) {
        if let Some(Kept { now: container, changed, .. }) = &mut self.container
            && container.is_given_up()
        {
            container.ask_anew();
            *changed = true;
        }
    }

    /// A run has ended in the container as its agent said: what failed before counts no more.
    pub(crate) fn is_well(&mut self) {
        if let Some(Kept { now: container, changed, .. }) = &mut self.container
            && !container.failures.none()
        {
            container.failures = Failures::default();
            *changed = true;
        }
    }

    /// Whether the container of the run whose turn it is has still to get room.
    pub(crate) fn needs_room(&self) -> bool {
        self.container.as_ref().is_some_and(|container| !container.now.has_place())
    }

    /// It is `run`'s turn: the user's words are told, and somebody is to see that it starts. Where its
    /// container does as many runs as it takes, it is held until one of them has ended.
    pub(crate) fn promote(&mut self, run: Loaded<Run>) -> Result<Loaded<Run>, Error> {
        if self.container.as_ref().is_some_and(|of| !of.now.takes(self.session.id)) {
            return Ok(self.hold(run));
        }
        self.drafts.push(Draft::user_message(run.value.id, run.value.prompt.as_str()));
        let mut run = self.step(run, RunEvent::Dispatch, None)?;
        let session = self.session.id;
        self.session.held = false;
        if let Some(Kept { now: container, changed, .. }) = &mut self.container {
            self.session.container = Some(container.id);
            *changed = true;
            container.occupy(session, run.value.agent, self.now)?;
            if container.state.takes_work() {
                self.session.listen_to(container.id, container.generation);
            } else {
                // Which start will do it is not known yet: no report counts until it is.
                self.session.reports = None;
            }
        }
        // The shim ends a run at its time; this ends it where no shim does.
        let limit = Duration::from_secs(u64::from(run.value.limits.timeout_seconds) + 120);
        let deadline = self.now.after(limit);
        run.value.deadline = Some(deadline);
        self.dues.push(expiry(&run.value, deadline));
        self.errand(Errand::Dispatch { session });
        Ok(run)
    }

    /// Ends the run in flight, and begins the next one where one waits. Reads the container and the
    /// next run where it needs them. `told` is what its shim says of the end, where it does: it has had
    /// kept before what the run left.
    pub(crate) async fn finish(
        &mut self,
        app: &App,
        run: Loaded<Run>,
        event: RunEvent,
        end: End,
        told: Option<&Ended>,
    ) -> Result<(), Error> {
        let expect = run.expect();
        let mut ended = self.step(run, event, Some(end.clone()))?;
        ended.value.usage = told.and_then(|told| told.usage);
        if let Some(deadline) = ended.value.deadline
            && self.now < deadline
        {
            // Before its time nobody has claimed it, so it is where it was put.
            self.besides.push(store::due::call_off(&expiry(&ended.value, deadline)));
        }
        let place = self.place();
        let agent = ended.value.agent;
        if told.is_none() && app.ports.workspaces.are_here() {
            self.errand(Errand::Snapshot { agent, run: ended.value.id });
        }
        self.keep(ended.value, expect);
        let next = self.session.settle(self.now)?;
        if self.container.is_none() {
            self.load_container(app, place).await?;
        }
        self.mark(&end);
        // Whoever stands in line goes before the next run of the same session.
        let others = self.container.as_ref().is_some_and(|of| !of.now.line.is_empty());
        let mut turn_of = Vec::new();
        if (next.is_none() || others)
            && let Some(Kept { now: container, changed, .. }) = &mut self.container
        {
            *changed = true;
            turn_of = container.vacate(self.session.id, self.now)?;
        }
        for session in turn_of {
            self.errand(Errand::Dispatch { session });
        }
        if let Some(next) = next {
            let next = load_run(app, self.scope, next).await?;
            let expect = next.expect();
            let goes = self.container.as_ref().is_none_or(|container| container.now.has_place());
            let next = if goes { self.promote(next)? } else { self.hold(next) };
            self.keep(next.value, expect);
        } else if let Some(Kept { now: container, .. }) = &mut self.container {
            let gave_room = container.withdraw();
            if gave_room || (self.others_wait && container.is_idle()) {
                self.errand(Errand::Admit);
            }
        }
        Ok(())
    }

    /// What the end of a run says of its agent's process.
    fn mark(&mut self, end: &End) {
        let event = match end.code.as_deref() {
            Some(failure::AUTH_REQUIRED) => InstanceEvent::AuthRequired,
            Some(failure::AGENT_UNAVAILABLE) => InstanceEvent::Fail,
            Some(_) | None => return,
        };
        if let Some(Kept { now: container, changed, .. }) = &mut self.container
            && let Some(instance) = container.agents.get_mut(&self.session.agent)
            && let Ok(next) = instance.apply(event, end.detail.clone(), self.now)
        {
            *changed |= *instance != next;
            *instance = next;
        }
    }

    /// The agent of the run that has ended offers these ways to log in.
    pub(crate) fn offers_login(&mut self, methods: &[AuthMethod]) {
        if let Some(Kept { now: container, changed, .. }) = &mut self.container
            && let Some(instance) = container.agents.get_mut(&self.session.agent)
        {
            let before = instance.auth_methods.clone();
            instance.offers_login(methods);
            *changed |= instance.auth_methods != before;
        }
    }

    /// The container in which the session's runs go on.
    pub(crate) fn place(&self) -> ContainerId {
        place(&self.session)
    }

    async fn load_container(&mut self, app: &App, place: ContainerId) -> Result<(), Error> {
        let keys =
            [keys::container(self.scope, place), store::realm::Counter::Waiting.key(self.scope)];
        let found = app.table().batch_get(&keys).await?;
        self.others_wait = found.get(1).and_then(Option::as_ref).is_some_and(|row| row.count > 0);
        if let Some(item) = found.first().and_then(Option::as_ref) {
            let loaded = document::read::<Container>(item)?;
            let expect = loaded.expect();
            self.with_container(loaded.value, expect);
        }
        Ok(())
    }

    /// The writes that make it so. Reads where the session's events end, where there are some to add,
    /// a run was in flight, and that is not known.
    pub(crate) async fn into_writes(mut self, app: &App) -> Result<Vec<Write>, Error> {
        let before = &self.session_before.value;
        let in_flight = before.active.is_some();
        if in_flight && self.tail.is_none() && !self.drafts.is_empty() {
            let tail = store::event::tail(app.table(), self.scope, before.id).await?;
            self.session.catch_up(tail.last, tail.heard);
        }
        // Known before the session was read, and nothing of it to be written but how far it has come.
        let alone = in_flight
            && self.tail.is_some()
            && !self.drafts.is_empty()
            && self.session.is_as(before);
        let events = self.session.number(std::mem::take(&mut self.drafts), self.now);
        let mut writes = Vec::with_capacity(8);
        if !alone {
            writes.push(document::put(&self.session, self.session_before.expect()));
        }
        let Session { agent, id, reports, .. } = self.session;
        let heard = reports.filter(|_| alone);
        writes.extend(store::event::append(self.scope, agent, id, &events, heard));
        writes.extend(self.runs.iter().map(|(run, expect)| document::put(run, *expect)));
        if let Some(Kept { before, now, changed: true }) = &self.container {
            writes.extend(store::container::write(before.as_ref(), now, self.bounds, self.now));
        }
        writes.extend(self.dues.iter().map(store::due::put));
        writes.append(&mut self.besides);
        Ok(writes)
    }
}

/// The errand that ends a run past its time. It has the run's ULID, so that who ends the run in time
/// can take it out of the line.
fn expiry(run: &Run, deadline: Timestamp) -> Due {
    let errand = Errand::Expire { session: run.session, run: run.id };
    Due::new(DueId::new(run.id.ulid()), run.realm, errand, deadline)
}

/// Reads a run.
pub(crate) async fn load_run(app: &App, scope: Scope, id: RunId) -> Result<Loaded<Run>, Error> {
    let key = keys::run(scope, id);
    document::get(app.table(), &key).await?.ok_or(Error::NotFound("run"))
}

/// The id of the container that an agent has to itself, where it was not put into another.
pub(crate) const fn container_id(agent: domain::AgentId) -> ContainerId {
    ContainerId::new(agent.ulid())
}

/// The container in which a session's runs go on, as far as the session knows: the agent's own, until
/// a run has found it in another.
pub(crate) fn place(session: &Session) -> ContainerId {
    session.container.unwrap_or_else(|| container_id(session.agent))
}
