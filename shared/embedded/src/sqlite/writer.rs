//! Writes: one thread, one transaction and one `fsync` for all commits that wait.
//!
//! A commit that holds a batch of events gets the batch's entry in its realm's log, in the same
//! transaction: nobody else knows the order of commits.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use app::ports::Clock;
use domain::{RealmId, Timestamp};
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};
use store::event::Head;
use store::log::{self, Entry};
use store::{Commit, Conflict, Error, Expect, Index, Key, Write};
use tokio::sync::{mpsc, oneshot};

use super::Observers;
use super::checkpoint::Checkpoints;
use super::recent::Recent;

/// The most jobs of one transaction: bounds how long the first waits for the last.
const MAX_GROUP: usize = 512;

/// The bytes of bodies after which a transaction takes no further job, for the same reason.
const MAX_GROUP_BYTES: usize = 8 * 1024 * 1024;

const FIND: &str = "SELECT version, count, expires_ms FROM items WHERE pk = ?1 AND sk = ?2";

// Also replaces an expired item that is still there.
const PUT: &str = "INSERT INTO items (pk, sk, version, body, count, idx_pk, idx_sk, expires_ms)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
    ON CONFLICT (pk, sk) DO UPDATE SET version = ?3, body = ?4, count = ?5, idx_pk = ?6,
        idx_sk = ?7, expires_ms = ?8";

const COUNT: &str = "UPDATE items SET version = ?3, count = ?4 WHERE pk = ?1 AND sk = ?2";

const DELETE: &str = "DELETE FROM items WHERE pk = ?1 AND sk = ?2";

const LAST: &str = "SELECT sk, body FROM items WHERE pk = ?1 ORDER BY sk DESC LIMIT 1";

const SWEEP: &str = "DELETE FROM items WHERE (pk, sk) IN (
    SELECT pk, sk FROM items WHERE expires_ms <= ?1 ORDER BY expires_ms LIMIT ?2)";

/// What the writer is asked for.
pub(super) enum Work {
    /// Apply a commit that keeps the limits.
    Commit(Commit),
    /// Remove expired items.
    Sweep { limit: usize },
}

/// Work, and who waits for it.
pub(super) struct Job {
    pub(super) work: Work,
    /// Told how many items were swept, once that is durable.
    pub(super) reply: oneshot::Sender<Result<usize, Error>>,
}

/// The most realms whose logs' ends are remembered.
const MAX_ENDS: usize = 10_000;

