//! The events of a session: batches, written once, never changed.
//!
//! A batch is one item, so a thousand events of a busy run cost a few dozen writes; it is filed under
//! the number of its last event, so the first item at or behind a number holds that number.

use domain::event::Event;
use domain::{RealmId, SessionId};
use serde::{Deserialize, Serialize};

use crate::document::{Malformed, decode, encode};
use crate::{Cursor, Direction, Error, Expect, Query, Range, Scope, Table, Write, keys};

#[derive(Serialize)]
struct WrittenBatch<'a> {
    events: &'a [Event],
}

#[derive(Deserialize)]
struct Batch {
    events: Vec<Event>,
}

#[derive(Deserialize)]
struct Stored {
    doc: Batch,
}

/// Writes events that follow each other. None where there are none.
pub fn append(scope: Scope, session: SessionId, events: &[Event]) -> Option<Write> {
    let last = events.last()?;
    Some(Write::Put {
        key: keys::events(scope, session, last.seq),
        body: encode(&WrittenBatch { events }),
        index: None,
        expires: None,
        expect: Expect::Absent,
    })
}

/// Up to about `limit` events behind `after`, in order, and whether more may follow: one round
/// trip. Batches are taken whole, then cut to `limit`.
pub async fn read(
    table: &dyn Table,
    scope: Scope,
    session: SessionId,
    after: u64,
    limit: usize,
) -> Result<(Vec<Event>, bool), Error> {
    let page = table
        .query(Query {
            pk: keys::events_of(scope, session),
            on_index: false,
            range: Range::Prefix(String::new()),
            direction: Direction::Ascending,
            after: Some(Cursor::behind(keys::seq(after))),
            // A batch holds at least one event, so no more than `limit` batches are needed.
            limit: limit.clamp(1, 1000),
        })
        .await?;
    let mut events = Vec::new();
    for item in &page.items {
        let batch = decode::<Batch>(item)?.value.events;
        events.extend(batch.into_iter().filter(|event| event.seq > after));
        if events.len() > limit {
            break;
        }
    }
    let more = events.len() > limit || page.next.is_some();
    events.truncate(limit);
    Ok((events, more))
}

/// Up to `limit` batches of a session, as writes that remove them. Empty where none is left.
pub async fn remove(
    table: &dyn Table,
    scope: Scope,
    session: SessionId,
    limit: usize,
) -> Result<Vec<Write>, Error> {
    let page = table
        .query(Query {
            pk: keys::events_of(scope, session),
            on_index: false,
            range: Range::Prefix(String::new()),
            direction: Direction::Ascending,
            after: None,
            limit,
        })
        .await?;
    Ok(page
        .items
        .into_iter()
        .map(|item| Write::Delete { expect: Expect::Version(item.version), key: item.key })
        .collect())
}

/// Whose events a partition holds, if it holds events: for who follows the table's changes.
pub fn session_of(pk: &str) -> Option<(RealmId, SessionId)> {
    keys::session_of_events(pk)
}

/// The events of a batch, as it stands in a change of the table.
pub fn from_change(pk: &str, sk: &str, body: &str) -> Result<Vec<Event>, Malformed> {
    serde_json::from_str::<Stored>(body)
        .map(|stored| stored.doc.events)
        .map_err(|source| Malformed::new(pk, sk, source))
}
