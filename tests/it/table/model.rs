//! The table against the simplest thing that could be one: a map.

use std::collections::BTreeMap;
use std::sync::Arc;

use domain::Timestamp;
use embedded::sqlite::SqliteTable;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, TestRunner};
use store::{
    Commit, Conflict, Cursor, Direction, Error, Expect, Index, Item, Key, Page, Query, Range,
    Table, Write,
};
use tests::emulator::{Emulator, dynamo};
use tests::table::fresh;

use super::HandClock;
use app::ports::Clock as _;

const SKS: [&str; 8] = ["a", "a#1", "a#2", "b", "é", "a\u{10ffff}", "\u{ffff}", "😀"];
const BOUNDS: [&str; 8] = ["", "a", "a#", "b", "é", "a\u{10ffff}", "\u{10ffff}", "~"];

#[derive(Clone, Debug)]
enum Step {
    Commit(Vec<Write>),
    Query(Query),
    Advance(u64),
}

#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) item: Item,
    index: Option<Index>,
    expires: Option<Timestamp>,
}

/// A table as a map. Also stands in for one where a test must know every commit at once.
#[derive(Debug, Default)]
pub(crate) struct Model(pub(crate) BTreeMap<Key, Row>);

impl Model {
    pub(crate) fn find(&self, key: &Key, now: Timestamp) -> Option<&Row> {
        self.0.get(key).filter(|row| row.expires.is_none_or(|expires| expires > now))
    }

    pub(crate) fn commit(&mut self, writes: &[Write], now: Timestamp) -> Result<(), Conflict> {
        for (index, write) in writes.iter().enumerate() {
            let found = self.find(write.key(), now);
            let version = found.map(|row| row.item.version);
            let holds = match write {
                Write::Put { expect, .. }
                | Write::Delete { expect, .. }
                | Write::Check { expect, .. } => match expect {
                    Expect::Absent => version.is_none(),
                    Expect::Version(expected) => version == Some(*expected),
                },
                Write::Add { delta, at_least, at_most, .. } => {
                    let sum = found.map_or(0, |row| row.item.count) + delta;
                    *at_least <= sum && sum <= *at_most
                }
            };
            if !holds {
                return Err(Conflict { index });
            }
        }
        for write in writes {
            let before = self.find(write.key(), now).cloned();
            let version = before.as_ref().map_or(1, |row| row.item.version + 1);
            match write.clone() {
                Write::Put { key, body, index, expires, .. } => {
                    let item = Item { key: key.clone(), version, body, count: 0 };
                    self.0.insert(key, Row { item, index, expires });
                }
                Write::Delete { key, .. } => {
                    self.0.remove(&key);
                }
                Write::Check { .. } => {}
                Write::Add { key, delta, .. } => {
                    let absent = Item { key: key.clone(), version, body: String::new(), count: 0 };
                    let mut row =
                        before.unwrap_or(Row { item: absent, index: None, expires: None });
                    row.item.version = version;
                    row.item.count += delta;
                    self.0.insert(key, row);
                }
            }
        }
        Ok(())
    }

    pub(crate) fn query(&self, query: &Query, now: Timestamp) -> Page {
        let mut found: Vec<(&str, &Item)> = self
            .0
            .keys()
            .filter_map(|key| self.find(key, now))
            .filter_map(|row| match (&row.index, query.on_index) {
                (Some(index), true) => Some((index.pk.as_str(), index.sk.as_str(), &row.item)),
                (None, true) => None,
                (_, false) => Some((row.item.key.pk.as_str(), row.item.key.sk.as_str(), &row.item)),
            })
            .filter(|(pk, sk, _)| {
                *pk == query.pk
                    && match &query.range {
                        Range::Prefix(prefix) => sk.starts_with(prefix.as_str()),
                        Range::Between(from, to) => from.as_str() <= *sk && *sk < to.as_str(),
                    }
                    && query.after.as_ref().is_none_or(|after| match query.direction {
                        Direction::Ascending => *sk > after.sk(),
                        Direction::Descending => *sk < after.sk(),
                    })
            })
            .map(|(_, sk, item)| (sk, item))
            .collect();
        found.sort_by_key(|(sk, _)| sk.as_bytes());
        if query.direction == Direction::Descending {
            found.reverse();
        }
        let more = found.len() > query.limit;
        found.truncate(query.limit);
        let next = found.last().filter(|_| more).map(|(sk, _)| Cursor::behind(*sk));
        Page { items: found.into_iter().map(|(_, item)| item.clone()).collect(), next }
    }
}

fn keys() -> impl Strategy<Value = Key> {
    (select(&["p", "p#"][..]), select(&SKS[..]))
        .prop_map(|(pk, sk)| Key { pk: pk.to_owned(), sk: sk.to_owned() })
}

fn expects() -> impl Strategy<Value = Expect> {
    prop_oneof![
        3 => Just(Expect::Absent),
        4 => (1..4_u64).prop_map(Expect::Version),
    ]
}

fn writes() -> impl Strategy<Value = Write> {
    // No two items share a place in the index: their keys are part of it.
    let index = |key: &Key, (pk, order): (&str, u8)| Index {
        pk: format!("i{pk}"),
        sk: format!("{order}{}{}", key.sk, key.pk),
    };
    let place = prop::option::of((select(&["x", "y"][..]), 0..3_u8));
    prop_oneof![
        6 => (keys(), ".{0,3}", place, prop::option::weighted(0.3, 0..40_u64), expects())
            .prop_map(move |(key, body, place, expires, expect)| Write::Put {
                index: place.map(|place| index(&key, place)),
                key,
                body,
                expires: expires.map(Timestamp::from_millis),
                expect,
            }),
        2 => (keys(), expects()).prop_map(|(key, expect)| Write::Delete { key, expect }),
        2 => (keys(), expects()).prop_map(|(key, expect)| Write::Check { key, expect }),
        3 => (keys(), -3..4_i64).prop_map(|(key, delta)| Write::Add {
            key, delta, at_least: -2, at_most: 5,
        }),
    ]
}

