//! What the end of a start means for the sessions it served.
//!
//! Decided once, in `Containers::settle`: a run that was given to a start that is over has ended, whatever
//! it was doing; one that no agent can have had is given to the next start, and one that waits for a
//! container that was given up fails with it. Each session is settled by its own commit, so a container may
//! serve any number of them; the errand that sees to it stays in line until all are.

use domain::container::Container;
use domain::event::Draft;
use domain::run::{End, RunEvent};
use domain::session::{Session, SessionState};
use domain::{AgentId, ContainerId, SessionId};
use store::container::Bounds;
use store::document::{self, Loaded};
use store::{Direction, Expect, Query, Range, Scope, keys};
use wire::shim::failure;

use super::Containers;
use crate::Error;
use crate::commit::retry_conflict;
use crate::turn::{Turn, load_run};

/// How many of an agent's latest sessions are looked at for one that is open.
const LATEST: usize = 10;

impl Containers<'_> {
    /// Lets a session listen to the present start of its container.
    pub(crate) async fn listen(
        &self,
        scope: Scope,
        id: SessionId,
        container: &Loaded<Container>,
    ) -> Result<(), Error> {
        let table = self.0.table();
        let loaded = document::get::<Session>(table, &keys::session(scope, id)).await?;
        let Some(Loaded { value: mut session, version }) = loaded else { return Ok(()) };
        if session.reports.is_some() || session.active.is_none() {
            return Ok(());
        }
        session.listen_to(container.value.id, container.value.generation);
        let expect = Expect::Version(version);
        let writes = vec![document::put(&session, expect), document::check(container)];
        self.0.commit_own("session.listen", writes).await
    }

    /// Settles every session that a container serves.
    pub(crate) async fn settle_all(&self, scope: Scope, id: ContainerId) -> Result<(), Error> {
        let Some(container) = self.load(scope, id).await? else { return Ok(()) };
        for session in container.value.busy.into_keys() {
            let settled = retry_conflict(self.0, || async {
                match self.load(scope, id).await? {
                    Some(container) => self.settle(scope, session, &container).await,
                    None => Ok(false),
                }
            });
            match settled.await {
                Ok(_) | Err(Error::NotFound(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Ends the run a session has in flight, if it was given to a start that is over, or waits for one that
    /// is not made. Answers whether it did.
    pub(crate) async fn settle(
        &self,
        scope: Scope,
        session: SessionId,
        container: &Loaded<Container>,
    ) -> Result<bool, Error> {
        let app = self.0;
        let mut turn = Turn::of(app, scope, session).await?;
        let Some(active) = turn.session.active else { return Ok(false) };
        let cancelling = turn.session.state == SessionState::Cancelling;
        let (held, rests) = (turn.session.held, container.value.state.needs_start());
        // A run that is held was given to nobody.
        let given = turn.session.reports.filter(|_| !held);
        let lost = given.is_some_and(|given| container.value.took_along(given.generation));
        // One that was called off before any start had it needs none.
        let unheard = given.is_none_or(|given| given.generation > container.value.heard_of);
        let unwanted = cancelling && (held || (unheard && rests));
        let hopeless = container.value.is_given_up();
        if !lost && !unwanted && !hopeless {
            return Ok(false);
        }
        let run = load_run(app, scope, active).await?;
        // A start that goes on numbers on where it was.
        if !held || hopeless {
            turn.session.reports = None;
        }
        turn.with_container(container.value.clone(), container.expect());
        if cancelling {
            turn.finish(app, run, RunEvent::Cancel, End::plain(), None).await?;
        } else {
            let end = end_of(&container.value, unheard);
            turn.finish(app, run, RunEvent::Fail, end, None).await?;
        }
        app.commit_own("session.settle", turn.into_writes(app).await?).await?;
        Ok(true)
    }

    /// Tells that a container was given up, once, in the latest open session of each of its agents. Reads
    /// their sessions; one commit.
    pub(crate) async fn tell(&self, scope: Scope, id: ContainerId) -> Result<(), Error> {
        retry_conflict(self.0, || async {
            let app = self.0;
            let Some(before) = self.load(scope, id).await? else { return Ok(()) };
            if !before.value.is_given_up() || before.value.failures.told {
                return Ok(());
            }
            let now = app.now();
            let mut told = before.value.clone();
            told.failures.told = true;
            let mut writes = store::container::write(Some(&before), &told, Bounds::NONE, now);
            for &agent in told.agents.keys() {
                if let Some(session) = self.latest(scope, agent).await? {
                    let mut turn = Turn::of(app, scope, session).await?;
                    turn.draft(Draft::container_state(&told));
                    writes.extend(turn.into_writes(app).await?);
                }
            }
            app.commit_own("container.tell", writes).await
        })
        .await
    }

    /// The latest session of an agent that is not closed, among the last few.
    async fn latest(&self, scope: Scope, agent: AgentId) -> Result<Option<SessionId>, Error> {
        let query = Query {
            pk: keys::sessions_of(scope, agent),
            on_index: true,
            range: Range::Prefix(String::new()),
            direction: Direction::Descending,
            after: None,
            limit: LATEST,
        };
        let sessions = document::list::<Session>(self.0.table(), query).await?.items;
        let open = sessions.iter().find(|session| session.state != SessionState::Completed);
        Ok(open.map(|session| session.id))
    }
}

/// Why a run has ended with its container. What reached no agent was not lost: it could not be begun.
fn end_of(container: &Container, unheard: bool) -> End {
    let fault = container
        .fault
        .clone()
        .unwrap_or_else(|| End::failure(failure::CONTAINER_LOST, "the container was stopped"));
    let lost = fault.code.as_deref() == Some(failure::CONTAINER_LOST);
    let code = (lost && unheard).then(|| failure::CONTAINER_UNAVAILABLE.to_owned());
    End { code: code.or(fault.code), ..fault }
}
