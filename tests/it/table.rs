//! The table, on SQLite and on DynamoDB: what every table does, and what only one of them promises.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use app::ports::Clock;
use domain::Timestamp;
use embedded::sqlite::{OpenError, SqliteTable};
use futures::future::join_all;
use host::SystemClock;
use store::{Commit, Expect, MAX_LIMIT, Query, Table, Write};
use tempfile::TempDir;
use tests::table::{all, commit, fill, fresh, key, put, put_until, sks};

mod dynamodb;
pub(crate) mod model;

fn open(dir: &TempDir) -> SqliteTable {
    SqliteTable::open(dir.path().join("reeve.db"), Arc::new(SystemClock::default())).unwrap()
}

fn table() -> (SqliteTable, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    (open(&dir), dir)
}

mod sqlite {
    tests::for_table!(async { super::table() });
}

/// A clock that stands where it was put.
#[derive(Debug, Default)]
struct HandClock(AtomicU64);

impl HandClock {
    fn advance(&self, millis: u64) -> Timestamp {
        Timestamp::from_millis(self.0.fetch_add(millis, Ordering::Relaxed) + millis)
    }
}

#[async_trait::async_trait]
impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::Relaxed))
    }

    async fn wait(&self, time: Duration) {
        self.advance(u64::try_from(time.as_millis()).unwrap());
    }
}

#[tokio::test]
async fn what_was_committed_is_there_when_it_is_opened_again() {
    let (table, dir) = table();
    fill(&table, "p", &["a", "b"]).await;
    drop(table);
    let table = open(&dir);
    assert_eq!(sks(&table, all("p")).await, ["a", "b"]);
    commit(&table, vec![put(key("p", "a"), "x", Expect::Version(1))]).await.unwrap();
    drop(table);
    let item = open(&dir).get(&key("p", "a")).await.unwrap().unwrap();
    assert_eq!((item.version, item.body.as_str()), (2, "x"));
}

#[tokio::test]
async fn an_item_goes_at_its_time_and_is_swept_behind_it() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(HandClock::default());
    let at = clock.advance(1_000);
    let table = SqliteTable::open(dir.path().join("reeve.db"), clock.clone()).unwrap();
    for (n, sk) in ["a", "b", "c"].into_iter().enumerate() {
        let expires = Timestamp::from_millis(at.as_millis() + 10 * (n as u64 + 1));
        commit(&table, vec![put_until(key("p", sk), "x", expires, Expect::Absent)]).await.unwrap();
    }
    fill(&table, "p", &["stays"]).await;
    clock.advance(9);
    assert_eq!(sks(&table, all("p")).await, ["a", "b", "c", "stays"]);
    assert_eq!(table.sweep_expired(10).await.unwrap(), 0);
    clock.advance(1);
    assert_eq!(sks(&table, all("p")).await, ["b", "c", "stays"]);
    clock.advance(100);
    assert_eq!(table.sweep_expired(2).await.unwrap(), 2);
    assert_eq!(table.sweep_expired(2).await.unwrap(), 1);
    assert_eq!(table.sweep_expired(2).await.unwrap(), 0);
    assert_eq!(sks(&table, all("p")).await, ["stays"]);
}

#[tokio::test]
async fn observers_see_each_commit_once_in_order_and_before_its_caller() {
    let (table, _dir) = table();
    let seen = Arc::new(Mutex::new(Vec::<String>::new()));
    fill(&table, "p", &["before"]).await;
    table.on_commit({
        let seen = Arc::clone(&seen);
        move |commit: &Commit| {
            let puts = commit.writes.iter().filter_map(|write| match write {
                Write::Put { body, .. } => Some(body.clone()),
                Write::Delete { .. } | Write::Check { .. } | Write::Add { .. } => None,
            });
            seen.lock().unwrap().extend(puts);
        }
    });
    // All replace one item until they succeed: its versions say in which order they happened.
    let attempts = (0..100).map(|n: u64| {
        let (table, seen, body) = (&table, &seen, n.to_string());
        async move {
            loop {
                let version = table.get(&key("p", "before")).await.unwrap().unwrap().version;
                let write = put(key("p", "before"), &body, Expect::Version(version));
                let done = commit(table, vec![write]).await.is_ok();
                assert_eq!(seen.lock().unwrap().contains(&body), done);
                if done {
                    return (version, body);
                }
            }
        }
    });
    let mut happened = join_all(attempts).await;
    happened.sort();
    let bodies: Vec<_> = happened.into_iter().map(|(_, body)| body).collect();
    assert_eq!(*seen.lock().unwrap(), bodies);
}

#[test]
fn a_newer_layout_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("reeve.db");
    drop(open(&dir));
    let mut bytes = std::fs::read(&path).unwrap();
    // The user version, big-endian, in the header of every SQLite file.
    bytes[60..64].copy_from_slice(&99_u32.to_be_bytes());
    std::fs::write(&path, &bytes).unwrap();
    let error = SqliteTable::open(&path, Arc::new(SystemClock::default())).unwrap_err();
    assert!(matches!(error, OpenError::Newer { found: 99, .. }), "{error:?}");
    assert!(error.to_string().contains("reeve.db"), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
}

#[test]
fn a_file_that_is_no_database_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("reeve.db");
    std::fs::write(&path, "x".repeat(10_000)).unwrap();
    let error = SqliteTable::open(&path, Arc::new(SystemClock::default())).unwrap_err();
    assert!(matches!(error, OpenError::Sqlite { .. }), "{error:?}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "x".repeat(10_000));
}

#[tokio::test]
async fn a_killed_process_loses_no_commit_it_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = BTreeSet::new();
    let mut child = Command::new(env!("CARGO_BIN_EXE_committer"))
        .arg(dir.path().join("reeve.db"))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    while acknowledged.len() < 3_000 {
        line.clear();
        assert_ne!(lines.read_line(&mut line).unwrap(), 0, "the child ended by itself");
        acknowledged.insert(line.trim().parse::<u64>().unwrap());
    }
    child.kill().unwrap();
    child.wait().unwrap();
    // What it still said before it died counts; a line cut short by death does not.
    for line in lines.split(b'\n').map(Result::unwrap) {
        if let Ok(number) = String::from_utf8(line).unwrap().parse() {
            acknowledged.insert(number);
        }
    }

    let table = open(&dir);
    let numbers = async |pk| -> BTreeSet<u64> {
        let found = sks(&table, Query { limit: MAX_LIMIT, ..all(pk) }).await;
        found.iter().map(|sk| sk.parse().unwrap()).collect()
    };
    let (left, right) = (numbers("left").await, numbers("right").await);
    let lost: Vec<_> = acknowledged.difference(&left).collect();
    assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
    assert_eq!(left, right, "half a commit");
    fill(&table, &fresh(), &["still"]).await;
}
