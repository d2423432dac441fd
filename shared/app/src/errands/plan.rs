//! The plan of a run whose agent is one of the catalog: compiled once its bundle is ready.

use domain::agent::Agent;
use domain::container::Container;
use domain::run::{End, Run, RunEvent, RunState};
use domain::session::Session;
use store::document::{self, Loaded};
use store::{Scope, keys};

use super::{Errands, Outcome, pace};
use crate::Error;
use crate::bundles::Seen;
use crate::commit::retry_conflict;
use crate::turn::{Turn, load_run};

impl Errands<'_> {
    /// Sees that the run in flight has its plan, and that what the plan mounts is there. Answers with
    /// what becomes of the errand where it has to wait or the run has ended; none where it may go on. A
    /// run that is not to be dispatched any more goes on, too.
    pub(super) async fn plan(
        &self,
        scope: Scope,
        session: &Session,
        container: &Container,
        attempt: u32,
    ) -> Result<Option<Outcome>, Error> {
        let app = self.0;
        let Some(run) = session.active else { return Ok(None) };
        let run = load_run(app, scope, run).await?;
        if run.value.state != RunState::Dispatching {
            return Ok(None);
        }
        let key = keys::agent(scope, session.agent);
        let Some(agent) = document::get::<Agent>(app.table(), &key).await? else { return Ok(None) };
        let agent = agent.value;
        if agent.spec.registry_agent.is_none() {
            return Ok(None);
        }
        let realm = self.realm(scope).await?;
        let seen = app.bundles().see_to(scope, &realm, &agent.spec, run.value.created_at).await?;
        match seen {
            None => Ok(None),
            Some(Seen::Wait) => Ok(Some(Outcome::Again(pace(attempt.min(2))))),
            Some(Seen::Failed(fault)) => {
                let end = End::failure(&format!("bundle_{}", fault.code), fault.detail);
                self.without_plan(scope, session, &end).await?;
                Ok(Some(Outcome::Done))
            }
            Some(Seen::Ready(bundle)) => {
                let within = (Some(&container.profile), &session.setup);
                let plan = app.plans().of_run(&realm, &agent, Some(&bundle), within);
                let plan = plan.map_err(|_| Error::Bug("a bundle that is ready makes a plan"))?;
                if run.value.plan != Some(plan.hash) {
                    app.plans().keep(&plan).await?;
                    self.refer(run, plan.hash).await?;
                }
                Ok(None)
            }
        }
    }

    /// Lets a run refer to its plan.
    async fn refer(&self, run: Loaded<Run>, plan: domain::Digest) -> Result<(), Error> {
        let expect = run.expect();
        let run = Run { plan: Some(plan), ..run.value };
        self.0.commit_own("run.plan", vec![document::put(&run, expect)]).await
    }

    /// Ends the run in flight, for which there is no plan.
    pub(super) async fn without_plan(
        &self,
        scope: Scope,
        session: &Session,
        end: &End,
    ) -> Result<(), Error> {
        let app = self.0;
        retry_conflict(app, || async {
            let mut turn = Turn::of(app, scope, session.id).await?;
            if turn.session.active == session.active
                && let Some(run) = session.active
            {
                let run = load_run(app, scope, run).await?;
                turn.finish(app, run, RunEvent::Fail, end.clone(), None).await?;
                app.commit_own("run.without_plan", turn.into_writes(app).await?).await?;
            }
            Ok(())
        })
        .await
    }
}
