//! The events of a session: batches, written once, never changed.
//!
//! A batch is one item, so a thousand events of a busy run cost a few dozen writes; it is filed under
//! the number of its last event, so the first item at or behind a number holds that number.

use domain::event::Event;
use domain::{AgentId, RealmId, SessionId};
use serde::{Deserialize, Serialize};

use crate::document::{self, Malformed, decode, encode};
use crate::log::Place;
use crate::{Cursor, Direction, Error, Expect, Item, Query, Range, Scope, Table, Write, keys};

/// Events that were written together.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The realm.
    pub realm: RealmId,
    /// The session.
    pub session: SessionId,
    /// The agent of the session; none in batches that were written before it was noted.
    pub agent: Option<AgentId>,
    /// The events; not empty.
    pub events: Vec<Event>,
}

/// What a batch begins with, for who wants to know no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The realm.
    pub realm: RealmId,
    /// Where it is.
    pub place: Place,
    /// The number of its first event.
    pub first: u64,
}

// `head` relies on the order of these fields.
#[derive(Serialize)]
struct Written<'a> {
    agent: AgentId,
    first: u64,
    events: &'a [Event],
}

#[derive(Deserialize)]
struct Stored {
    #[serde(default)]
    agent: Option<AgentId>,
    events: Vec<Event>,
}

#[derive(Deserialize)]
struct StoredHead {
    agent: AgentId,
    first: u64,
}

/// Writes events that follow each other. None where there are none.
pub fn append(scope: Scope, agent: AgentId, session: SessionId, events: &[Event]) -> Option<Write> {
    let (first, last) = (events.first()?.seq, events.last()?.seq);
    Some(Write::Put {
        key: keys::events(scope, session, last),
        body: encode(&Written { agent, first, events }),
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
        let batch = decode::<Stored>(item)?.value.events;
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

/// Batches by their places, in the order of `places`, at most [`crate::MAX_BATCH`]: one round trip.
/// None where one is gone.
pub async fn batches(
    table: &dyn Table,
    scope: Scope,
    places: &[Place],
) -> Result<Vec<Option<Batch>>, Error> {
    let keys: Vec<_> =
        places.iter().map(|place| keys::events(scope, place.session, place.last)).collect();
    let items = table.batch_get(&keys).await?;
    let batch = |(item, place): (Option<Item>, &Place)| {
        let Some(item) = item else { return Ok(None) };
        let Stored { agent, events } = decode::<Stored>(&item)?.value;
        Ok(Some(Batch { realm: scope.realm(), session: place.session, agent, events }))
    };
    items.into_iter().zip(places).map(batch).collect()
}

/// A batch, as it stands in a change of the table; none where the change is of something else.
pub fn batch_from_change(pk: &str, sk: &str, body: &str) -> Option<Result<Batch, Malformed>> {
    let (realm, session) = keys::session_of_events(pk)?;
    let stored = document::from_body::<Stored>(pk, sk, body);
    Some(stored.map(|Stored { agent, events }| Batch { realm, session, agent, events }))
}

/// The events of a batch, as it stands in a change of the table.
pub fn from_change(pk: &str, sk: &str, body: &str) -> Result<Vec<Event>, Malformed> {
    document::from_body::<Stored>(pk, sk, body).map(|stored| stored.events)
}

/// What a batch that is being written begins with; none where the write is of something else. Costs
/// the same however many events there are.
pub fn head(write: &Write) -> Option<Head> {
    let Write::Put { key, body, expect: Expect::Absent, .. } = write else { return None };
    let (realm, session) = keys::session_of_events(&key.pk)?;
    let last = key.sk.parse().ok()?;
    // What stands before the events is ours: an id and a number, which hold no such text.
    let (before, _) = body.split_once(",\"events\":")?;
    let StoredHead { agent, first } =
        document::from_body(&key.pk, &key.sk, &format!("{before}}}}}")).ok()?;
    (first <= last).then_some(Head { realm, place: Place { agent, session, last }, first })
}

#[cfg(test)]
mod tests {
    use domain::Timestamp;
    use domain::event::Draft;
    use domain::id::Ulid;
    use domain::session::SessionState;

    use super::*;

    #[test]
    fn the_head_of_a_batch_is_read_without_its_events() {
        let scope = Scope::of(RealmId::new(Ulid::from_parts(1, 1)));
        let agent = AgentId::new(Ulid::from_parts(1, 2));
        let session = SessionId::new(Ulid::from_parts(1, 3));
        let events = [7, 8, 9].map(|seq| {
            let Draft { kind, run, data } = Draft::session_state(SessionState::Active);
            Event { seq, kind, run_id: run, time: Timestamp::default(), data }
        });
        let write = append(scope, agent, session, &events).unwrap();
        let place = Place { agent, session, last: 9 };
        assert_eq!(head(&write), Some(Head { realm: scope.realm(), place, first: 7 }));
        let gone = Write::Delete { key: write.key().clone(), expect: Expect::Version(1) };
        assert_eq!(head(&gone), None);
        let Write::Put { key, body, .. } = write else { panic!("a batch is put") };
        let batch = batch_from_change(&key.pk, &key.sk, &body).unwrap().unwrap();
        assert_eq!((batch.agent, batch.events.len()), (Some(agent), 3));
    }
}
