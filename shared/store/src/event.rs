//! The events of a session: batches, written once, never changed.
//!
//! A batch is one item, so a thousand events of a busy run cost a few dozen writes. It is filed under
//! the number of its first event, which two that continue a session at once both want, however much
//! each adds: so one of them gets a conflict. The batches of a session have no gap: where one ends, the
//! next begins.
//!
//! What only continues a session is its batch and nothing else. Such a batch says for itself which
//! reports it holds; what else the session is stays in the session.

use domain::event::Event;
use domain::session::Reports;
use domain::{AgentId, RealmId, SessionId, Timestamp};
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
    /// The events; empty where they have been removed.
    pub events: Vec<Event>,
}

/// What a batch begins with, for who wants to know no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The realm.
    pub realm: RealmId,
    /// Where it is.
    pub place: Place,
    /// The number of its last event.
    pub last: u64,
}

/// Where the events of a session end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tail {
    /// The number of the last event; 0 before the first.
    pub last: u64,
    /// How far the reports have come that were written without the session.
    pub heard: Option<Reports>,
}

/// Some of a session's events, in order.
#[derive(Debug)]
pub struct Stretch {
    /// The events.
    pub events: Vec<Event>,
    /// Whether more may follow.
    pub more: bool,
    /// Whether a batch is known to end where these do: reading on from there costs one round trip.
    pub whole: bool,
    /// Whether there is anything of the session, as far as was seen.
    pub found: bool,
}

// `head` relies on the order of these fields.
#[derive(Serialize)]
struct Written<'a> {
    agent: AgentId,
    last: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    heard: Option<Reports>,
    events: &'a [Event],
}

#[derive(Deserialize)]
struct Stored {
    #[serde(default)]
    agent: Option<AgentId>,
    #[serde(default)]
    heard: Option<Reports>,
    events: Vec<Event>,
}

impl Stored {
    fn last(&self) -> Option<u64> {
        self.events.last().map(|event| event.seq)
    }
}

/// What stays of a batch that was removed.
#[derive(Serialize)]
struct Removed {
    events: [(); 0],
}

#[derive(Deserialize)]
struct StoredHead {
    agent: AgentId,
    last: u64,
}

/// Writes events that follow each other. None where there are none.
///
/// `heard` is for a batch that is written without its session: how far the reports have come with it.
pub fn append(
    scope: Scope,
    agent: AgentId,
    session: SessionId,
    events: &[Event],
    heard: Option<Reports>,
) -> Option<Write> {
    let (first, last) = (events.first()?.seq, events.last()?.seq);
    Some(Write::Put {
        key: keys::events(scope, session, first),
        body: encode(&Written { agent, last, heard, events }),
        index: None,
        expires: None,
        expect: Expect::Absent,
    })
}

/// Where the events of a session end: one round trip.
pub async fn tail(table: &dyn Table, scope: Scope, session: SessionId) -> Result<Tail, Error> {
    let query = Query { direction: Direction::Descending, ..all(scope, session, 1) };
    let page = table.query(query).await?;
    let Some(item) = page.items.first() else { return Ok(Tail::default()) };
    let stored = decode::<Stored>(item)?.value;
    Ok(Tail { last: stored.last().unwrap_or_default(), heard: stored.heard })
}

