//! A session ends, and what it kept goes: events, runs, itself.

use std::time::Duration;

use domain::SessionId;
use domain::event::Draft;
use domain::run::{End, Run, RunEvent};
use domain::session::{Session, SessionState};
use store::{Query, Scope, Write, document, keys};

use super::{Errands, Outcome, partition};
use crate::Error;
use crate::commit::retry_conflict;
use crate::turn::{Turn, load_run};

/// How late a report may be written that was begun while its session was there.
const LATE: Duration = Duration::from_hours(1);

impl Errands<'_> {
    /// Ends what a session has in flight and in line, because its agent goes.
    pub(super) async fn end(&self, scope: Scope, id: SessionId) -> Result<(), Error> {
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
    pub(super) async fn forget(&self, scope: Scope, id: SessionId) -> Result<Outcome, Error> {
        let turn = Turn::of(self.0, scope, id).await?;
        if turn.session.state == SessionState::Completed {
            self.purge(scope, id).await?;
        }
        Ok(Outcome::Done)
    }

    /// Removes a session's events, its runs and itself, in that order: what is left after a crash is
    /// found again.
    pub(super) async fn purge(&self, scope: Scope, id: SessionId) -> Result<(), Error> {
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
}
