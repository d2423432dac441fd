//! What a tick of the scheduler costs, however much waits for its time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use app::App;
use app::ports::{Clock, Ids};
use domain::due::{Due, Errand};
use domain::{DueId, RealmId, SessionId, Timestamp};
use embedded::sqlite::SqliteTable;
use futures::future::join;
use host::{OsIds, SystemClock};
use rusqlite::{Connection, params};
use store::{Commit, Table, Write};
use tempfile::TempDir;
use workers::scheduler::tick;

use crate::in_process::{Counting, app_over};

/// A table with so many timers, and who ticks.
struct Timers {
    app: App,
    table: Arc<Counting>,
    _dir: TempDir,
}

/// Timers of which `due` are due and `later` are not.
fn timers(due: usize, later: usize) -> Timers {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("reeve.db");
    let clock = Arc::new(SystemClock::default());
    // It makes the layout.
    drop(SqliteTable::open(&path, clock.clone()).unwrap());
    let (ids, now) = (OsIds::default(), clock.now());
    let realm = RealmId::new(ids.ulid(now));
    let mut connection = Connection::open(&path).unwrap();
    // Nobody minds what a power cut would do to it.
    connection.pragma_update(None, "synchronous", "OFF").unwrap();
    let transaction = connection.transaction().unwrap();
    {
        let sql = "INSERT INTO items (pk, sk, version, body, count) VALUES (?1, ?2, 1, ?3, 0)";
        let mut insert = transaction.prepare(sql).unwrap();
        for (count, at) in [(due, now), (later, now.after(Duration::from_hours(1)))] {
            let session = SessionId::new(ids.ulid(now));
            let one = Due::new(DueId::new(ids.ulid(now)), realm, Errand::Forget { session }, at);
            let Write::Put { body, .. } = store::due::put(&one) else { unreachable!() };
            let (session, id) = (session.to_string(), one.id.to_string());
            for _ in 0..count {
                let other = SessionId::new(ids.ulid(now));
                let errand = Errand::Forget { session: other };
                let due = Due { id: DueId::new(ids.ulid(now)), errand, ..one.clone() };
                let key = store::keys::due(&due);
                // As it would be written down anew, which takes a minute for all of them.
                let body = body.replace(&session, &other.to_string());
                let body = body.replace(&id, &due.id.to_string());
                insert.execute(params![key.pk, key.sk, body]).unwrap();
            }
        }
    }
    transaction.commit().unwrap();
    drop(connection);
    let inner = SqliteTable::open(&path, clock.clone()).unwrap();
    let (reads, commits) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let table = Arc::new(Counting { inner, reads, commits });
    Timers { app: app_over(table.clone(), clock), table, _dir: dir }
}

impl Timers {
    /// Ticks; how many errands were begun, and after how many calls of the table.
    async fn tick(&self) -> (usize, usize) {
        let (mut begun, calls) = (0, self.calls());
        // What is begun is not carried out: that is what the errands cost, not the tick.
        let next = tick(&self.app, |errand| {
            drop(errand);
            begun += 1;
        });
        next.await.unwrap();
        (begun, self.calls() - calls)
    }

    fn calls(&self) -> usize {
        self.table.reads.load(Ordering::Relaxed) + self.table.commits.load(Ordering::Relaxed)
    }
}

#[tokio::test]
async fn a_tick_costs_what_is_due_and_not_what_waits() {
    let timers = timers(100, 1_000_000 - 100);
    let (begun, calls) = timers.tick().await;
    assert_eq!(begun, 100);
    assert!(calls <= 12, "{calls} calls of the table");
    assert_eq!(timers.tick().await, (0, store::keys::DUE_SHARDS.into()), "each is claimed once");
}

#[tokio::test]
async fn a_tick_stays_in_bounds_however_much_is_due() {
    let timers = timers(1_000, 0);
    let mut begun = 0;
    loop {
        let (more, calls) = timers.tick().await;
        assert!(calls <= 12, "{calls} calls of the table");
        begun += more;
        if more == 0 {
            break;
        }
    }
    assert_eq!(begun, 1_000);
}

#[tokio::test]
async fn two_that_tick_at_once_begin_each_errand_once() {
    let timers = timers(200, 0);
    let ((one, _), (other, _)) = join(timers.tick(), timers.tick()).await;
    assert_eq!(one + other, 200);
}

/// Somebody takes one of those that are claimed together, between the look and the claim.
#[tokio::test]
async fn who_loses_one_errand_still_gets_the_others() {
    let timers = timers(30, 0);
    let seen = timers.app.errands().tick().await.unwrap().due;
    let (_, taken) = store::due::claim(&seen[7], Timestamp::from_millis(4_000_000_000_000));
    let commit = Commit { name: "test.claim", writes: vec![taken] };
    timers.table.inner.commit(commit).await.unwrap();
    let held = timers.app.errands().claim_all(&seen).await;
    let held: Vec<_> = held.into_iter().map(Result::unwrap).collect();
    assert_eq!(held.len(), 30);
    assert!(held.iter().enumerate().all(|(n, held)| held.is_some() == (n != 7)), "{held:?}");
}
