//! The table, in one SQLite file.
//!
//! What holds here:
//!
//! - A commit that returned is in the write-ahead log on disk (`synchronous = FULL`): it outlives the
//!   process and the power.
//! - One thread writes (`writer`). It takes every commit that waits, applies each wholly or not at
//!   all, and makes them durable with one `fsync`: a commit costs less the more there are.
//! - Reads run on the task that asks, on connections of their own (`reader`). They never wait for the
//!   writer, see every commit that returned before they began, and take microseconds where the pages
//!   are in memory; handing them to another thread would cost more than it saves. What one call may
//!   read is bounded by the limits of the port.
//! - A small item that was read lately is read without SQLite (`recent`), and is never older for it.
//! - The log is moved into the database beside the writer (`checkpoint`): no commit waits for it.
//! - A batch of events gets its entry in the log of its realm in the same transaction.
//! - An observer sees every commit once, in the order in which they happened ([`SqliteTable::on_commit`]).
//!
//! Deliberately absent: a second process. SQLite would keep the file whole, but its commits would
//! reach no observer: [`crate::lock`] keeps the directory to one.

use std::fmt;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

use app::ports::Clock;
use rusqlite::{Connection, OpenFlags};
use store::{Commit, Error, Item, Key, MAX_BATCH, Page, Query, Table};
use tokio::sync::{mpsc, oneshot};

use self::checkpoint::Checkpoints;
use self::reader::Readers;
use self::recent::Recent;
use self::writer::{Job, Work, Writer};
use crate::faults;

mod checkpoint;
mod reader;
mod recent;
mod writer;

/// The newest layout of the file that this code knows, kept in `user_version`.
const LAYOUT: i64 = 1;

// Keys and bodies are text and compare by bytes (BINARY). The table is its primary key's tree, so a
// get is one descent and a partition is one run of pages. Both indexes are partial: who is not in
// them costs them nothing.
const SCHEMA: &str = "
    CREATE TABLE items (
        pk         TEXT    NOT NULL,
        sk         TEXT    NOT NULL,
        version    INTEGER NOT NULL,
        body       TEXT    NOT NULL,
        count      INTEGER NOT NULL,
        idx_pk     TEXT,
        idx_sk     TEXT,
        expires_ms INTEGER,
        PRIMARY KEY (pk, sk)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX items_by_index ON items (idx_pk, idx_sk) WHERE idx_pk IS NOT NULL;
    CREATE INDEX items_by_expiry ON items (expires_ms) WHERE expires_ms IS NOT NULL;
    PRAGMA user_version = 1;
";

/// How many commits may wait for the writer before the next one waits for a place.
const WAITING: usize = 1024;

/// The most items one sweep removes, so that commits do not wait long behind it.
const MAX_SWEEP: usize = 1000;

/// The file cannot be used as a table.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A newer version of the program has written it.
    #[error(
        "{} has layout {found}, and this version knows up to {LAYOUT}: use the version that wrote it",
        .path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// The layout it has.
        found: i64,
    },
    /// It is not a database, or is damaged, or cannot be read and written.
    #[error("cannot open the database {}", .path.display())]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        #[source]
        source: rusqlite::Error,
    },
    /// The file cannot be made, or the writer cannot be started.
    #[error("cannot open the database {}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
}

type Observers = RwLock<Vec<Box<dyn Fn(&Commit) + Send + Sync>>>;

/// A table in one file. Dropping it finishes the commits that wait, and leaves one file.
pub struct SqliteTable {
    path: PathBuf,
    clock: Arc<dyn Clock>,
    readers: Readers,
    observers: Arc<Observers>,
    // Both are taken by `drop` only.
    jobs: Option<mpsc::Sender<Job>>,
    writer: Option<JoinHandle<()>>,
}

impl fmt::Debug for SqliteTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteTable").field("path", &self.path).finish_non_exhaustive()
    }
}

