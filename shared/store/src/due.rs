//! The due index: what is to be done, ordered by when.

use domain::Timestamp;
use domain::due::Due;

use crate::document::{self, Document, Loaded, decode};
use crate::{Direction, Error, Expect, Key, Query, Range, Table, Write, keys};

impl Document for Due {
    fn key(&self) -> Key {
        keys::due(self)
    }
}

/// Writes an errand that is not stored yet at its time.
pub fn put(due: &Due) -> Write {
    document::put(due, Expect::Absent)
}

/// Moves an errand to another time: the claim of a scheduler, and the next try.
pub fn reschedule(before: &Loaded<Due>, at: Timestamp) -> (Due, [Write; 2]) {
    let due = Due { at, attempt: before.value.attempt + 1, ..before.value.clone() };
    let writes = [document::delete(before), put(&due)];
    (due, writes)
}

/// Up to `limit` errands of one shard that are due before `now`, oldest first: one round trip.
pub async fn before(
    table: &dyn Table,
    shard: u8,
    now: Timestamp,
    limit: usize,
) -> Result<Vec<Loaded<Due>>, Error> {
    let range = Range::Between(keys::due_at(Timestamp::default()), keys::due_at(now));
    read(table, shard, range, limit).await
}

/// When the next errand of a shard is due, if one is: one round trip.
pub async fn next(table: &dyn Table, shard: u8) -> Result<Option<Timestamp>, Error> {
    let first = read(table, shard, Range::Prefix(String::new()), 1).await?;
    Ok(first.first().map(|due| due.value.at))
}

async fn read(
    table: &dyn Table,
    shard: u8,
    range: Range,
    limit: usize,
) -> Result<Vec<Loaded<Due>>, Error> {
    let query = Query {
        pk: keys::due_shard(shard),
        on_index: false,
        range,
        direction: Direction::Ascending,
        after: None,
        limit,
    };
    table.query(query).await?.items.iter().map(decode).collect()
}