/// The transaction of a group failed, and with it every commit of the group.
#[derive(Debug, thiserror::Error)]
#[error("a group of commits failed")]
struct GroupFailed(#[source] Arc<rusqlite::Error>);

pub(super) struct Writer {
    // Before the connection, which is to be the last that is closed: that one removes the log.
    checkpoints: Checkpoints,
    connection: Connection,
    clock: Arc<dyn Clock>,
    observers: Arc<Observers>,
    recent: Arc<Recent>,
    /// The last position of logs that were written to lately.
    ends: BTreeMap<RealmId, u64>,
}

impl Writer {
    pub(super) fn new(
        connection: Connection,
        clock: Arc<dyn Clock>,
        observers: Arc<Observers>,
        recent: Arc<Recent>,
        checkpoints: Checkpoints,
    ) -> Self {
        let ends = BTreeMap::new();
        Self { checkpoints, connection, clock, observers, recent, ends }
    }

    /// Runs until every sender is gone and all they sent is done.
    pub(super) fn run(mut self, mut waiting: mpsc::Receiver<Job>) {
        let mut group = Vec::with_capacity(MAX_GROUP);
        while let Some(first) = waiting.blocking_recv() {
            let mut bytes = first.bytes();
            group.push(first);
            while group.len() < MAX_GROUP
                && bytes < MAX_GROUP_BYTES
                && let Ok(next) = waiting.try_recv()
            {
                bytes += next.bytes();
                group.push(next);
            }
            self.finish(&mut group);
        }
    }

    /// Makes the group durable, then tells the observers and who waits; empties it.
    fn finish(&mut self, group: &mut Vec<Job>) {
        match self.transact(group) {
            Ok(outcomes) => {
                let writes = group.iter().map(|job| job.keys().count()).sum();
                let observers = self.observers.read().unwrap_or_else(PoisonError::into_inner);
                for (job, outcome) in group.drain(..).zip(outcomes) {
                    if let (Work::Commit(commit), Ok(_)) = (&job.work, &outcome) {
                        observers.iter().for_each(|observe| observe(commit));
                    }
                    job.answer(outcome.map_err(Error::Conflict));
                }
                self.checkpoints.written(writes, &self.connection);
            }
            Err(error) => {
                // What was appended to them is not there.
                self.ends.clear();
                tracing::error!(%error, commits = group.len(), "a group of commits failed");
                let error = Arc::new(error);
                for job in group.drain(..) {
                    let error = GroupFailed(Arc::clone(&error));
                    job.answer(Err(Error::Unavailable(Box::new(error))));
                }
            }
        }
    }

    /// One transaction for all. On an error it is rolled back by being dropped.
    fn transact(&mut self, group: &mut [Job]) -> rusqlite::Result<Vec<Result<usize, Conflict>>> {
        let now = self.clock.now();
        let transaction =
            self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let ends = &mut self.ends;
        if ends.len() > MAX_ENDS {
            ends.clear();
        }
        let outcomes: Vec<_> = group
            .iter_mut()
            .map(|job| match &mut job.work {
                Work::Commit(commit) => {
                    let done = apply(&transaction, &commit.writes, now)?;
                    if done.is_ok() {
                        append(&transaction, &mut commit.writes, ends, now)?;
                    }
                    Ok(done.map(|()| 0))
                }
                Work::Sweep { limit } => sweep(&transaction, *limit, now).map(Ok),
            })
            .collect::<rusqlite::Result<_>>()?;
        let changed = || {
            let done = group.iter().zip(&outcomes).filter(|(_, outcome)| outcome.is_ok());
            done.flat_map(|(job, _)| job.keys())
        };
        self.recent.change(changed());
        let committed = transaction.commit();
        self.recent.changed(changed());
        committed.map(|()| outcomes)
    }
}

impl Job {
    /// What it may change. Expired items are nowhere but in the file.
    fn keys(&self) -> impl Iterator<Item = &Key> {
        let writes = match &self.work {
            Work::Commit(commit) => commit.writes.as_slice(),
            Work::Sweep { .. } => &[],
        };
        let changes = |write: &&Write| !matches!(write, Write::Check { .. });
        writes.iter().filter(changes).map(Write::key)
    }

    fn bytes(&self) -> usize {
        match &self.work {
            Work::Commit(commit) => commit
                .writes
                .iter()
                .map(|write| match write {
                    Write::Put { body, .. } => body.len(),
                    Write::Delete { .. } | Write::Check { .. } | Write::Add { .. } => 0,
                })
                .sum(),
            Work::Sweep { .. } => 0,
        }
    }

    fn answer(self, outcome: Result<usize, Error>) {
        // Who has gone in the meantime does not hear it; it has happened all the same.
        drop(self.reply.send(outcome));
    }
}

/// Appends what the batches among `writes` add to the logs of their realms, and adds it to `writes`, so
/// that observers see it.
fn append(
    connection: &Connection,
    writes: &mut Vec<Write>,
    ends: &mut BTreeMap<RealmId, u64>,
    now: Timestamp,
) -> rusqlite::Result<()> {
    let heads: Vec<_> = writes.iter().filter_map(store::event::head).collect();
    for Head { realm, place, last } in heads {
        let end = match ends.get(&realm) {
            Some(end) => *end,
            None => end_of(connection, realm)?,
        };
        let count = last - place.first + 1;
        let batch = Some(place);
        let entry = Entry { realm, first: end + 1, count, time: now, batch, shown: true };
        ends.insert(realm, entry.last());
        let write = log::append(&entry);
        // Nobody else writes there.
        let free = decide(&write, find(connection, write.key(), now)?);
        let effect = free.ok_or(rusqlite::Error::InvalidQuery)?;
        carry_out(connection, write.key(), effect)?;
        writes.push(write);
    }
    Ok(())
}

/// The last position of a realm's log; 0 where it has none.
fn end_of(connection: &Connection, realm: RealmId) -> rusqlite::Result<u64> {
    let pk = log::partition(realm);
    let last = connection.prepare_cached(LAST)?.query_row(params![pk], |row| {
        let (sk, body): (String, String) = (row.get(0)?, row.get(1)?);
        log::head_of(&pk, &sk, &body).map_err(|_| rusqlite::Error::InvalidQuery)
    });
    Ok(last.optional()?.unwrap_or_default())
}

/// Milliseconds as SQLite counts them.
pub(super) fn millis(time: Timestamp) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

/// An item that has not expired.
#[derive(Clone, Copy)]
struct Found {
    version: i64,
    count: i64,
}

/// What a write does, once it is known that its commit happens.
#[derive(Clone, Copy)]
enum Effect<'a> {
    Nothing,
    Put {
        version: i64,
        body: &'a str,
        count: i64,
        index: Option<&'a Index>,
        expires: Option<Timestamp>,
    },
    Count {
        version: i64,
        count: i64,
    },
    Delete,
}

/// Applies all writes or none. All are decided before the first is done: they are about different
/// items, so none changes what another finds, and a refused commit has nothing to take back. That
/// saves a savepoint per commit.
fn apply(
    connection: &Connection,
    writes: &[Write],
    now: Timestamp,
) -> rusqlite::Result<Result<(), Conflict>> {
    let mut effects = Vec::with_capacity(writes.len());
    for (index, write) in writes.iter().enumerate() {
        match decide(write, find(connection, write.key(), now)?) {
            Some(effect) => effects.push(effect),
            None => return Ok(Err(Conflict { index })),
        }
    }
    for (write, effect) in writes.iter().zip(effects) {
        carry_out(connection, write.key(), effect)?;
    }
    Ok(Ok(()))
}

