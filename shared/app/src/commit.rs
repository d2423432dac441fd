//! How a command becomes durable: everything that follows from it in one commit.

use std::fmt::Display;
use std::future::Future;

use domain::AuditId;
use serde::Serialize;
use store::audit::Entry;
use store::{Commit, Expect, Write, document};

use crate::{App, Caller, Error};

/// How often a use case that lost a race reads again and decides again. Of those who race for one item
/// somebody wins each time, so this is about how many may: the sessions of one agent share a container.
const TRIES: usize = 100;

/// Decides and commits, again while somebody else is faster.
pub(crate) async fn retry_conflict<T, F, Fut>(mut attempt: F) -> Result<T, Error>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, Error>>,
{
    for _ in 1..TRIES {
        match attempt().await {
            Err(Error::Conflict) => {}
            done => return done,
        }
    }
    attempt().await
}

impl App {
    /// Commits what a caller's command decided: `writes`, the audit entry that says so, and the
    /// answer, for when the same request comes again. `name` is the audit entry's action.
    pub(crate) async fn commit<T: Serialize>(
        &self,
        caller: &Caller,
        name: &'static str,
        target: impl Display + Send,
        mut writes: Vec<Write>,
        answer: &T,
    ) -> Result<(), Error> {
        let now = self.now();
        let entry = Entry {
            id: AuditId::new(self.ulid(now)),
            realm: caller.realm(),
            actor: Some(caller.key),
            action: name.to_owned(),
            target: target.to_string(),
            time: now,
        };
        writes.push(document::put(&entry, Expect::Absent));
        let body = serde_json::to_vec(answer).map_err(|_| Error::Bug("an answer serialises"))?;
        let first = caller.answer(self, &body)?;
        let at = writes.len();
        writes.extend(first);
        match self.table().commit(Commit { name, writes }).await {
            // Only the same request, carried out at the same moment, writes that item.
            Err(store::Error::Conflict(conflict)) if conflict.index == at => Err(Error::InProgress),
            done => Ok(done?),
        }
    }

    /// Commits what the control plane itself decided.
    pub(crate) async fn commit_own(
        &self,
        name: &'static str,
        writes: Vec<Write>,
    ) -> Result<(), Error> {
        Ok(self.table().commit(Commit { name, writes }).await?)
    }
}
