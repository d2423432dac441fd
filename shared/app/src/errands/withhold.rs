//! A run that is kept from its agent while the workspace is made something else says so, once.

use domain::SessionId;
use domain::event::Draft;
use domain::run::{Reason, Run, RunState};
use domain::workspace::History;
use store::{Scope, document, keys};

use super::Errands;
use crate::Error;
use crate::commit::retry_conflict;
use crate::turn::Turn;

impl Errands<'_> {
    /// Tells that `run` waits for the workspace of its agent, where it does and has not said so. One read;
    /// two and a commit where there is news.
    pub(super) async fn tell_withheld(
        &self,
        scope: Scope,
        id: SessionId,
        run: &Run,
    ) -> Result<(), Error> {
        let app = self.0;
        let key = keys::history(scope, run.agent);
        let history = document::get::<History>(app.table(), &key).await?;
        let restoring = history.and_then(|history| history.value.restoring);
        let (Some(restoring), None) = (restoring, run.reason) else { return Ok(()) };
        retry_conflict(app, || async {
            let (mut turn, run) = Turn::with_run(app, scope, id, run.id).await?;
            let Some(mut run) = run else { return Ok(()) };
            if run.value.state != RunState::Dispatching || run.value.reason.is_some() {
                return Ok(());
            }
            run.value.reason = Some(Reason::WaitingForWorkspace);
            turn.draft(Draft::waiting_for_workspace(run.value.id, restoring.what));
            let expect = run.expect();
            turn.keep(run.value, expect);
            app.commit_own("run.withhold", turn.into_writes(app).await?).await
        })
        .await
    }
}
