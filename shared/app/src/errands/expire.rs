//! A run that is past its time ends, where no shim has ended it.

use std::time::Duration;

use domain::run::{End, RunEvent};
use domain::{RunId, SessionId};
use store::{Loaded, Scope};
use wire::shim::failure;

use super::{Errands, Outcome};
use crate::Error;
use crate::commit::retry_conflict;
use crate::turn::{Turn, load_run};

impl Errands<'_> {
    /// Ends a run that is past its time and that no shim has ended.
    pub(super) async fn expire(
        &self,
        scope: Scope,
        id: SessionId,
        run: RunId,
    ) -> Result<Outcome, Error> {
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
}
