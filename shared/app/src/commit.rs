//! How a command becomes durable: everything that follows from it in one commit.

use std::fmt::Display;
use std::future::Future;
use std::time::Duration;

use domain::AuditId;
use serde::Serialize;
use store::audit::Entry;
use store::{Commit, Expect, Write, document};

use crate::{App, Caller, Error};

/// How often a use case that lost a race reads again and decides again. Of those who race for one item
/// somebody wins each time, so this is about how many may: the sessions of one agent share a container.
const TRIES: u32 = 100;

/// The longest wait before the third try; it doubles with each, up to the second.
const FIRST: Duration = Duration::from_millis(4);
const LONGEST: Duration = Duration::from_millis(128);

/// Decides and commits, again while somebody else is faster: the second time at once, then after a
/// while, which is another for each of those who race.
pub(crate) async fn retry_conflict<T, F, Fut>(app: &App, mut attempt: F) -> Result<T, Error>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, Error>>,
{
    for lost in 1..TRIES {
        match attempt().await {
            Err(Error::Conflict) if lost == 1 => {}
            Err(Error::Conflict) => {
                let longest = (FIRST * (1 << (lost - 2).min(8))).min(LONGEST);
                app.ports.clock.wait(app.part_of(longest)).await;
            }
            done => return done,
        }
    }
    attempt().await
}

impl App {
    /// Any part of `time`.
    fn part_of(&self, time: Duration) -> Duration {
        let [one, other, ..] = self.ports.ids.secret();
        time * u32::from(u16::from_be_bytes([one, other])) / u32::from(u16::MAX)
    }

    /// Commits what a caller's command decided: `writes`, the audit entry that says so, and the
    /// answer, for when the same request comes again; takes the upload that the caller brings. `name` is
    /// the audit entry's action.
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
        let mut add = |write: Option<Write>| {
            let at = write.is_some().then_some(writes.len());
            writes.extend(write);
            at
        };
        let (first, taken) = (add(caller.answer(self, &body)?), add(caller.take()));
        match self.table().commit(Commit { name, writes }).await {
            // Only the same request, carried out at the same moment, writes that item.
            Err(store::Error::Conflict(lost)) if Some(lost.index) == first => {
                Err(Error::InProgress)
            }
            // Somebody else has taken it since it was read.
            Err(store::Error::Conflict(lost)) if Some(lost.index) == taken => {
                Err(Error::NoSuchUpload)
            }
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
