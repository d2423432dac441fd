//! Sessions that go on from where another is.
//!
//! What holds here: a fork is of what had been said when it was asked for. The session that is copied
//! lists its forks in the commit that makes them, and its agent copies the conversation for those that
//! have not begun before it gets another prompt; each is written down before it does.

use domain::SessionId;
use domain::agent::Agent;
use domain::session::{MAX_FORKS, Session, SessionState};
use store::document::{self, Loaded};
use store::{Expect, keys};
use wire::session::{NewFork, SessionView};
use wire::shim::ForkCommand;

use super::Sessions;
use crate::commit::retry_conflict;
use crate::turn::Turn;
use crate::{App, Caller, Error};

impl Sessions<'_> {
    /// Opens a session with the same agent and the same setup that goes on from where the session is
    /// now, and wakes nobody. Of one that has said nothing it is a fresh session.
    ///
    /// Refused while the session has a run in flight, once it is closed, where its agent cannot copy a
    /// conversation, and while [`MAX_FORKS`] of it have not begun. Reads the session and then its agent;
    /// one commit.
    pub async fn fork(
        &self,
        caller: &Caller,
        id: SessionId,
        new: &NewFork,
    ) -> Result<SessionView, Error> {
        retry_conflict(self.0, || self.try_fork(caller, id, new)).await
    }

    async fn try_fork(
        &self,
        caller: &Caller,
        id: SessionId,
        new: &NewFork,
    ) -> Result<SessionView, Error> {
        let (app, scope) = (self.0, caller.scope);
        let source = self.load(caller, id).await?;
        let now = app.now();
        let mut fork = source.value.fork(SessionId::new(app.ulid(now)), now)?;
        let of = fork.fork.as_ref().map(|fork| fork.of);
        let mut asked = vec![keys::agent(scope, fork.agent)];
        asked.extend(of.filter(|&of| of != id).map(|of| keys::session(scope, of)));
        let found = app.table().batch_get(&asked).await?;
        let mut found = found.iter().map(Option::as_ref);
        let agent = found.next().flatten().ok_or(Error::NotFound("agent"))?;
        let agent = document::read::<Agent>(agent)?;
        agent.value.has_workspace()?;
        // The fork of one that has not begun is of what that is to be a copy of.
        let copied = match found.next() {
            Some(other) => other.map(document::read::<Session>).transpose()?,
            None => of.map(|_| source),
        };
        fork.container = agent.value.container;
        fork.title = new.title.clone().or(fork.title);
        let mut writes = vec![document::check(&agent), document::put(&fork, Expect::Absent)];
        // One that takes no more prompts stays as it is.
        if let Some(copied) = copied.filter(|one| one.value.state != SessionState::Completed) {
            writes.extend(self.awaiting(caller, copied, fork.id).await?);
        }
        let view = SessionView::from(&fork);
        app.commit(caller, "session.fork", fork.id, writes, &view).await?;
        Ok(view)
    }

    /// The writes that have a session wait for a fork of it. Reads those it waits for where they are
    /// many.
    async fn awaiting(
        &self,
        caller: &Caller,
        copied: Loaded<Session>,
        fork: SessionId,
    ) -> Result<Vec<store::Write>, Error> {
        let mut turn = Turn::over(self.0, caller.scope, copied);
        if turn.session.forks.len() >= MAX_FORKS {
            let id = turn.session.id;
            let awaited = self.0.awaited(caller.scope, id, &turn.session.forks).await?;
            turn.session.forks = awaited.iter().map(|fork| fork.session).collect();
        }
        turn.session.await_fork(fork)?;
        turn.into_writes(self.0).await
    }
}

impl App {
    /// Which of the `forks` of a session have not begun. One read, where there are any.
    pub(crate) async fn awaited(
        &self,
        scope: store::Scope,
        of: SessionId,
        forks: &[SessionId],
    ) -> Result<Vec<ForkCommand>, Error> {
        let keys: Vec<_> = forks.iter().map(|&fork| keys::session(scope, fork)).collect();
        let found = self.read_all::<Session>(&keys).await?;
        let awaited = found.into_iter().filter(|fork| fork.awaits(of));
        Ok(awaited
            .filter_map(|one| {
                Some(ForkCommand { session: one.id, conversation: one.fork?.conversation })
            })
            .collect())
    }
}

impl Turn {
    /// The agent has copied the conversation for `fork`, under an id of its own, or said why it did not.
    /// One that has begun meanwhile stays as it is. Reads it.
    pub(crate) async fn forked(
        &mut self,
        app: &App,
        fork: SessionId,
        copy: Result<&str, &str>,
    ) -> Result<(), Error> {
        self.session.forks.retain(|&awaited| awaited != fork);
        let key = keys::session(self.scope, fork);
        let Some(before) = document::get::<Session>(app.table(), &key).await? else {
            return Ok(());
        };
        if !before.value.awaits(self.session.id) {
            return Ok(());
        }
        let mut after = before.value.clone();
        match copy {
            Ok(conversation) => after.begun(conversation),
            Err(why) => {
                let why = why.chars().take(500).collect();
                after.fork =
                    after.fork.map(|fork| domain::session::Fork { lost: Some(why), ..fork });
            }
        }
        self.write(document::put(&after, before.expect()));
        Ok(())
    }
}
