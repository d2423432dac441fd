//! Runs: read, list, cancel.

use domain::run::Run;
use domain::{RunId, SessionId};
use store::{Query, document, keys};
use wire::Page;
use wire::session::RunView;

use crate::agents::{Paging, page};
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

    /// A page of runs, of one session or of all. One read; two for a session, which must exist.
    pub async fn list(
        &self,
        caller: &Caller,
        session: Option<SessionId>,
        paging: Paging,
    ) -> Result<Page<RunView>, Error> {
        let query = match session {
            Some(session) => {
                self.0.sessions().load(caller, session).await?;
                Query { on_index: true, ..paging.query(keys::runs_of(caller.scope, session))? }
            }
            None => paging.query(keys::runs(caller.scope))?,
        };
        let listed = document::list::<Run>(self.0.table(), query).await?;
        Ok(page(listed.items.iter().map(RunView::from), listed.next.as_ref()))
    }

    /// Stops a run, as [`crate::sessions::Sessions::cancel`] does. One read more.
    pub async fn cancel(&self, caller: &Caller, id: RunId) -> Result<RunView, Error> {
        let run = load_run(self.0, caller.scope, id).await?;
        self.0.sessions().cancel(caller, run.value.session, Some(id)).await
    }
}
