//! The run that a session has in flight reaches its agent: its container is started, and it is pushed.
//! So does the end of a session, where its container runs.

use std::time::Duration;

use domain::SessionId;
use domain::realm::RealmState;
use domain::run::RunState;
use domain::session::{Session, SessionState};
use store::{Scope, document, keys};
use wire::shim::Command;

use super::{Errands, Outcome, may_idle, pace};
use crate::Error;
use crate::turn::{load_run, place};

impl Errands<'_> {
    /// Sees that the run a session has in flight reaches its agent.
    pub(super) async fn dispatch(
        &self,
        scope: Scope,
        id: SessionId,
        attempt: u32,
    ) -> Result<Outcome, Error> {
        let app = self.0;
        let key = keys::session(scope, id);
        let Some(session) = document::get::<Session>(app.table(), &key).await? else {
            return Ok(Outcome::Done);
        };
        let session = session.value;
        if session.state == SessionState::Completed {
            return self.part(scope, &session, attempt).await;
        }
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
        if self.bar(scope, &session).await? {
            return Ok(Outcome::Done);
        }
        if state.needs_start() {
            if let Some(left) = container.value.must_wait(app.now()) {
                return Ok(Outcome::Again(left));
            }
            let realm = self.realm(scope).await?;
            if realm.state == RealmState::Suspended {
                containers.call_off(scope, id).await?;
                return Ok(Outcome::Again(Duration::ZERO));
            }
            // Before anything is held for it: a download may take a while.
            let planned = self.plan(scope, &session, &container.value, attempt).await?;
            if let Some(outcome) = planned {
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
                && let Some(outcome) = self.plan(scope, &session, &container.value, attempt).await?
            {
                return Ok(outcome);
            }
            let mut own = container.value;
            own.busy.retain(|&busy, _| busy == id);
            let commands = app.commands(scope, &own).await?;
            let goes =
                |one: &Command| matches!(one, Command::Prompt(prompt) if prompt.run == run.id);
            if run.state == RunState::Dispatching && !commands.iter().any(goes) {
                self.tell_withheld(scope, id, &run).await?;
            }
            self.push(own.connection.as_deref(), commands).await;
        }
        // Confirmed by the shim's report, or by what becomes of the container.
        Ok(Outcome::Again(pace(attempt)))
    }

    /// Has the conversation of a closed session let go of. One that is lost on the way is let go of with
    /// its process.
    async fn part(&self, scope: Scope, session: &Session, attempt: u32) -> Result<Outcome, Error> {
        let container = self.0.containers().load(scope, place(session)).await?;
        let Some(container) = container.map(|one| one.value).filter(|one| one.state.may_run())
        else {
            return Ok(Outcome::Done);
        };
        if container.connection.is_none() {
            return Ok(Outcome::Again(pace(attempt)));
        }
        let close = Command::Close { session: session.id };
        self.push(container.connection.as_deref(), vec![close]).await;
        Ok(Outcome::Done)
    }
}