/// Up to about `limit` events behind `after`, in order. Batches are taken whole, then cut to `limit`.
///
/// Two round trips, at once; one where `whole` says that a batch ends at `after`, as one does at 0.
pub async fn read(
    table: &dyn Table,
    scope: Scope,
    session: SessionId,
    after: u64,
    whole: bool,
    limit: usize,
) -> Result<Stretch, Error> {
    // A batch holds at least one event, so no more than `limit` batches are needed.
    let rest = Query {
        after: Some(Cursor::behind(keys::seq(after))),
        ..all(scope, session, limit.clamp(1, 1000))
    };
    let (begun, rest) = if whole || after == 0 {
        (None, table.query(rest).await?)
    } else {
        // The one that holds `after` may hold more.
        let around = Query {
            range: Range::Between(keys::seq(0), keys::seq(after.saturating_add(1))),
            direction: Direction::Descending,
            ..all(scope, session, 1)
        };
        let (around, rest) = futures::future::join(table.query(around), table.query(rest)).await;
        (around?.items.into_iter().next(), rest?)
    };
    let (mut events, mut found) = (Vec::new(), false);
    let mut end = (whole || after == 0).then_some(after);
    for item in begun.iter().chain(&rest.items) {
        let batch = decode::<Stored>(item)?.value;
        let Some(last) = batch.last() else { continue };
        (end, found) = (Some(last), true);
        events.extend(batch.events.into_iter().filter(|event| event.seq > after));
        if events.len() > limit {
            break;
        }
    }
    let more = events.len() > limit || rest.next.is_some();
    events.truncate(limit);
    let reached = events.last().map_or(after, |event| event.seq);
    Ok(Stretch { events, more, whole: end == Some(reached), found })
}

/// Up to `limit` batches of a session behind `after`, as writes that remove them, and where the next
/// begin. The last has none behind it.
///
/// The place of a batch stays taken until `until`: whoever read the session while it was there and is
/// slow does not write behind its end.
pub async fn remove(
    table: &dyn Table,
    scope: Scope,
    session: SessionId,
    after: Option<Cursor>,
    until: Timestamp,
    limit: usize,
) -> Result<(Vec<Write>, Option<Cursor>), Error> {
    let page = table.query(Query { after, ..all(scope, session, limit) }).await?;
    let removed = |item: Item| Write::Put {
        expect: Expect::Version(item.version),
        key: item.key,
        body: encode(&Removed { events: [] }),
        index: None,
        expires: Some(until),
    };
    Ok((page.items.into_iter().map(removed).collect(), page.next))
}

fn all(scope: Scope, session: SessionId, limit: usize) -> Query {
    Query {
        pk: keys::events_of(scope, session),
        on_index: false,
        range: Range::Prefix(String::new()),
        direction: Direction::Ascending,
        after: None,
        limit,
    }
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
        places.iter().map(|place| keys::events(scope, place.session, place.first)).collect();
    let items = table.batch_get(&keys).await?;
    let batch = |(item, place): (Option<Item>, &Place)| {
        let Some(item) = item else { return Ok(None) };
        let Stored { agent, events, .. } = decode::<Stored>(&item)?.value;
        Ok(Some(Batch { realm: scope.realm(), session: place.session, agent, events }))
    };
    items.into_iter().zip(places).map(batch).collect()
}

/// A batch, as it stands in a change of the table; none where the change is of something else.
pub fn batch_from_change(pk: &str, sk: &str, body: &str) -> Option<Result<Batch, Malformed>> {
    let (realm, session) = keys::session_of_events(pk)?;
    let stored = document::from_body::<Stored>(pk, sk, body);
    Some(stored.map(|Stored { agent, events, .. }| Batch { realm, session, agent, events }))
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
    let first = key.sk.parse().ok()?;
    // What stands before the events is ours: ids and numbers, which hold no such text.
    let (before, _) = body.split_once(",\"events\":")?;
    let StoredHead { agent, last } =
        document::from_body(&key.pk, &key.sk, &format!("{before}}}}}")).ok()?;
    (first <= last).then_some(Head { realm, place: Place { agent, session, first }, last })
}

#[cfg(test)]
mod tests {
    use domain::ContainerId;
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
        let container = ContainerId::new(Ulid::from_parts(1, 4));
        let heard = Some(Reports { container, generation: 1, next: 3 });
        let write = append(scope, agent, session, &events, heard).unwrap();
        let place = Place { agent, session, first: 7 };
        assert_eq!(head(&write), Some(Head { realm: scope.realm(), place, last: 9 }));
        let gone = Write::Delete { key: write.key().clone(), expect: Expect::Version(1) };
        assert_eq!(head(&gone), None);
        let Write::Put { key, body, .. } = write else { panic!("a batch is put") };
        let batch = batch_from_change(&key.pk, &key.sk, &body).unwrap().unwrap();
        assert_eq!((batch.agent, batch.events.len()), (Some(agent), 3));
    }
}