fn queries() -> impl Strategy<Value = Query> {
    let bound = || select(&BOUNDS[..]).prop_map(str::to_owned);
    let range = prop_oneof![
        bound().prop_map(Range::Prefix),
        (bound(), bound()).prop_map(|(from, to)| Range::Between(from, to)),
        select(&["0", "1", "2", "1a"][..]).prop_map(|prefix| Range::Prefix(prefix.to_owned())),
    ];
    (
        prop_oneof![
            select(&["p", "p#", "none"][..]).prop_map(|pk| (pk, false)),
            select(&["ix", "iy"][..]).prop_map(|pk| (pk, true)),
        ],
        range,
        any::<bool>(),
        prop::option::of(prop_oneof![select(&SKS[..]), select(&["1a", "0b", "2"][..])]),
        1..6_usize,
    )
        .prop_map(|((pk, on_index), range, down, after, limit)| Query {
            pk: pk.to_owned(),
            on_index,
            range,
            direction: if down { Direction::Descending } else { Direction::Ascending },
            after: after.map(Cursor::behind),
            limit,
        })
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let commit = prop::collection::vec(writes(), 1..4).prop_map(|mut writes| {
        // A commit writes an item once.
        writes.sort_by(|a, b| a.key().cmp(b.key()));
        writes.dedup_by(|a, b| a.key() == b.key());
        Step::Commit(writes)
    });
    let step = prop_oneof![
        5 => commit,
        4 => queries().prop_map(Step::Query),
        1 => (0..6_u64).prop_map(Step::Advance),
    ];
    prop::collection::vec(step, 1..60)
}

/// Moves what a step is about into partitions of its own case, and its times behind `start`.
fn place(step: Step, prefix: &str, start: Timestamp) -> Step {
    let of = |pk: &str| format!("{prefix}{pk}");
    match step {
        Step::Advance(millis) => Step::Advance(millis),
        Step::Query(query) => Step::Query(Query { pk: of(&query.pk), ..query }),
        Step::Commit(writes) => Step::Commit(
            writes
                .into_iter()
                .map(|mut write| {
                    match &mut write {
                        Write::Put { key, index, expires, .. } => {
                            key.pk = of(&key.pk);
                            if let Some(index) = index {
                                index.pk = of(&index.pk);
                            }
                            *expires = expires.map(|expires| {
                                Timestamp::from_millis(start.as_millis() + expires.as_millis())
                            });
                        }
                        Write::Delete { key, .. }
                        | Write::Check { key, .. }
                        | Write::Add { key, .. } => key.pk = of(&key.pk),
                    }
                    write
                })
                .collect(),
        ),
    }
}

async fn run(table: &dyn Table, clock: &HandClock, steps: Vec<Step>) {
    let (prefix, start) = (fresh(), clock.now());
    let mut model = Model::default();
    for step in steps {
        match place(step, &prefix, start) {
            Step::Advance(millis) => {
                clock.advance(millis);
            }
            Step::Query(query) => {
                let expected = model.query(&query, clock.now());
                assert_eq!(table.query(query.clone()).await.unwrap(), expected, "{query:?}");
            }
            Step::Commit(writes) => {
                let expected = model.commit(&writes, clock.now());
                match (table.commit(Commit { name: "test.model", writes }).await, expected) {
                    (Ok(()), Ok(())) => {}
                    (Err(Error::Conflict(found)), Err(expected)) => assert_eq!(found, expected),
                    (found, expected) => panic!("{found:?} is not {expected:?}"),
                }
            }
        }
    }
    let keys: Vec<Key> = ["p", "p#"]
        .iter()
        .flat_map(|pk| SKS.map(|sk| Key { pk: format!("{prefix}{pk}"), sk: sk.to_owned() }))
        .collect();
    let expected: Vec<_> =
        keys.iter().map(|key| model.find(key, clock.now()).map(|row| row.item.clone())).collect();
    assert_eq!(table.batch_get(&keys).await.unwrap(), expected);
    for (key, expected) in keys.iter().zip(expected) {
        assert_eq!(table.get(key).await.unwrap(), expected);
    }
}

/// Holds a table against the map, in so many histories.
fn is_a_map(runtime: &tokio::runtime::Runtime, table: &dyn Table, clock: &HandClock, cases: u32) {
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    TestRunner::new(config)
        .run(&steps(), |steps| {
            runtime.block_on(run(table, clock, steps));
            Ok(())
        })
        .unwrap();
}

#[test]
fn sqlite_is_a_map() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(HandClock::default());
    let table = SqliteTable::open(dir.path().join("reeve.db"), clock.clone()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    is_a_map(&runtime, &table, &clock, 100);
}

#[test]
fn dynamodb_is_a_map() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let clock = Arc::new(HandClock::default());
    // DynamoDB removes what expires by its own clock, which must not be ahead of this one.
    clock.advance(4_000_000_000_000);
    let emulator = runtime.block_on(Emulator::start());
    let table = dynamo(emulator.endpoint(), &fresh(), clock.clone());
    runtime.block_on(table.create()).unwrap();
    // The emulator is interpreted: a step takes milliseconds.
    is_a_map(&runtime, &table, &clock, 25);
}
