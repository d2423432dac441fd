//! Runs: read, list, cancel.

use domain::due::Errand;
use domain::run::{PermissionAnswer, Run, Unanswerable};
use domain::{RunId, SessionId};
use store::{Query, document, keys};
use wire::Page;
use wire::session::{NewAnswer, RunView};

use crate::agents::{Paging, page};
use crate::commit::retry_conflict;
use crate::turn::load_run;
use crate::{App, Caller, Error};

/// The use cases about runs.
#[derive(Clone, Copy, Debug)]
pub struct Runs<'a>(&'a App);

impl App {
    /// The use cases about runs.
    pub const fn runs(&self) -> Runs<'_> {
        Runs(self)
    }
}

impl Runs<'_> {
    /// One run. One read.
    pub async fn get(&self, caller: &Caller, id: RunId) -> Result<RunView, Error> {
        Ok(RunView::from(&load_run(self.0, caller.scope, id).await?.value))
    }

    /// A page of runs, of one session or of all. One read, and at the same time one for whether there is
    /// such a session.
    pub async fn list(
        &self,
        caller: &Caller,
        session: Option<SessionId>,
        paging: Paging,
    ) -> Result<Page<RunView>, Error> {
        let query = match session {
            Some(session) => {
                Query { on_index: true, ..paging.query(keys::runs_of(caller.scope, session))? }
            }
            None => paging.query(keys::runs(caller.scope))?,
        };
        let there = async {
            match session {
                Some(session) => self.0.sessions().load(caller, session).await.map(drop),
                None => Ok(()),
            }
        };
        let (there, listed) =
            futures::future::join(there, document::list::<Run>(self.0.table(), query)).await;
        there?;
        let listed = listed?;
        Ok(page(listed.items.iter().map(RunView::from), listed.next.as_ref()))
    }

    /// Answers what a run waits for. The agent gets it as soon as its shim does; until then the run
    /// stays where it is. One read, one commit.
    pub async fn answer(
        &self,
        caller: &Caller,
        id: RunId,
        new: &NewAnswer,
    ) -> Result<RunView, Error> {
        retry_conflict(self.0, || async {
            let app = self.0;
            let run = load_run(app, caller.scope, id).await?;
            let next = answered(&run.value, new)?;
            let view = RunView::from(&next);
            let errand = Errand::Dispatch { session: next.session };
            let errand = app.due(caller.realm(), errand, app.now());
            let writes = vec![document::put(&next, run.expect()), store::due::put(&errand)];
            app.commit(caller, "run.answer", id, writes, &view).await?;
            Ok(view)
        })
        .await
    }

    /// Stops a run, as [`crate::sessions::Sessions::cancel`] does. One read more.
    pub async fn cancel(&self, caller: &Caller, id: RunId) -> Result<RunView, Error> {
        let run = load_run(self.0, caller.scope, id).await?;
        self.0.sessions().cancel(caller, run.value.session, Some(id)).await
    }
}

/// The run with an answer given, of the kind that its request asks for.
fn answered(run: &Run, new: &NewAnswer) -> Result<Run, Error> {
    let invalid = |field, detail: String| Error::Invalid { field, detail };
    let request = new.request_id.as_str();
    let next = if run.elicitations.iter().any(|asked| asked.id == request) {
        let only = "an elicitation takes an action, and content only where that is accept";
        let reply = new.reply().ok_or_else(|| invalid("action", only.to_owned()))?;
        run.replied(request, reply)
    } else {
        let asked = run.permissions.iter().any(|asked| asked.id == request);
        if asked && (new.action.is_some() || new.content.is_some()) {
            let only = "a permission request takes an optionId or nothing";
            return Err(invalid("action", only.to_owned()));
        }
        let selected = new.option_id.clone().map(PermissionAnswer::Selected);
        run.answered(request, selected.unwrap_or(PermissionAnswer::Cancelled))
    };
    next.map_err(|why| match why {
        Unanswerable::NotAsked => Error::NotAsked,
        Unanswerable::NoSuchOption(_) => invalid("optionId", why.to_string()),
        Unanswerable::Unfit(why) => invalid("content", why),
    })
}
