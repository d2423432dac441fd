//! What any [`Table`] does.
//!
//! Each case is an ordinary function, declared once; [`for_table!`](crate::for_table) runs them all
//! on one implementation. A case works in partitions that begin with a prefix of its own, so cases
//! can share a table, and leave what they wrote.

use domain::Timestamp;
use store::{
    Commit, Conflict, Cursor, Direction, Error, Expect, Index, Item, Key, MAX_LIMIT, MAX_WRITES,
    Query, Range, Table, Write,
};

/// Declares every case of a module once: as a function, and as a line of its macro.
macro_rules! cases {
    (
        $for_cases:ident in $module:ident:
        $($(#[$doc:meta])* async fn $name:ident($table:ident, $p:ident) $body:block)*
    ) => {
        $($(#[$doc])* pub async fn $name($table: &dyn Table, $p: &str) $body)*

        /// One test per case of this module. See [`for_table!`](crate::for_table).
        #[macro_export]
        macro_rules! $for_cases {
            ($open:expr) => {$(
                #[tokio::test]
                async fn $name() {
                    let (table, _guard) = $open.await;
                    $crate::table::$module::$name(&table, &$crate::table::fresh()).await;
                }
            )*};
        }
    };
}

pub mod commits;
pub mod counters;
pub mod expiry;
pub mod limits;
pub mod queries;

/// One test per case on the table that `$open` gives, a future of `(table, guard)`. The guard outlives
/// the test.
#[macro_export]
macro_rules! for_table {
    ($open:expr) => {
        $crate::for_commits!($open);
        $crate::for_queries!($open);
        $crate::for_expiry!($open);
        $crate::for_limits!($open);
        $crate::for_counters!($open);
    };
}

/// A prefix that nobody else has.
pub fn fresh() -> String {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    format!("T{:016x}", u64::from_be_bytes(bytes))
}

/// A key in the case's main partition.
pub fn key(p: &str, sk: &str) -> Key {
    Key { pk: p.to_owned(), sk: sk.to_owned() }
}

/// Puts a body that nothing else finds.
pub fn put(key: Key, body: &str, expect: Expect) -> Write {
    Write::Put { key, body: body.to_owned(), index: None, expires: None, expect }
}

/// Puts a new item that is also found in an index.
pub fn put_indexed(key: Key, index: Option<(&str, &str)>, expect: Expect) -> Write {
    let index = index.map(|(pk, sk)| Index { pk: pk.to_owned(), sk: sk.to_owned() });
    Write::Put { key, body: "indexed".to_owned(), index, expires: None, expect }
}

/// Puts a new item that goes by itself.
pub fn put_until(key: Key, body: &str, expires: Timestamp, expect: Expect) -> Write {
    Write::Put { key, body: body.to_owned(), index: None, expires: Some(expires), expect }
}

/// Adds to a counter that stays within bounds.
pub fn add(key: Key, delta: i64, at_least: i64, at_most: i64) -> Write {
    Write::Add { key, delta, at_least, at_most }
}

/// Commits.
pub async fn commit(table: &dyn Table, writes: Vec<Write>) -> Result<(), Error> {
    table.commit(Commit { name: "test.commit", writes }).await
}

/// Puts new items with these sort keys; their bodies are their sort keys.
pub async fn fill(table: &dyn Table, p: &str, sks: &[&str]) {
    for chunk in sks.chunks(MAX_WRITES) {
        let writes = chunk.iter().map(|sk| put(key(p, sk), sk, Expect::Absent)).collect();
        commit(table, writes).await.expect("new items are put");
    }
}

/// All of a partition, upwards.
pub fn all(p: &str) -> Query {
    Query {
        pk: p.to_owned(),
        on_index: false,
        range: Range::Prefix(String::new()),
        direction: Direction::Ascending,
        after: None,
        limit: MAX_LIMIT,
    }
}

/// The sort keys that a query finds, over all its pages. A page is full or the last, as long as the
/// bodies are small.
pub async fn sks(table: &dyn Table, mut query: Query) -> Vec<String> {
    let mut found = Vec::new();
    loop {
        let page = table.query(query.clone()).await.expect("a query is answered");
        assert!(page.next.is_none() || page.items.len() == query.limit, "a page is short");
        found.extend(page.items.into_iter().map(|item| item.key.sk));
        match page.next {
            // As a caller brings it back.
            Some(next) => query.after = Some(Cursor::parse(&next.to_string()).unwrap_or(next)),
            None => return found,
        }
    }
}

#[track_caller]
fn assert_conflict(result: &Result<(), Error>, index: usize) {
    assert!(
        matches!(result, Err(Error::Conflict(Conflict { index: found })) if *found == index),
        "expected a conflict at {index}, found {result:?}"
    );
}

#[track_caller]
fn assert_invalid<T: std::fmt::Debug>(result: &Result<T, Error>) {
    assert!(matches!(result, Err(Error::Invalid(_))), "expected a refusal, found {result:?}");
}

async fn item(table: &dyn Table, key: &Key) -> Option<Item> {
    table.get(key).await.expect("a get is answered")
}

async fn version(table: &dyn Table, key: &Key) -> Option<u64> {
    item(table, key).await.map(|item| item.version)
}

const PAST: Timestamp = Timestamp::from_millis(1);
const FAR: Timestamp = Timestamp::from_millis(4_000_000_000_000);