impl SqliteTable {
    /// Opens the file, which is made with mode 0600 where it is absent, and starts its writer.
    /// `clock` says when an item expires.
    pub fn open(path: impl Into<PathBuf>, clock: Arc<dyn Clock>) -> Result<Self, OpenError> {
        let path = path.into();
        // SQLite gives the log and the shared memory the mode of the database.
        let made =
            OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
        if let Err(source) = made {
            return Err(OpenError::Io { path, source });
        }
        let sqlite = |source| OpenError::Sqlite { path: path.clone(), source };
        let connection = connect(&path, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(sqlite)?;
        prepare_file(&connection, &path)?;
        let recent = Arc::new(Recent::default());
        let readers =
            Readers::open(Arc::clone(&recent), || connect(&path, OpenFlags::SQLITE_OPEN_READ_ONLY))
                .map_err(sqlite)?;

        let observers = Arc::new(Observers::default());
        let (jobs, waiting) = mpsc::channel(WAITING);
        let mover = connect(&path, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(sqlite)?;
        let checkpoints = match Checkpoints::start(mover) {
            Ok(checkpoints) => checkpoints,
            Err(source) => return Err(OpenError::Io { path, source }),
        };
        let (clocks, observer) = (Arc::clone(&clock), Arc::clone(&observers));
        let writer = Writer::new(connection, clocks, observer, recent, checkpoints);
        let writer = std::thread::Builder::new()
            .name("table-writer".to_owned())
            .spawn(move || writer.run(waiting));
        match writer {
            Ok(writer) => {
                Ok(Self { path, clock, readers, observers, jobs: Some(jobs), writer: Some(writer) })
            }
            Err(source) => Err(OpenError::Io { path, source }),
        }
    }

    /// Shows `observer` every commit from now on: once, in the order in which they happened, after it
    /// is durable and before its caller hears of it. The observer runs on the writer's thread: it
    /// must not block, panic, or wait for a commit.
    pub fn on_commit(&self, observer: impl Fn(&Commit) + Send + Sync + 'static) {
        self.observers.write().unwrap_or_else(PoisonError::into_inner).push(Box::new(observer));
    }

    /// Removes up to `limit` items (at most 1000) that have expired, the oldest first; returns how
    /// many. Nothing depends on it but the size of the file.
    pub async fn sweep_expired(&self, limit: usize) -> Result<usize, Error> {
        self.run(Work::Sweep { limit: limit.min(MAX_SWEEP) }).await
    }

    async fn run(&self, work: Work) -> Result<usize, Error> {
        let jobs = self.jobs.as_ref().ok_or_else(stopped)?;
        let (reply, answer) = oneshot::channel();
        jobs.send(Job { work, reply }).await.map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }
}

/// Only where the writer's thread has panicked.
fn stopped() -> Error {
    Error::Unavailable("the writer has stopped".into())
}

fn connect(path: &Path, access: OpenFlags) -> rusqlite::Result<Connection> {
    // A connection is used by one thread at a time, so SQLite's own mutexes are left out.
    let connection = Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    // Only a tool beside us, a shell or a backup, can hold a lock.
    connection.busy_timeout(Duration::from_secs(5))?;
    connection.set_prepared_statement_cache_capacity(32);
    // Reads take pages from the page cache of the kernel without a copy.
    connection.pragma_update(None, "mmap_size", 1_i64 << 30)?;
    connection.pragma_update(None, "temp_store", "memory")?;
    // A setting of the connection, not of the file: every commit is flushed, and every checkpoint.
    connection.pragma_update(None, "synchronous", "full")?;
    // `checkpoint` does it.
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    Ok(connection)
}

/// Makes the file ours: durable, and in the layout that this code knows.
fn prepare_file(connection: &Connection, path: &Path) -> Result<(), OpenError> {
    let sqlite = |source| OpenError::Sqlite { path: path.to_owned(), source };
    let layout = || connection.query_row("PRAGMA user_version", [], |row| row.get(0));
    // Asked first: a file that is not ours to read is not changed.
    let found: i64 = layout().map_err(sqlite)?;
    if found > LAYOUT {
        return Err(OpenError::Newer { path: path.to_owned(), found });
    }
    connection.pragma_update(None, "journal_mode", "wal").map_err(sqlite)?;
    connection.pragma_update(None, "journal_size_limit", 64 << 20).map_err(sqlite)?;
    if found == 0 {
        let create = format!("BEGIN IMMEDIATE; {SCHEMA} COMMIT;");
        connection.execute_batch(&create).map_err(sqlite)?;
    }
    Ok(())
}

impl Drop for SqliteTable {
    fn drop(&mut self) {
        self.readers.close();
        drop(self.jobs.take());
        if let Some(writer) = self.writer.take()
            && writer.join().is_err()
        {
            tracing::error!(path = %self.path.display(), "the table's writer has panicked");
        }
    }
}

#[async_trait::async_trait]
impl Table for SqliteTable {
    async fn get(&self, key: &Key) -> Result<Option<Item>, Error> {
        key.check()?;
        self.readers.get(key, self.clock.now())
    }

    /// All items are as they were at one moment.
    async fn batch_get(&self, keys: &[Key]) -> Result<Vec<Option<Item>>, Error> {
        if keys.len() > MAX_BATCH {
            return Err(Error::Invalid("a batch has at most 100 keys"));
        }
        keys.iter().try_for_each(Key::check)?;
        self.readers.batch_get(keys, self.clock.now())
    }

    /// Sees the index as it sees the table: at once.
    async fn query(&self, query: Query) -> Result<Page, Error> {
        query.check()?;
        self.readers.query(query, self.clock.now())
    }

    async fn commit(&self, commit: Commit) -> Result<(), Error> {
        commit.check()?;
        let name = commit.name;
        faults::point(name, "before");
        let done = self.run(Work::Commit(commit)).await;
        if done.is_ok() {
            faults::point(name, "after");
        }
        done.map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_commit_is_flushed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("reeve.db");
        let create = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
        let connection = connect(&path, create).unwrap();
        prepare_file(&connection, &path).unwrap();
        let mode: String =
            connection.pragma_query_value(None, "journal_mode", |row| row.get(0)).unwrap();
        // FULL: in this mode the log is flushed at every commit, not only at checkpoints.
        let synchronous: i64 =
            connection.pragma_query_value(None, "synchronous", |row| row.get(0)).unwrap();
        assert_eq!((mode.as_str(), synchronous), ("wal", 2));
    }

    #[tokio::test]
    async fn what_is_dropped_leaves_one_file() {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(host::SystemClock::default());
        let table = SqliteTable::open(dir.path().join("reeve.db"), clock).unwrap();
        let key = Key { pk: "p".into(), sk: "s".into() };
        let (index, expires, expect) = (None, None, store::Expect::Absent);
        let write =
            store::Write::Put { key: key.clone(), body: "{}".into(), index, expires, expect };
        table.commit(Commit { name: "test.put", writes: vec![write] }).await.unwrap();
        assert!(table.get(&key).await.unwrap().is_some());
        drop(table);
        let left = std::fs::read_dir(dir.path()).unwrap().map(|file| file.unwrap().file_name());
        assert_eq!(left.collect::<Vec<_>>(), ["reeve.db"]);
    }
}
