//! The due index: what is to be done, ordered by when.
//!
//! Who holds an errand leaves it in its place in line, which is the one write of a claim: what is held is
//! met again by others, who pass it over until its lease ends.

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

/// Takes an errand for oneself until `until`: of two that try, one gets a conflict. The errand as one then
/// holds it.
pub fn claim(before: &Loaded<Due>, until: Timestamp) -> (Loaded<Due>, Write) {
    let attempt = before.value.attempt + 1;
    let value = Due { attempt, held_until: Some(until), ..before.value.clone() };
    let write = document::put(&value, before.expect());
    (Loaded { value, version: before.version + 1 }, write)
}

/// Writes that put an errand one holds back in line, to be tried again at `at`.
pub fn release(held: &Loaded<Due>, at: Timestamp, attempt: u32) -> Vec<Write> {
    let due = Due { at, attempt, held_until: None, ..held.value.clone() };
    if at == held.value.at {
        return vec![document::put(&due, held.expect())];
    }
    vec![done(held), put(&due)]
}

/// Removes an errand one holds: what it asks for is done.
pub fn done(held: &Loaded<Due>) -> Write {
    document::delete(held)
}

/// Takes an errand out of the line that nobody has claimed yet: what it asks for is not wanted any more.
pub fn call_off(due: &Due) -> Write {
    Write::Delete { key: due.key(), expect: Expect::Version(1) }
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
