//! What any [`Table`] does.
//!
//! Each case is an ordinary function, declared once; [`for_table!`](crate::for_table) runs them all
//! on one implementation. A case works in partitions that begin with a prefix of its own, so cases
//! can share a table, and leave what they wrote.

use std::collections::BTreeSet;

use domain::Timestamp;
use futures::future::join_all;
use store::{
    Commit, Conflict, Cursor, Direction, Error, Expect, Index, Item, Key, MAX_BATCH, MAX_BODY,
    MAX_COMMIT, MAX_KEY, MAX_LIMIT, MAX_PAGE, MAX_WRITES, Query, Range, Table, Write,
};

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

/// Declares every case once: as a function, and as a line of [`for_table!`](crate::for_table).
macro_rules! cases {
    ($($(#[$doc:meta])* async fn $name:ident($table:ident, $p:ident) $body:block)*) => {
        $($(#[$doc])* pub async fn $name($table: &dyn Table, $p: &str) $body)*

        /// One test per case on the table that `$open` gives, a future of `(table, guard)`. The
        /// guard outlives the test.
        #[macro_export]
        macro_rules! for_table {
            ($open:expr) => {$(
                #[tokio::test]
                async fn $name() {
                    let (table, _guard) = $open.await;
                    $crate::table::$name(&table, &$crate::table::fresh()).await;
                }
            )*};
        }
    };
}

cases! {
    /// What is put is found as it was put.
    async fn an_item_reads_back_as_it_was_written(table, p) {
        let key = key(p, "a");
        assert_eq!(item(table, &key).await, None);
        commit(table, vec![put(key.clone(), "{\"a\":1}", Expect::Absent)]).await.unwrap();
        let expected = Item { key: key.clone(), version: 1, body: "{\"a\":1}".into(), count: 0 };
        assert_eq!(item(table, &key).await, Some(expected.clone()));
        assert_eq!(table.query(all(p)).await.unwrap().items, [expected]);
    }

    /// Of many who put the same new item, one does.
    async fn absent_lets_only_one_in(table, p) {
        let attempts = (0..50).map(|n| {
            commit(table, vec![put(key(p, "a"), &n.to_string(), Expect::Absent)])
        });
        let results = join_all(attempts).await;
        let winners: Vec<_> = (0..50).filter(|&n| results[n].is_ok()).collect();
        assert_eq!(winners.len(), 1);
        for result in results.into_iter().filter(Result::is_err) {
            assert_conflict(&result, 0);
        }
        let item = item(table, &key(p, "a")).await.unwrap();
        assert_eq!((item.version, item.body), (1, winners[0].to_string()));
    }

    /// Of many who replace the same version, one does.
    async fn a_version_lets_only_one_in(table, p) {
        fill(table, p, &["a"]).await;
        for round in 1..5 {
            let attempts = (0..20).map(|n| {
                commit(table, vec![put(key(p, "a"), &n.to_string(), Expect::Version(round))])
            });
            let results = join_all(attempts).await;
            assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
            assert_eq!(version(table, &key(p, "a")).await, Some(round + 1));
        }
    }

    /// Read, change, write back, try again: no increment is lost.
    async fn no_update_is_lost(table, p) {
        fill(table, p, &["a"]).await;
        let increment = || async {
            loop {
                let before = item(table, &key(p, "a")).await.unwrap();
                let next = before.body.parse::<u64>().unwrap_or(0) + 1;
                let expect = Expect::Version(before.version);
                match commit(table, vec![put(before.key, &next.to_string(), expect)]).await {
                    Ok(()) => return,
                    Err(Error::Conflict(_)) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        };
        join_all((0..10).map(|_| increment())).await;
        assert_eq!(item(table, &key(p, "a")).await.unwrap().body, "10");
    }

    /// A version grows by one with each put and add, and begins again after a delete.
    async fn versions_increase(table, p) {
        let key = key(p, "a");
        for expected in 1..4 {
            let expect = match expected {
                1 => Expect::Absent,
                n => Expect::Version(n - 1),
            };
            commit(table, vec![put(key.clone(), "x", expect)]).await.unwrap();
            assert_eq!(version(table, &key).await, Some(expected));
        }
        commit(table, vec![add(key.clone(), 1, 0, 1)]).await.unwrap();
        assert_eq!(version(table, &key).await, Some(4));
        for wrong in [0, 3, 5, u64::MAX] {
            let stale = commit(table, vec![put(key.clone(), "y", Expect::Version(wrong))]).await;
            assert_conflict(&stale, 0);
        }
        let delete = Write::Delete { key: key.clone(), expect: Expect::Version(4) };
        commit(table, vec![delete]).await.unwrap();
        assert_eq!(version(table, &key).await, None);
        commit(table, vec![put(key.clone(), "z", Expect::Absent)]).await.unwrap();
        assert_eq!(version(table, &key).await, Some(1));
    }

    /// Whatever comes before or behind a write that fails does not happen.
    async fn a_refused_commit_writes_nothing(table, p) {
        fill(table, p, &["kept", "counted"]).await;
        let refused = commit(table, vec![
            put(key(p, "new"), "x", Expect::Absent),
            put(key(p, "kept"), "changed", Expect::Version(1)),
            add(key(p, "counted"), 5, 0, 10),
            Write::Check { key: key(p, "missing"), expect: Expect::Version(1) },
            put(key(p, "newer"), "x", Expect::Absent),
        ]).await;
        assert_conflict(&refused, 3);
        assert_eq!(sks(table, all(p)).await, ["counted", "kept"]);
        assert_eq!(item(table, &key(p, "kept")).await.unwrap().body, "kept");
        let counted = item(table, &key(p, "counted")).await.unwrap();
        assert_eq!((counted.version, counted.count), (1, 0));
    }

    /// A commit may span partitions, and happens in all of them.
    async fn a_commit_spans_partitions(table, p) {
        let (left, right) = (format!("{p}#left"), format!("{p}#right"));
        let both = || vec![
            put(key(&left, "a"), "1", Expect::Absent),
            put(key(&right, "a"), "1", Expect::Absent),
        ];
        commit(table, both()).await.unwrap();
        assert_conflict(&commit(table, both()).await, 0);
        assert_eq!(sks(table, all(&left)).await, ["a"]);
        assert_eq!(sks(table, all(&right)).await, ["a"]);
    }

    /// The conflict names the first write that failed, of several that would.
    async fn a_conflict_names_the_first_that_failed(table, p) {
        fill(table, p, &["a"]).await;
        let refused = commit(table, vec![
            Write::Check { key: key(p, "a"), expect: Expect::Version(1) },
            put(key(p, "b"), "x", Expect::Absent),
            put(key(p, "c"), "x", Expect::Version(1)),
            Write::Delete { key: key(p, "d"), expect: Expect::Version(1) },
        ]).await;
        assert_conflict(&refused, 2);
    }

    /// Checks alone are a commit, and write nothing.
    async fn a_commit_may_only_check(table, p) {
        fill(table, p, &["a"]).await;
        let there = Write::Check { key: key(p, "a"), expect: Expect::Version(1) };
        let absent = Write::Check { key: key(p, "b"), expect: Expect::Absent };
        commit(table, vec![there, absent.clone()]).await.unwrap();
        assert_eq!(version(table, &key(p, "a")).await, Some(1));
        assert_eq!(item(table, &key(p, "b")).await, None);
        let not_there = Write::Check { key: key(p, "a"), expect: Expect::Absent };
        assert_conflict(&commit(table, vec![absent, not_there]).await, 1);
        let newer = Write::Check { key: key(p, "a"), expect: Expect::Version(2) };
        assert_conflict(&commit(table, vec![newer]).await, 0);
    }

    /// A delete says what it expects, like everything else.
    async fn a_delete_needs_the_version(table, p) {
        fill(table, p, &["a"]).await;
        let delete = |expect| vec![Write::Delete { key: key(p, "a"), expect }];
        assert_conflict(&commit(table, delete(Expect::Version(2))).await, 0);
        assert_conflict(&commit(table, delete(Expect::Absent)).await, 0);
        commit(table, delete(Expect::Version(1))).await.unwrap();
        assert_eq!(item(table, &key(p, "a")).await, None);
        assert_conflict(&commit(table, delete(Expect::Version(1))).await, 0);
        commit(table, delete(Expect::Absent)).await.unwrap();
    }

    /// Order is that of bytes, either way, at any page size.
    async fn a_partition_reads_in_byte_order_over_pages(table, p) {
        let mut sorted = vec![
            "!", "0000000002", "0000000009", "0000000010", "A", "B", "Z", "_", "a", "aa", "é",
            "\u{ffff}", "😀",
        ];
        let mut scrambled = sorted.clone();
        scrambled.reverse();
        scrambled.swap(1, 7);
        fill(table, p, &scrambled).await;
        sorted.sort_by_key(|sk| sk.as_bytes());
        for limit in 1..=sorted.len() + 1 {
            let upwards = Query { limit, ..all(p) };
            assert_eq!(sks(table, upwards.clone()).await, sorted, "by {limit}");
            let mut found = sks(table, Query { direction: Direction::Descending, ..upwards }).await;
            found.reverse();
            assert_eq!(found, sorted, "downwards by {limit}");
        }
    }

    /// A page that holds all there is says that it is the last.
    async fn the_last_page_says_so(table, p) {
        fill(table, p, &["a", "b"]).await;
        for (limit, more) in [(1, true), (2, false), (3, false)] {
            for direction in [Direction::Ascending, Direction::Descending] {
                let page = table.query(Query { limit, direction, ..all(p) }).await.unwrap();
                assert_eq!((page.items.len(), page.next.is_some()), (limit.min(2), more));
            }
        }
        let none = table.query(all(&format!("{p}#none"))).await.unwrap();
        assert_eq!((none.items.len(), none.next), (0, None));
    }

    /// A cursor is a place, not an item: nothing has to be there.
    async fn after_is_a_place_whether_or_not_an_item_is_there(table, p) {
        fill(table, p, &["b", "d", "f"]).await;
        let behind = |sk: &str, direction| Query {
            after: Some(Cursor::behind(sk)),
            direction,
            ..all(p)
        };
        for (sk, upwards, downwards) in [
            ("a", vec!["b", "d", "f"], vec![]),
            ("b", vec!["d", "f"], vec![]),
            ("b!", vec!["d", "f"], vec!["b"]),
            ("c", vec!["d", "f"], vec!["b"]),
            ("d", vec!["f"], vec!["b"]),
            ("f", vec![], vec!["d", "b"]),
            ("g", vec![], vec!["f", "d", "b"]),
        ] {
            assert_eq!(sks(table, behind(sk, Direction::Ascending)).await, upwards, "{sk}");
            assert_eq!(sks(table, behind(sk, Direction::Descending)).await, downwards, "{sk}");
        }
    }

    /// Items that come and go between two pages neither hide nor double the others.
    async fn paging_holds_while_items_come_and_go(table, p) {
        fill(table, p, &["b", "d", "f"]).await;
        let first = table.query(Query { limit: 2, ..all(p) }).await.unwrap();
        let delete = Write::Delete { key: key(p, "d"), expect: Expect::Version(1) };
        commit(table, vec![delete]).await.unwrap();
        fill(table, p, &["a", "e"]).await;
        let rest = sks(table, Query { after: first.next, ..all(p) }).await;
        assert_eq!(rest, ["e", "f"]);
    }

    /// A cursor outside the range reads what of the range is behind it.
    async fn after_and_the_range_both_hold(table, p) {
        fill(table, p, &["a1", "b1", "b2", "c1"]).await;
        let prefix = |after: &str, direction| Query {
            range: Range::Prefix("b".into()),
            after: Some(Cursor::behind(after)),
            direction,
            ..all(p)
        };
        assert_eq!(sks(table, prefix("a", Direction::Ascending)).await, ["b1", "b2"]);
        assert_eq!(sks(table, prefix("b1", Direction::Ascending)).await, ["b2"]);
        assert_eq!(sks(table, prefix("c", Direction::Ascending)).await, [""; 0]);
        assert_eq!(sks(table, prefix("c1", Direction::Descending)).await, ["b2", "b1"]);
        assert_eq!(sks(table, prefix("b2", Direction::Descending)).await, ["b1"]);
        assert_eq!(sks(table, prefix("a1", Direction::Descending)).await, [""; 0]);
    }

    /// A prefix finds what begins with it and nothing else, at the ends of Unicode too.
    async fn a_prefix_finds_only_what_begins_with_it(table, p) {
        let items = [
            "a", "a#", "a#1", "a#2", "a$", "aé", "aê", "a\u{d7ff}", "a\u{e000}", "a\u{ffff}x",
            "a\u{10ffff}", "a\u{10ffff}x", "b", "\u{10ffff}", "\u{10ffff}x", "%", "_", "'", "*",
        ];
        fill(table, p, &items).await;
        for prefix in items.into_iter().chain(["", "a\u{10ffff}\u{10ffff}", "zz", "a#1\u{1}"]) {
            let mut expected = items.to_vec();
            expected.retain(|sk| sk.starts_with(prefix));
            expected.sort_unstable();
            let query = Query { range: Range::Prefix(prefix.to_owned()), limit: 2, ..all(p) };
            assert_eq!(sks(table, query.clone()).await, expected, "{prefix:?}");
            let mut down = sks(table, Query { direction: Direction::Descending, ..query }).await;
            down.reverse();
            assert_eq!(down, expected, "{prefix:?} downwards");
        }
    }

    /// Between takes its first end and leaves its second.
    async fn between_takes_the_first_end_and_leaves_the_second(table, p) {
        fill(table, p, &["a", "b", "c", "d"]).await;
        for (from, to, expected) in [
            ("a", "d", vec!["a", "b", "c"]),
            ("b", "b!", vec!["b"]),
            ("b", "b", vec![]),
            ("c", "a", vec![]),
            ("", "\u{10ffff}", vec!["a", "b", "c", "d"]),
            ("aa", "bb", vec!["b"]),
        ] {
            let query = Query { range: Range::Between(from.into(), to.into()), limit: 1, ..all(p) };
            assert_eq!(sks(table, query.clone()).await, expected, "{from} to {to}");
            let mut down = sks(table, Query { direction: Direction::Descending, ..query }).await;
            down.reverse();
            assert_eq!(down, expected, "{from} to {to} downwards");
        }
    }

    /// A partition ends at its name: one that begins with it is another.
    async fn partitions_do_not_mix(table, p) {
        let longer = format!("{p}#");
        fill(table, p, &["a"]).await;
        fill(table, &longer, &["b"]).await;
        assert_eq!(sks(table, all(p)).await, ["a"]);
        assert_eq!(sks(table, all(&longer)).await, ["b"]);
        assert_eq!(sks(table, all(&p.to_lowercase())).await, [""; 0]);
    }

    /// The index holds who says so, under what it says last.
    async fn the_index_is_sparse_and_follows_the_item(table, p) {
        let (red, blue) = (format!("{p}#red"), format!("{p}#blue"));
        let on = |pk: &str| Query { on_index: true, ..all(pk) };
        commit(table, vec![
            put_indexed(key(p, "1"), Some((&red, "z")), Expect::Absent),
            put_indexed(key(p, "2"), Some((&red, "y")), Expect::Absent),
            put_indexed(key(p, "3"), None, Expect::Absent),
        ]).await.unwrap();
        assert_eq!(sks(table, on(&red)).await, ["2", "1"]);
        assert_eq!(sks(table, all(&red)).await, [""; 0], "the index is not the table");

        let moved = put_indexed(key(p, "1"), Some((&blue, "x")), Expect::Version(1));
        commit(table, vec![moved]).await.unwrap();
        assert_eq!(sks(table, on(&red)).await, ["2"]);
        assert_eq!(sks(table, on(&blue)).await, ["1"]);

        commit(table, vec![add(key(p, "1"), 1, 0, 1)]).await.unwrap();
        assert_eq!(sks(table, on(&blue)).await, ["1"], "an add leaves the index");
        commit(table, vec![put_indexed(key(p, "1"), None, Expect::Version(3))]).await.unwrap();
        assert_eq!(sks(table, on(&blue)).await, [""; 0], "a put without an index leaves it");

        let delete = Write::Delete { key: key(p, "2"), expect: Expect::Version(1) };
        commit(table, vec![delete]).await.unwrap();
        assert_eq!(sks(table, on(&red)).await, [""; 0]);
    }

    /// The index is read like the table: by prefix, either way, by pages whose cursors are its own.
    async fn the_index_pages_in_its_own_order(table, p) {
        let places = ["A#3", "A#2", "A#1", "B#1", "A#4"];
        for (n, place) in places.iter().enumerate() {
            let key = key(&format!("{p}#{n}"), &n.to_string());
            commit(table, vec![put_indexed(key, Some((p, place)), Expect::Absent)]).await.unwrap();
        }
        for limit in 1..5 {
            let range = Range::Prefix("A#".into());
            let query = Query { on_index: true, range, limit, ..all(p) };
            assert_eq!(sks(table, query.clone()).await, ["2", "1", "0", "4"], "by {limit}");
            let down = Query { direction: Direction::Descending, ..query };
            assert_eq!(sks(table, down).await, ["4", "0", "1", "2"], "downwards by {limit}");
        }
        let page = table.query(Query { on_index: true, limit: 1, ..all(p) }).await.unwrap();
        assert_eq!(page.items[0].key, key(&format!("{p}#2"), "2"));
        assert_eq!(page.items[0].body, "indexed");
        assert_eq!(page.next, Some(Cursor::behind("A#1")));
    }

    /// An expired item is found by nothing.
    async fn an_expired_item_is_not_found(table, p) {
        let expiring = |sk: &str, expires, index: &str| Write::Put {
            key: key(p, sk),
            body: sk.to_owned(),
            expires: Some(expires),
            index: Some(Index { pk: format!("{p}#i"), sk: index.to_owned() }),
            expect: Expect::Absent,
        };
        commit(table, vec![expiring("gone", PAST, "1"), expiring("here", FAR, "2")]).await.unwrap();
        assert_eq!(item(table, &key(p, "gone")).await, None);
        assert!(item(table, &key(p, "here")).await.is_some());
        let batch = table.batch_get(&[key(p, "gone"), key(p, "here")]).await.unwrap();
        assert_eq!(batch.iter().map(Option::is_some).collect::<Vec<_>>(), [false, true]);
        assert_eq!(sks(table, Query { limit: 1, ..all(p) }).await, ["here"]);
        let on_index = Query { on_index: true, limit: 1, ..all(&format!("{p}#i")) };
        assert_eq!(sks(table, on_index).await, ["here"]);
    }

    /// An expired item counts as absent for who expects something.
    async fn an_expired_item_counts_as_absent(table, p) {
        for sk in ["put", "checked", "deleted", "counted"] {
            let expired = put_until(key(p, sk), "old", PAST, Expect::Absent);
            commit(table, vec![expired]).await.unwrap();
        }
        let stale = commit(table, vec![put(key(p, "put"), "new", Expect::Version(1))]).await;
        assert_conflict(&stale, 0);
        let stale = Write::Delete { key: key(p, "deleted"), expect: Expect::Version(1) };
        assert_conflict(&commit(table, vec![stale]).await, 0);
        commit(table, vec![
            put(key(p, "put"), "new", Expect::Absent),
            Write::Check { key: key(p, "checked"), expect: Expect::Absent },
            Write::Delete { key: key(p, "deleted"), expect: Expect::Absent },
            add(key(p, "counted"), 3, 0, 3),
        ]).await.unwrap();
        let new = item(table, &key(p, "put")).await.unwrap();
        assert_eq!((new.version, new.body.as_str()), (1, "new"));
        let counted = item(table, &key(p, "counted")).await.unwrap();
        assert_eq!((counted.version, counted.body.as_str(), counted.count), (1, "", 3));
        assert_eq!(sks(table, all(p)).await, ["counted", "put"]);
    }

    /// A put says anew when an item expires; an add does not.
    async fn a_put_replaces_the_expiry(table, p) {
        commit(table, vec![put_until(key(p, "a"), "x", FAR, Expect::Absent)]).await.unwrap();
        commit(table, vec![add(key(p, "a"), 1, 0, 1)]).await.unwrap();
        assert!(item(table, &key(p, "a")).await.is_some());
        commit(table, vec![put_until(key(p, "a"), "x", PAST, Expect::Version(2))]).await.unwrap();
        assert_eq!(item(table, &key(p, "a")).await, None);
        commit(table, vec![put(key(p, "a"), "x", Expect::Absent)]).await.unwrap();
        assert!(item(table, &key(p, "a")).await.is_some());
    }

    /// A hundred writes are a commit; one more, or none, are not.
    async fn a_commit_has_from_one_to_a_hundred_writes(table, p) {
        let writes = |count: usize, expect| -> Vec<_> {
            (0..count).map(|n| put(key(p, &format!("{n:03}")), "x", expect)).collect()
        };
        assert_invalid(&commit(table, writes(MAX_WRITES + 1, Expect::Absent)).await);
        assert_invalid(&commit(table, vec![]).await);
        assert_eq!(sks(table, all(p)).await, [""; 0]);
        commit(table, writes(MAX_WRITES, Expect::Absent)).await.unwrap();
        assert_eq!(sks(table, all(p)).await.len(), MAX_WRITES);
        commit(table, writes(MAX_WRITES, Expect::Version(1))).await.unwrap();
    }

    /// The largest body is taken, in bytes and not in characters; one byte more is not.
    async fn a_body_has_a_largest_size(table, p) {
        let largest = "é".repeat(MAX_BODY / 2);
        commit(table, vec![put(key(p, "a"), &largest, Expect::Absent)]).await.unwrap();
        assert_eq!(item(table, &key(p, "a")).await.unwrap().body, largest);
        let larger = format!("{largest}x");
        assert_invalid(&commit(table, vec![put(key(p, "b"), &larger, Expect::Absent)]).await);
    }

    /// As many bodies as a commit may hold are taken together; one byte more is not.
    async fn a_commit_has_a_largest_size(table, p) {
        let writes = |last: usize, expect| -> Vec<_> {
            let sizes = std::iter::repeat_n(MAX_BODY, MAX_COMMIT / MAX_BODY).chain([last]);
            let put = |(n, size)| put(key(p, &format!("{n:03}")), &"x".repeat(size), expect);
            sizes.enumerate().map(put).collect()
        };
        let rest = MAX_COMMIT % MAX_BODY;
        assert_invalid(&commit(table, writes(rest + 1, Expect::Absent)).await);
        assert_eq!(table.query(Query { limit: 1, ..all(p) }).await.unwrap().items, []);
        commit(table, writes(rest, Expect::Absent)).await.unwrap();
        let last = key(p, &format!("{:03}", MAX_COMMIT / MAX_BODY));
        assert_eq!(item(table, &last).await.unwrap().body.len(), rest);
    }

    /// Two writes on one item would depend on their order.
    async fn a_commit_writes_an_item_once(table, p) {
        let check = Write::Check { key: key(p, "a"), expect: Expect::Absent };
        let twice = vec![check, put(key(p, "a"), "x", Expect::Absent)];
        assert_invalid(&commit(table, twice).await);
        assert_eq!(item(table, &key(p, "a")).await, None);
    }

    /// Neither half of a key is empty or longer than a thousand bytes and some.
    async fn keys_have_a_size(table, p) {
        let long = "x".repeat(MAX_KEY);
        let longest = Key { pk: p.to_owned(), sk: long.clone() };
        commit(table, vec![put(longest.clone(), "x", Expect::Absent)]).await.unwrap();
        assert!(item(table, &longest).await.is_some());
        assert_eq!(table.query(Query { limit: 1, ..all(p) }).await.unwrap().items[0].key, longest);
        let longer = format!("{long}x");
        for (pk, sk) in [("", "a"), (p, ""), (&longer, "a"), (p, &longer)] {
            let bad = Key { pk: pk.to_owned(), sk: sk.to_owned() };
            assert_invalid(&table.get(&bad).await);
            assert_invalid(&table.batch_get(std::slice::from_ref(&bad)).await);
            assert_invalid(&commit(table, vec![put(bad, "x", Expect::Absent)]).await);
            let indexed = put_indexed(key(p, "a"), Some((pk, sk)), Expect::Absent);
            assert_invalid(&commit(table, vec![indexed]).await);
        }
        assert_invalid(&table.query(all("")).await);
        assert_invalid(&table.query(all(&longer)).await);
    }

    /// A page has from one to a thousand items.
    async fn a_page_has_a_size(table, p) {
        for limit in [0, MAX_LIMIT + 1, usize::MAX] {
            assert_invalid(&table.query(Query { limit, ..all(p) }).await);
        }
        assert!(table.query(Query { limit: MAX_LIMIT, ..all(p) }).await.is_ok());
    }

    /// A page of large bodies ends early and says so; paging still finds all, once.
    async fn a_page_of_large_bodies_ends_early(table, p) {
        let body = "x".repeat(MAX_BODY);
        for sk in ["a", "b", "c", "d", "e"] {
            commit(table, vec![put(key(p, sk), &body, Expect::Absent)]).await.unwrap();
        }
        for direction in [Direction::Ascending, Direction::Descending] {
            let (mut query, mut found) = (Query { direction, ..all(p) }, BTreeSet::new());
            loop {
                let page = table.query(query.clone()).await.unwrap();
                assert!(!page.items.is_empty() && page.items.len() * MAX_BODY <= MAX_PAGE);
                for item in page.items {
                    assert!(found.insert(item.key.sk));
                }
                if page.next.is_none() {
                    break;
                }
                query.after = page.next;
            }
            assert_eq!(found.into_iter().collect::<String>(), "abcde");
        }
    }

    /// The empty body is a body.
    async fn a_body_may_be_empty(table, p) {
        commit(table, vec![put(key(p, "a"), "", Expect::Absent)]).await.unwrap();
        assert_eq!(item(table, &key(p, "a")).await.unwrap().body, "");
        commit(table, vec![put(key(p, "a"), "", Expect::Version(1))]).await.unwrap();
    }

    /// Any text is a key or a body, and none is code.
    async fn any_text_is_a_key_or_a_body(table, p) {
        let texts = [
            "'", "''; DROP TABLE items; --", "\"", "\\", "%", "_", "?1", ":a", "#", " ", "\n", "\t",
            "ключ", "鍵", "🔑", "e\u{301}", "é", "\u{feff}", "null", "NaN", "0x10", "1e3", "007",
            "{}",
        ];
        for text in texts {
            let pk = format!("{p}{text}");
            let write = Write::Put {
                key: key(&pk, text),
                body: text.to_owned(),
                index: Some(Index { pk: pk.clone(), sk: text.to_owned() }),
                expires: None,
                expect: Expect::Absent,
            };
            commit(table, vec![write]).await.unwrap();
        }
        for text in texts {
            let pk = format!("{p}{text}");
            assert_eq!(item(table, &key(&pk, text)).await.unwrap().body, text);
            assert_eq!(sks(table, all(&pk)).await, [text]);
            assert_eq!(sks(table, Query { on_index: true, ..all(&pk) }).await, [text]);
        }
    }

    /// However many add at once, the sum is right and stays within its bounds.
    async fn adds_never_overshoot(table, p) {
        let results = join_all((0..200).map(|_| {
            commit(table, vec![add(key(p, "n"), 1, 0, 50)])
        })).await;
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 50);
        for result in results.into_iter().filter(Result::is_err) {
            assert_conflict(&result, 0);
        }
        let counter = item(table, &key(p, "n")).await.unwrap();
        assert_eq!((counter.count, counter.version, counter.body.as_str()), (50, 50, ""));
        let results = join_all((0..80).map(|_| {
            commit(table, vec![add(key(p, "n"), -1, 0, 50)])
        })).await;
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 50);
        assert_eq!(item(table, &key(p, "n")).await.unwrap().count, 0);
    }

    /// Both bounds are the last that is allowed, from absence on and to the ends of the numbers.
    async fn adds_keep_both_bounds(table, p) {
        let n = || key(p, "n");
        assert_conflict(&commit(table, vec![add(n(), 11, 0, 10)]).await, 0);
        assert_conflict(&commit(table, vec![add(n(), -1, 0, 10)]).await, 0);
        assert_eq!(item(table, &n()).await, None, "a refused add makes nothing");
        commit(table, vec![add(n(), 10, 0, 10)]).await.unwrap();
        assert_conflict(&commit(table, vec![add(n(), 1, 0, 10)]).await, 0);
        commit(table, vec![add(n(), -10, 0, 10)]).await.unwrap();
        commit(table, vec![add(n(), -5, -5, 10)]).await.unwrap();
        commit(table, vec![add(n(), 5, 0, 0)]).await.unwrap();
        commit(table, vec![add(n(), i64::MAX, 0, i64::MAX)]).await.unwrap();
        assert_conflict(&commit(table, vec![add(n(), 1, i64::MIN, i64::MAX)]).await, 0);
        assert_eq!(item(table, &n()).await.unwrap().count, i64::MAX);
    }

    /// An add leaves the body of an item that a put made; a put begins the count again.
    async fn adds_and_puts_share_an_item(table, p) {
        fill(table, p, &["a"]).await;
        commit(table, vec![add(key(p, "a"), 7, 0, 10)]).await.unwrap();
        let both = item(table, &key(p, "a")).await.unwrap();
        assert_eq!((both.version, both.body.as_str(), both.count), (2, "a", 7));
        commit(table, vec![put(key(p, "a"), "b", Expect::Version(2))]).await.unwrap();
        let replaced = item(table, &key(p, "a")).await.unwrap();
        assert_eq!((replaced.version, replaced.body.as_str(), replaced.count), (3, "b", 0));
    }

    /// A counted admission: what is put and what is counted agree, whoever loses.
    async fn an_add_and_a_put_happen_together(table, p) {
        let admit = |n: usize| commit(table, vec![
            put(key(p, &format!("item{:02}", n % 30)), "x", Expect::Absent),
            add(key(&format!("{p}#count"), "n"), 1, 0, 20),
        ]);
        let results = join_all((0..60).map(admit)).await;
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 20);
        assert_eq!(sks(table, all(p)).await.len(), 20);
        let counter = item(table, &key(&format!("{p}#count"), "n")).await.unwrap();
        assert_eq!(counter.count, 20);
    }

    /// A batch answers in the order of its keys, each as often as it is asked.
    async fn a_batch_answers_in_the_order_of_its_keys(table, p) {
        let other = format!("{p}#other");
        fill(table, p, &["a", "b"]).await;
        fill(table, &other, &["c"]).await;
        let keys = [key(p, "b"), key(p, "missing"), key(&other, "c"), key(p, "a"), key(p, "b")];
        let found = table.batch_get(&keys).await.unwrap();
        let bodies: Vec<_> = found.iter().map(|i| i.as_ref().map(|i| i.body.as_str())).collect();
        assert_eq!(bodies, [Some("b"), None, Some("c"), Some("a"), Some("b")]);
        for (key, item) in keys.iter().zip(&found) {
            assert!(item.as_ref().is_none_or(|item| item.key == *key));
        }
        assert!(table.batch_get(&[]).await.unwrap().is_empty());
    }

    /// A hundred keys are a batch; one more are not.
    async fn a_batch_has_at_most_a_hundred_keys(table, p) {
        let keys: Vec<_> = (0..=MAX_BATCH).map(|n| key(p, &format!("{n:03}"))).collect();
        fill(table, p, &["007"]).await;
        let found = table.batch_get(&keys[..MAX_BATCH]).await.unwrap();
        assert_eq!(found.len(), MAX_BATCH);
        assert_eq!(found.iter().flatten().count(), 1);
        assert!(found[7].is_some());
        assert_invalid(&table.batch_get(&keys).await);
    }

    /// Who was told that a commit happened finds it, however many others commit.
    async fn a_read_sees_every_commit_that_returned(table, p) {
        let write_then_read = |n: usize| async move {
            let key = key(p, &format!("{n:03}"));
            commit(table, vec![put(key.clone(), "x", Expect::Absent)]).await.unwrap();
            assert_eq!(version(table, &key).await, Some(1));
            let one = Query { range: Range::Prefix(key.sk), ..all(p) };
            assert_eq!(table.query(one).await.unwrap().items.len(), 1);
        };
        join_all((0..100).map(write_then_read)).await;
    }

    /// No reader finds half of a commit in one page.
    async fn a_page_never_shows_half_a_commit(table, p) {
        let both = |body: u64, expect: fn(u64) -> Expect| vec![
            put(key(p, "left"), &body.to_string(), expect(body)),
            put(key(p, "right"), &body.to_string(), expect(body)),
        ];
        commit(table, both(0, |_| Expect::Absent)).await.unwrap();
        let write = async {
            for round in 1..100 {
                commit(table, both(round, Expect::Version)).await.unwrap();
            }
        };
        let read = async {
            for _ in 0..200 {
                let items = table.query(all(p)).await.unwrap().items;
                assert_eq!(items[0].body, items[1].body);
                tokio::task::yield_now().await;
            }
        };
        futures::future::join(write, read).await;
    }
}
