//! One step of a session's turns: what was read, what is decided about it, and the writes that make
//! it so.
//!
//! Every change of a session goes through here: a prompt, a report, a cancel, a lost container. So
//! the session, its run, the next run, the container's occupancy, the events and the errands that
//! follow are always written by one commit.

use std::sync::Arc;
use std::time::Duration;

use domain::container::{Container, ContainerEvent};
use domain::due::{Due, Errand};
use domain::event::Draft;
use domain::run::{End, Run, RunEvent, Usage};
use domain::session::Session;
use domain::{DueId, RunId, SessionId, Timestamp};
use store::document::{self, Loaded};
use store::{Expect, Scope, Write, keys};

use crate::ports::Ids;
use crate::{App, Error};

/// A session, with the changes that were decided about it and about what hangs on it.
#[derive(Debug)]
pub(crate) struct Turn {
    pub(crate) scope: Scope,
    pub(crate) now: Timestamp,
    pub(crate) session: Session,
    session_expect: Expect,
    container: Option<(Container, Expect, bool)>,
    runs: Vec<(Run, Expect)>,
    drafts: Vec<Draft>,
    dues: Vec<Due>,
    expired: Vec<Write>,
    ids: Arc<dyn Ids>,
}

impl Turn {
    /// Reads a session, and nothing else: what a plain report needs.
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
            session_expect: loaded.expect(),
            session: loaded.value,
            container: None,
            runs: Vec::new(),
            drafts: Vec::new(),
            dues: Vec::new(),
            expired: Vec::new(),
            ids: Arc::clone(&app.ports.ids),
        }
    }

    /// Takes the container along, which was read or is new.
    pub(crate) fn with_container(&mut self, container: Container, expect: Expect) {
        let new = expect == Expect::Absent;
        self.container = Some((container, expect, new));
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

    /// Keeps a run as it is now.
    pub(crate) fn keep(&mut self, run: Run, expect: Expect) {
        self.runs.push((run, expect));
    }

    /// It is `run`'s turn: the user's words are told, and somebody is to see that it starts.
    pub(crate) fn promote(&mut self, run: Loaded<Run>) -> Result<Loaded<Run>, Error> {
        self.drafts.push(Draft::user_message(run.value.id, run.value.prompt.as_str()));
        let mut run = self.step(run, RunEvent::Dispatch, None)?;
        let session = self.session.id;
        if let Some((container, _, changed)) = &mut self.container {
            *changed |= container.busy.insert(session);
            if container.state.is_connected() {
                *container = container.apply(ContainerEvent::Occupied, self.now)?;
            }
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
    /// next run where it needs them.
    pub(crate) async fn finish(
        &mut self,
        app: &App,
        run: Loaded<Run>,
        event: RunEvent,
        end: End,
        usage: Option<Usage>,
    ) -> Result<(), Error> {
        let expect = run.expect();
        let mut ended = self.step(run, event, Some(end))?;
        ended.value.usage = usage;
        if let Some(deadline) = ended.value.deadline
            && self.now < deadline
        {
            // Before its time nobody has claimed it, so it is where it was put.
            self.expired.push(store::due::done(&expiry(&ended.value, deadline)));
        }
        let agent = ended.value.agent;
        self.keep(ended.value, expect);
        let next = self.session.settle(self.now)?;
        if self.container.is_none() {
            self.load_container(app, agent).await?;
        }
        if let Some(next) = next {
            let next = load_run(app, self.scope, next).await?;
            let expect = next.expect();
            let next = self.promote(next)?;
            self.keep(next.value, expect);
        } else if let Some((container, _, changed)) = &mut self.container {
            *changed |= container.busy.remove(&self.session.id);
            if container.busy.is_empty() && container.state.is_connected() {
                *container = container.apply(ContainerEvent::Vacated, self.now)?;
            }
        }
        Ok(())
    }

    async fn load_container(&mut self, app: &App, agent: domain::AgentId) -> Result<(), Error> {
        if let Some(loaded) = container_of(app, self.scope, agent).await? {
            let expect = loaded.expect();
            self.with_container(loaded.value, expect);
        }
        Ok(())
    }

    /// The writes that make it so.
    pub(crate) fn into_writes(mut self) -> Vec<Write> {
        let events = self.session.number(std::mem::take(&mut self.drafts), self.now);
        let mut writes = Vec::with_capacity(8);
        writes.push(document::put(&self.session, self.session_expect));
        let Session { agent, id, .. } = self.session;
        writes.extend(store::event::append(self.scope, agent, id, &events));
        writes.extend(self.runs.iter().map(|(run, expect)| document::put(run, *expect)));
        if let Some((container, expect, true)) = &self.container {
            writes.push(document::put(container, *expect));
        }
        writes.extend(self.dues.iter().map(store::due::put));
        writes.append(&mut self.expired);
        writes
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

/// Reads the container of an agent, where it has one. An agent's container has the agent's ULID, so
/// no other read has to come first.
pub(crate) async fn container_of(
    app: &App,
    scope: Scope,
    agent: domain::AgentId,
) -> Result<Option<Loaded<Container>>, Error> {
    let id = container_id(agent);
    Ok(document::get(app.table(), &keys::container(scope, id)).await?)
}

/// The id an agent's container has.
pub(crate) const fn container_id(agent: domain::AgentId) -> domain::ContainerId {
    domain::ContainerId::new(agent.ulid())
}
