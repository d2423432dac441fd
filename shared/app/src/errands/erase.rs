//! A deleted session goes: what it has in flight, its conversation, what it kept, itself.

use std::time::Duration;

use domain::SessionId;
use domain::session::{Session, SessionState};
use store::Scope;
use wire::shim::{Command, Forgotten};

use super::{Errands, Outcome, pace};
use crate::Error;
use crate::commit::retry_conflict;
use crate::turn::{Turn, place};

/// How often a shim that is away is waited for, to have the conversation let go of.
const TRIES: u32 = 5;

impl Errands<'_> {
    /// Sees that nothing is left of a deleted session. What it has in line ends at once, what it has in
    /// flight as on any cancel; then its last event is told, and whoever reads has a moment to hear it;
    /// then its agent lets go of the conversation, where that runs, and everything is removed.
    pub(super) async fn erase(
        &self,
        scope: Scope,
        id: SessionId,
        attempt: u32,
    ) -> Result<Outcome, Error> {
        let app = self.0;
        let session = Turn::of(app, scope, id).await?.session;
        if !session.deleting {
            return Ok(Outcome::Done);
        }
        if session.active.is_some() || !session.queue.is_empty() {
            app.containers().call_off(scope, id).await?;
            return Ok(Outcome::Again(pace(attempt.min(2))));
        }
        if session.state != SessionState::Completed {
            retry_conflict(app, || async {
                let mut turn = Turn::of(app, scope, id).await?;
                turn.leave()?;
                app.commit_own("session.leave", turn.into_writes(app).await?).await
            })
            .await?;
            return Ok(Outcome::Again(Turn::FAREWELL));
        }
        if let Some(wait) = self.let_go(scope, &session, attempt).await? {
            return Ok(Outcome::Again(wait));
        }
        self.purge(scope, id).await?;
        Ok(Outcome::Done)
    }

    /// Has the conversation of a deleted session forgotten by its agent, if that runs. How long to wait
    /// for it where its shim is away.
    async fn let_go(
        &self,
        scope: Scope,
        session: &Session,
        attempt: u32,
    ) -> Result<Option<Duration>, Error> {
        let app = self.0;
        let container = app.containers().load(scope, place(session)).await?;
        let Some(container) = container.map(|one| one.value).filter(|one| one.state.may_run())
        else {
            return Ok(None);
        };
        if container.connection.is_none() && attempt < TRIES {
            return Ok(Some(pace(attempt)));
        }
        // What others are to begin as copies of is not theirs yet.
        let awaited = app.awaited(scope, session.id, &session.forks).await?;
        let conversation = session.acp_session.clone().filter(|_| awaited.is_empty());
        let forget =
            conversation.map(|conversation| Forgotten { agent: session.agent, conversation });
        let close = Command::Close { session: session.id, forget };
        self.push(container.connection.as_deref(), vec![close]).await;
        Ok(None)
    }
}
