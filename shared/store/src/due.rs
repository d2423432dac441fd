//! The due index: what is to be done, ordered by when.

use domain::Timestamp;
use domain::due::Due;
use serde::Deserialize;

use crate::document::{self, Document, Loaded, Malformed, decode};
use crate::{Cursor, Direction, Error, Expect, Key, Query, Range, Table, Write, keys};

#[derive(Deserialize)]
struct Stored {
    doc: Due,
}

impl Document for Due {
    fn key(&self) -> Key {
        keys::due(self)
    }
}

/// Writes an errand that is not stored yet at its time.
pub fn put(due: &Due) -> Write {
    document::put(due, Expect::Absent)
}

/// Takes an errand for oneself until `until`: of two that try, one gets a conflict.
pub fn claim(before: &Loaded<Due>, until: Timestamp) -> (Due, [Write; 2]) {
    let due =
        Due { at: until, attempt: before.value.attempt + 1, claimed: true, ..before.value.clone() };
    let writes = [document::delete(before), put(&due)];
    (due, writes)
}

/// Writes that put an errand one holds back in line, to be tried again at `at`.
pub fn release(held: &Due, at: Timestamp, attempt: u32) -> [Write; 2] {
    // At the very moment until which it is held it would be the same item.
    let at = if at == held.at { at.after(std::time::Duration::from_millis(1)) } else { at };
    [done(held), put(&Due { at, attempt, claimed: false, ..held.clone() })]
}

/// Removes an errand one holds: what it asks for is done.
pub fn done(held: &Due) -> Write {
    // An errand is written once at each of its times.
    Write::Delete { key: held.key(), expect: Expect::Version(1) }
}

/// The first `limit` errands of one shard by time, due or not: one round trip.
pub async fn head(
    table: &dyn Table,
    shard: u8,
    after: Option<Cursor>,
    limit: usize,
) -> Result<(Vec<Loaded<Due>>, Option<Cursor>), Error> {
    let query = Query {
        pk: keys::due_shard(shard),
        on_index: false,
        range: Range::Prefix(String::new()),
        direction: Direction::Ascending,
        after,
        limit,
    };
    let page = table.query(query).await?;
    Ok((page.items.iter().map(decode).collect::<Result<_, _>>()?, page.next))
}

/// The errand that an item holds, if it is one of the due index: for who follows the table's changes.
pub fn from_change(pk: &str, sk: &str, body: &str) -> Option<Result<Due, Malformed>> {
    keys::is_due(pk).then(|| {
        let stored = serde_json::from_str::<Stored>(body).map(|stored| stored.doc);
        stored.map_err(|source| Malformed::new(pk, sk, source))
    })
}
