//! The feed and the nudge of one machine, behind the table they follow.

use std::sync::Arc;

use app::ports::{Feed, LiveEvent, Seen};
use domain::event::{Draft, Event};
use domain::id::Ulid;
use domain::session::SessionState;
use domain::{AgentId, RealmId, RunId, SessionId, Timestamp};
use embedded::feed::{LocalFeed, Nudge};
use embedded::sqlite::SqliteTable;
use futures::{FutureExt, StreamExt};
use host::SystemClock;
use serde_json::value::RawValue;
use store::{Commit, Scope, Table};
use tempfile::TempDir;

const REALM: RealmId = RealmId::new(Ulid(1));
const AGENT: AgentId = AgentId::new(Ulid(5));
const ONE: SessionId = SessionId::new(Ulid(2));
const OTHER: SessionId = SessionId::new(Ulid(3));

fn open() -> (SqliteTable, Arc<LocalFeed>, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(SystemClock::default());
    let table = SqliteTable::open(dir.path().join("reeve.db"), clock).unwrap();
    let feed = Arc::new(LocalFeed::default());
    let follower = Arc::clone(&feed);
    table.on_commit(move |commit| follower.observe(commit));
    (table, feed, dir)
}

#[expect(clippy::disallowed_methods, reason = "stands for the worker")]
fn scope() -> Scope {
    Scope::grant(REALM)
}

async fn append(table: &SqliteTable, session: SessionId, seqs: std::ops::RangeInclusive<u64>) {
    let events: Vec<_> = seqs
        .map(|seq| {
            let Draft { kind, run, data } = Draft::session_state(SessionState::Active);
            Event { seq, kind, run_id: run, time: Timestamp::from_millis(seq), data }
        })
        .collect();
    let writes = store::event::append(scope(), AGENT, session, &events, None).into_iter().collect();
    table.commit(Commit { name: "test.append", writes }).await.unwrap();
}

fn live(feed: &LocalFeed, session: SessionId) {
    let data = RawValue::from_string("{}".to_owned()).unwrap();
    let run = RunId::new(Ulid(4));
    let kind = "agent_message_delta".to_owned();
    let (time, offset) = (Timestamp::default(), 0);
    feed.publish_live(REALM, session, LiveEvent { kind, run, time, offset, data });
}

/// What a subscriber has been sent and not taken yet: numbers, `live` and `lagged`.
fn waiting(seen: &mut (impl futures::Stream<Item = Seen> + Unpin)) -> Vec<String> {
    let mut all = Vec::new();
    // Unconstrained: a task that took many is otherwise told to wait although there is more.
    while let Some(Some(seen)) = tokio::task::unconstrained(seen.next()).now_or_never() {
        all.push(match seen {
            Seen::Event(event) => event.seq.to_string(),
            Seen::Live(_) => "live".to_owned(),
            Seen::Lagged => "lagged".to_owned(),
        });
    }
    all
}

#[tokio::test]
async fn a_subscriber_sees_its_session_in_order_once_the_commit_returned() {
    let (table, feed, _dir) = open();
    append(&table, ONE, 1..=1).await;
    let (mut first, mut second) = (feed.subscribe(REALM, ONE), feed.subscribe(REALM, ONE));
    append(&table, ONE, 2..=4).await;
    append(&table, OTHER, 1..=9).await;
    live(&feed, ONE);
    live(&feed, OTHER);
    append(&table, ONE, 5..=5).await;
    let expected = ["2", "3", "4", "live", "5"];
    assert_eq!(waiting(&mut first), expected);
    assert_eq!(waiting(&mut second), expected);
    assert_eq!(waiting(&mut first), [""; 0]);
}

#[tokio::test]
async fn another_realm_sees_nothing() {
    let (table, feed, _dir) = open();
    let mut seen = feed.subscribe(RealmId::new(Ulid(9)), ONE);
    append(&table, ONE, 1..=1).await;
    live(&feed, ONE);
    assert_eq!(waiting(&mut seen), [""; 0]);
}

#[tokio::test]
async fn a_refused_commit_is_not_seen() {
    let (table, feed, _dir) = open();
    append(&table, ONE, 1..=1).await;
    let mut seen = feed.subscribe(REALM, ONE);
    let again = Event {
        seq: 1,
        kind: String::new(),
        run_id: None,
        time: Timestamp::default(),
        data: RawValue::from_string("{}".to_owned()).unwrap(),
    };
    let writes = store::event::append(scope(), AGENT, ONE, &[again], None).into_iter().collect();
    table.commit(Commit { name: "test.append", writes }).await.unwrap_err();
    assert_eq!(waiting(&mut seen), [""; 0]);
}

#[tokio::test]
async fn a_slow_subscriber_lags_and_slows_nobody() {
    let (_table, feed, _dir) = open();
    let (mut slow, mut quick) = (feed.subscribe(REALM, ONE), feed.subscribe(REALM, ONE));
    for _ in 0..2_000 {
        live(&feed, ONE);
        assert_eq!(waiting(&mut quick), ["live"]);
    }
    let seen = waiting(&mut slow);
    assert_eq!(seen[0], "lagged");
    assert!(seen[1..].iter().all(|seen| seen == "live"));
    live(&feed, ONE);
    assert_eq!(waiting(&mut slow), ["live"]);
}

#[tokio::test]
async fn a_session_is_forgotten_with_its_last_subscriber() {
    let (table, feed, _dir) = open();
    let (first, second) = (feed.subscribe(REALM, ONE), feed.subscribe(REALM, ONE));
    let other = feed.subscribe(REALM, OTHER);
    assert_eq!(feed.topics_followed(), 2);
    drop((first, other));
    assert_eq!(feed.topics_followed(), 1);
    drop(second);
    assert_eq!(feed.topics_followed(), 0);
    append(&table, ONE, 1..=1).await;
    live(&feed, ONE);
    assert_eq!(feed.topics_followed(), 0);
    // A subscriber that waits is woken after others came and went.
    let mut seen = feed.subscribe(REALM, ONE);
    drop(feed.subscribe(REALM, ONE));
    let (woken, ()) = futures::future::join(seen.next(), append(&table, ONE, 2..=2)).await;
    assert!(matches!(woken, Some(Seen::Event(event)) if event.seq == 2));
}

#[tokio::test]
async fn an_errand_nudges_and_nothing_else_does() {
    let (table, _feed, _dir) = open();
    let nudge = Arc::new(Nudge::default());
    let follower = Arc::clone(&nudge);
    table.on_commit(move |commit| follower.observe(commit));
    append(&table, ONE, 1..=1).await;
    assert_eq!(nudge.nudged().now_or_never(), None);
    for shard in 0..store::keys::DUE_SHARDS {
        let key = tests::table::key(&store::keys::due_shard(shard), "x");
        let writes = vec![tests::table::put(key, "", store::Expect::Absent)];
        table.commit(Commit { name: "test.due", writes }).await.unwrap();
    }
    nudge.nudged().await;
    assert_eq!(nudge.nudged().now_or_never(), None, "any number of nudges is one");
}