fn find(connection: &Connection, key: &Key, now: Timestamp) -> rusqlite::Result<Option<Found>> {
    let row = connection
        .prepare_cached(FIND)?
        .query_row(params![key.pk, key.sk], |row| {
            let expires: Option<i64> = row.get(2)?;
            Ok((expires, Found { version: row.get(0)?, count: row.get(1)? }))
        })
        .optional()?;
    Ok(row
        .filter(|(expires, _)| expires.is_none_or(|expires| expires > millis(now)))
        .map(|(_, found)| found))
}

/// What `write` does where `found` is; none where it is not what it expects.
fn decide(write: &Write, found: Option<Found>) -> Option<Effect<'_>> {
    let holds = |expect: &Expect| match expect {
        Expect::Absent => found.is_none(),
        Expect::Version(version) => {
            found.is_some_and(|found| u64::try_from(found.version) == Ok(*version))
        }
    };
    let version = found.map_or(1, |found| found.version + 1);
    match write {
        Write::Put { body, index, expires, expect, .. } => holds(expect).then_some(Effect::Put {
            version,
            body,
            count: 0,
            index: index.as_ref(),
            expires: *expires,
        }),
        Write::Delete { expect, .. } => holds(expect).then_some(Effect::Delete),
        Write::Check { expect, .. } => holds(expect).then_some(Effect::Nothing),
        Write::Add { delta, at_least, at_most, .. } => {
            let count = found.map_or(0, |found| found.count).checked_add(*delta)?;
            let made = Effect::Put { version, body: "", count, index: None, expires: None };
            (*at_least..=*at_most).contains(&count).then_some(match found {
                Some(_) => Effect::Count { version, count },
                None => made,
            })
        }
    }
}

fn carry_out(connection: &Connection, key: &Key, effect: Effect<'_>) -> rusqlite::Result<()> {
    let Key { pk, sk } = key;
    match effect {
        Effect::Nothing => 0,
        Effect::Put { version, body, count, index, expires } => {
            let (partition, place) = index.map(|index| (&index.pk, &index.sk)).unzip();
            let expires = expires.map(millis);
            connection
                .prepare_cached(PUT)?
                .execute(params![pk, sk, version, body, count, partition, place, expires])?
        }
        Effect::Count { version, count } => {
            connection.prepare_cached(COUNT)?.execute(params![pk, sk, version, count])?
        }
        Effect::Delete => connection.prepare_cached(DELETE)?.execute(params![pk, sk])?,
    };
    Ok(())
}

fn sweep(connection: &Connection, limit: usize, now: Timestamp) -> rusqlite::Result<usize> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    connection.prepare_cached(SWEEP)?.execute(params![millis(now), limit])
}

#[cfg(test)]
mod tests {
    use super::*;
    use host::SystemClock;

    type Answer = oneshot::Receiver<Result<usize, Error>>;

    fn job(sk: &str, bytes: usize) -> (Job, Answer) {
        let write = Write::Put {
            key: Key { pk: "p".into(), sk: sk.into() },
            body: "x".repeat(bytes),
            index: None,
            expires: None,
            expect: Expect::Absent,
        };
        let commit = Commit { name: "test.put", writes: vec![write] };
        let (reply, answer) = oneshot::channel();
        (Job { work: Work::Commit(commit), reply }, answer)
    }

    #[test]
    fn where_the_disk_is_full_a_whole_group_fails_and_the_next_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("reeve.db");
        let connection = super::super::connect(
            &path,
            rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE | rusqlite::OpenFlags::SQLITE_OPEN_CREATE,
        );
        let connection = connection.unwrap();
        super::super::prepare_file(&connection, &path).unwrap();
        // In pages: what a full disk looks like from inside.
        connection.pragma_update(None, "max_page_count", 20).unwrap();
        let observed = Arc::new(std::sync::Mutex::new(0));
        let observers = Arc::new(Observers::default());
        let count = Arc::clone(&observed);
        observers.write().unwrap().push(Box::new(move |_| *count.lock().unwrap() += 1));
        let clock = Arc::new(SystemClock::default());
        let access = rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE;
        let mover = super::super::connect(&path, access).unwrap();
        let checkpoints = Checkpoints::start(mover).unwrap();
        let mut writer = Writer::new(connection, clock, observers, Arc::default(), checkpoints);

        let (mut group, answers): (Vec<_>, Vec<_>) =
            [job("small", 10), job("large", 200_000), job("after", 10)].into_iter().unzip();
        writer.finish(&mut group);
        for mut answer in answers {
            let answer = answer.try_recv().unwrap();
            assert!(matches!(answer, Err(Error::Unavailable(_))), "{answer:?}");
        }
        assert_eq!(*observed.lock().unwrap(), 0);
        let items = |writer: &Writer| -> i64 {
            let count = "SELECT count(*) FROM items";
            writer.connection.query_row(count, [], |row| row.get(0)).unwrap()
        };
        assert_eq!(items(&writer), 0);

        let (next, mut answer) = job("small", 10);
        writer.finish(&mut vec![next]);
        assert!(answer.try_recv().unwrap().is_ok());
        assert_eq!((items(&writer), *observed.lock().unwrap()), (1, 1));
    }
}
