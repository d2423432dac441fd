//! Sessions: open, read, prompt, cancel, fork, close, delete.

mod fork;

use domain::container::Container;
use domain::due::Errand;
use domain::event::Draft;
use domain::output::Contract;
use domain::run::{End, Run, RunEvent, RunState};
use domain::session::{Session, SessionEvent, SessionLifecycle};
use domain::text::Slug;
use domain::{AgentId, Machine, RunId, SessionId};
use std::time::Duration;
use store::document::{self, Loaded};
use store::{Expect, Query, keys};
use wire::Page;
use wire::session::{Configure, NewPrompt, NewSession, RunView, SessionView};

use crate::agents::check_policy;
use crate::commit::retry_conflict;
use crate::turn::{Turn, container_id, load_run};
use crate::{App, Caller, Error, Once};

/// The use cases about sessions.
#[derive(Clone, Copy, Debug)]
pub struct Sessions<'a>(&'a App);

impl App {
    /// The use cases about sessions.
    pub const fn sessions(&self) -> Sessions<'_> {
        Sessions(self)
    }
}

impl Sessions<'_> {
    /// Opens a session, and puts its agent somewhere first where it has no place, as
    /// [`containers`](crate::containers) does.
    pub async fn create(&self, caller: &Caller, new: NewSession) -> Result<SessionView, Error> {
        self.0.containers().open(caller, &new).await
    }

    /// A page of sessions, of one agent or of all. One read.
    pub async fn list(
        &self,
        caller: &Caller,
        agent: Option<AgentId>,
        page: crate::agents::Paging,
    ) -> Result<Page<SessionView>, Error> {
        let query = match agent {
            Some(agent) => {
                Query { on_index: true, ..page.query(keys::sessions_of(caller.scope, agent))? }
            }
            None => page.query(keys::sessions(caller.scope))?,
        };
        let listed = document::list::<Session>(self.0.table(), query).await?;
        let there = listed.items.iter().filter(|session| !session.deleting);
        Ok(crate::agents::page(there.map(SessionView::from), listed.next.as_ref()))
    }

    /// One session. One read.
    pub async fn get(&self, caller: &Caller, id: SessionId) -> Result<SessionView, Error> {
        let loaded = self.load(caller, id).await?;
        Ok(SessionView::from(&loaded.value))
    }

    pub(crate) async fn load(
        &self,
        caller: &Caller,
        id: SessionId,
    ) -> Result<Loaded<Session>, Error> {
        let key = keys::session(caller.scope, id);
        let found = document::get::<Session>(self.0.table(), &key).await?;
        found.filter(|session| !session.value.deleting).ok_or(Error::NotFound("session"))
    }

    /// Gives the session a prompt: at once where nothing is in flight, behind the others where
    /// something is. Wakes a paused agent. Reads the session, then its agent and container at once, and
    /// where the container has to be started, what room there is; where the plan of the run is not its
    /// agent's, whether it is kept; one commit.
    ///
    /// The run is started as its plan says, also where its agent is changed before its turn comes.
    ///
    /// Where the realm runs as many containers as it may, the run waits for room; where as many wait as
    /// may, it is refused, and nothing has changed.
    ///
    /// A `runId` that the caller has given to this session before is answered as it was then: one read
    /// more.
    ///
    /// The answer comes before anything has been started: what follows is seen in the events.
    pub async fn prompt(
        &self,
        caller: &Caller,
        id: SessionId,
        new: NewPrompt,
    ) -> Result<RunView, Error> {
        if let Some(schema) = new.output.schema() {
            Contract::new(schema)?;
        }
        let once = new.run_id.as_ref().map(|run| as_run(id, run, &new));
        retry_conflict(self.0, || async {
            if let Some(once) = &once
                && let Some(first) = self.0.first_answer(caller, once).await?
            {
                return serde_json::from_slice(&first).map_err(|_| Error::Bug("an answer reads"));
            }
            self.try_prompt(caller, id, &new, once.as_ref()).await
        })
        .await
    }

    async fn try_prompt(
        &self,
        caller: &Caller,
        id: SessionId,
        new: &NewPrompt,
        once: Option<&Once>,
    ) -> Result<RunView, Error> {
        let app = self.0;
        let mut turn = Turn::there(app, caller.scope, id).await?;
        let now = turn.now;
        let (agent, container) =
            app.agents().load_placed(caller, turn.session.agent, turn.place()).await?;
        check_policy(caller, &agent.value.spec)?;
        let profile = container.as_ref().map(|container| &container.value.profile);
        let within = (profile, &turn.session.setup);
        let plan = app.plans().of_run(&caller.realm, &agent.value, None, within).ok();
        let run = Run {
            id: RunId::new(app.ulid(now)),
            realm: caller.realm(),
            session: id,
            agent: agent.value.id,
            prompt: new.prompt.clone(),
            output: new.output.clone(),
            effort: new.effort,
            state: RunState::Queued,
            limits: agent.value.spec.limits,
            plan: plan.as_ref().map(|plan| plan.hash),
            reason: None,
            permissions: Vec::new(),
            elicitations: Vec::new(),
            end: None,
            usage: None,
            created_at: now,
            started_at: None,
            ended_at: None,
            deadline: None,
        };
        let limit = usize::try_from(caller.realm.limits.max_queued_runs).unwrap_or(usize::MAX);
        let first = turn.session.enqueue(run.id, limit, now)?;
        turn.draft(Draft::run_state(&run));
        let mut run = Loaded { value: run, version: 0 };
        let mut writes = Vec::new();
        // The agent's own is kept with it.
        let differs = plan.filter(|plan| agent.value.plan != Some(plan.hash));
        writes.extend(app.plans().unless_kept(caller.scope, differs.as_ref()).await?);
        if first {
            match container {
                Some(container) => {
                    let expect = container.expect();
                    turn.with_container(container.value, expect);
                }
                None => turn.with_container(
                    Container::requested(container_id(agent.value.id), caller.realm(), now),
                    Expect::Absent,
                ),
            }
            turn.ask_anew();
            run = if turn.needs_room() {
                let seats = app.admission().seats(caller.scope, caller.realm.limits).await?;
                turn.seat(run, &seats)?
            } else {
                turn.promote(run)?
            };
            let place = agent.value.container.or_else(|| Some(container_id(agent.value.id)));
            writes.extend(app.agents().wake(caller, &agent, place)?);
        }
        let view = RunView::from(&run.value);
        turn.keep(run.value, Expect::Absent);
        writes.extend(turn.into_writes(app).await?);
        if let Some(once) = once {
            writes.push(caller.answer_of(app, once, &view)?);
        }
        app.commit(caller, "session.prompt", view.id, writes, &view).await?;
        Ok(view)
    }

    /// Stops a run: a waiting one at once, the one in flight as soon as its agent lets go, at the
    /// latest when its processes are killed. Without `run`, the one in flight. Reads session and
    /// run; one commit. A run that has ended is refused.
    pub async fn cancel(
        &self,
        caller: &Caller,
        id: SessionId,
        run: Option<RunId>,
    ) -> Result<RunView, Error> {
        retry_conflict(self.0, || self.try_cancel(caller, id, run)).await
    }

    async fn try_cancel(
        &self,
        caller: &Caller,
        id: SessionId,
        run: Option<RunId>,
    ) -> Result<RunView, Error> {
        let app = self.0;
        let (mut turn, known) = match run {
            None => (Turn::there(app, caller.scope, id).await?, None),
            Some(run) => {
                let (turn, known) = Turn::with_run(app, caller.scope, id, run).await?;
                (turn.unless_deleted()?, known)
            }
        };
        let now = turn.now;
        let Some(target) = run.or(turn.session.active) else {
            // Nothing in flight: the machine's own refusal says what would be accepted.
            turn.session.cancel(now)?;
            return Err(Error::Bug("a session without a run let itself be cancelled"));
        };
        let loaded = match known {
            Some(loaded) => loaded,
            None => load_run(app, caller.scope, target).await?,
        };
        if loaded.value.session != id {
            return Err(Error::NotFound("run"));
        }
        let view = if turn.session.withdraw(target, now) {
            let expect = loaded.expect();
            let ended = turn.step(loaded, RunEvent::Cancel, Some(End::plain()))?;
            let view = RunView::from(&ended.value);
            turn.keep(ended.value, expect);
            view
        } else {
            // Refuses a run that has ended, by the run's own machine.
            domain::run::RunLifecycle::step(loaded.value.state, RunEvent::Cancel)?;
            let before = turn.session.state;
            turn.session.cancel(now)?;
            // Asked again, the errand of the first time is still under way.
            if turn.session.state != before {
                turn.errand(Errand::Dispatch { session: id });
            }
            RunView::from(&loaded.value)
        };
        let writes = turn.into_writes(app).await?;
        app.commit(caller, "session.cancel", target, writes, &view).await?;
        Ok(view)
    }

    /// Sets its agent to a mode, a model and options: with the next prompt, and whenever the agent takes
    /// the session up again. What it does not offer is refused here where that is known; what it refuses
    /// itself is told by an event, and given up. Reads the session; one commit.
    pub async fn configure(
        &self,
        caller: &Caller,
        id: SessionId,
        new: &Configure,
    ) -> Result<SessionView, Error> {
        retry_conflict(self.0, || async {
            let app = self.0;
            let mut turn = Turn::there(app, caller.scope, id).await?;
            // What takes no prompts is set to nothing.
            SessionLifecycle::step(turn.session.state, SessionEvent::Prompt)?;
            let settings = new.over(&turn.session.setup.settings);
            if let Some((field, detail)) = turn.session.offers.misses(&settings) {
                return Err(Error::Invalid { field, detail });
            }
            turn.session.setup.settings = settings;
            if let Some((field, detail)) = turn.session.setup.broken_rule() {
                return Err(Error::Invalid { field, detail: detail.to_owned() });
            }
            turn.session.updated_at = turn.now;
            let view = SessionView::from(&turn.session);
            let writes = turn.into_writes(app).await?;
            app.commit(caller, "session.configure", id, writes, &view).await?;
            Ok(view)
        })
        .await
    }

    /// Closes a session that has nothing in flight. Its events are kept as long as the realm says. Where
    /// its agent runs, it is told to let go of the conversation; nobody is woken for that.
    /// Reads the session; one commit.
    pub async fn close(&self, caller: &Caller, id: SessionId) -> Result<SessionView, Error> {
        retry_conflict(self.0, || async {
            let app = self.0;
            let mut turn = Turn::there(app, caller.scope, id).await?;
            let before = turn.session.state;
            turn.session.close(turn.now)?;
            if turn.session.state != before {
                turn.draft(Draft::session_state(turn.session.state));
                let days = u64::from(caller.realm.limits.retention_days);
                let at = turn.now.after(Duration::from_secs(days * 24 * 3600));
                turn.errand_at(Errand::Forget { session: id }, at);
                if turn.session.acp_session.is_some() {
                    turn.errand(Errand::Dispatch { session: id });
                }
            }
            let mut after = turn.session.clone();
            after.last_seq += u64::from(turn.session.state != before);
            let view = SessionView::from(&after);
            let writes = turn.into_writes(app).await?;
            app.commit(caller, "session.close", id, writes, &view).await?;
            Ok(view)
        })
        .await
    }

    /// Deletes a session: from here on there is none. What it has in flight or in line is cancelled, and then
    /// its runs, its events and itself are removed; where its agent runs and can, it forgets the
    /// conversation, and nobody is woken for that. Its last event says so to whoever follows it. What was
    /// audited stays. Reads the session; one commit.
    pub async fn delete(&self, caller: &Caller, id: SessionId) -> Result<(), Error> {
        retry_conflict(self.0, || async {
            let app = self.0;
            let mut turn = Turn::there(app, caller.scope, id).await?;
            turn.session.deleting = true;
            turn.session.updated_at = turn.now;
            let mut at = turn.now;
            if turn.session.active.is_none() {
                turn.leave()?;
                at = at.after(Turn::FAREWELL);
            }
            turn.errand_at(Errand::Erase { session: id }, at);
            let writes = turn.into_writes(app).await?;
            app.commit(caller, "session.delete", id, writes, &()).await
        })
        .await
    }
}

/// What makes two prompts with the same `runId` the same. No `Idempotency-Key` has a space.
fn as_run(session: SessionId, run: &Slug, new: &NewPrompt) -> Once {
    let said = crate::plans::digest_of(&(&new.prompt, &new.output, new.effort));
    Once { key: format!("run {session} {run}"), fingerprint: said.to_string() }
}
