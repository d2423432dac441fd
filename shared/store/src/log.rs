//! The log of a realm: which batch of events was written after which, over all its sessions.
//!
//! What holds here: every event of a realm has one position, the first is 1 and the next is one more.
//! An entry stands for one batch and is filed under the position of its first event, which two that
//! append at once both want: so one of them gets a conflict, and positions have no gap and no double.
//! The last entry is never removed, because the next position is read from it.
//!
//! The log is appended by whoever sees every commit in order: on one machine the table's writer, in
//! the same transaction; in the cloud the consumer of the table's changes.

use domain::{AgentId, RealmId, SessionId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::document::{self, Document, Loaded, Malformed};
use crate::{
    Cursor, Direction, Error, Expect, Index, Key, Query, Range, Scope, Table, Write, keys,
};

/// One batch of events in its realm's order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// The realm.
    pub realm: RealmId,
    /// The position of the first event.
    pub first: u64,
    /// How many events there are.
    pub count: u64,
    /// When it was appended.
    pub time: Timestamp,
    /// Where the events are; none once they are gone with their agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<Place>,
}

/// Where a batch of events is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Place {
    /// The agent of the session.
    pub agent: AgentId,
    /// The session.
    pub session: SessionId,
    /// The number of the batch's last event, under which it is filed.
    pub last: u64,
}

impl Entry {
    /// The position of the last event.
    pub const fn last(&self) -> u64 {
        self.first + self.count - 1
    }
}

impl Document for Entry {
    fn key(&self) -> Key {
        keys::log(Scope::of(self.realm), self.first)
    }

    fn index(&self) -> Option<Index> {
        let Place { agent, .. } = self.batch?;
        Some(keys::log_index(Scope::of(self.realm), agent, self.first))
    }
}

/// The partition of a realm's log, for a table that appends to it by itself.
pub fn partition(realm: RealmId) -> String {
    keys::logs(Scope::of(realm))
}

/// Whether a partition is the log of a realm.
pub fn is_log(pk: &str) -> bool {
    keys::is_log(pk)
}

/// Appends an entry. A conflict says that its place is taken.
pub fn append(entry: &Entry) -> Write {
    document::put(entry, Expect::Absent)
}

/// An entry, as it stands in a change of the table; none where the change is of something else.
pub fn from_change(pk: &str, sk: &str, body: &str) -> Option<Result<Entry, Malformed>> {
    keys::is_log(pk).then(|| document::from_body(pk, sk, body))
}

/// The last position of a log from the body of its last entry: for a table that appends by itself.
pub fn head_of(pk: &str, sk: &str, body: &str) -> Result<u64, Malformed> {
    document::from_body::<Entry>(pk, sk, body).map(|entry| entry.last())
}

/// Up to `limit` entries from the last backwards, those before `before` where it is given: one round
/// trip.
pub async fn tail(
    table: &dyn Table,
    scope: Scope,
    before: Option<u64>,
    limit: usize,
) -> Result<Vec<Entry>, Error> {
    let query = Query {
        direction: Direction::Descending,
        after: before.map(|before| Cursor::behind(keys::seq(before))),
        ..ascending(keys::logs(scope), false, limit)
    };
    Ok(document::list(table, query).await?.items)
}

/// Up to `limit` entries that hold something behind `after`, in order.
///
/// Those of one agent where it is given, and then as the index knows them. Two round trips, or one
/// where `whole` says that an entry ends at `after`.
pub async fn behind(
    table: &dyn Table,
    scope: Scope,
    agent: Option<AgentId>,
    after: u64,
    whole: bool,
    limit: usize,
) -> Result<Vec<Entry>, Error> {
    let (pk, on_index) = match agent {
        None => (keys::logs(scope), false),
        Some(agent) => (keys::logs_of(scope, agent), true),
    };
    let mut entries = Vec::new();
    if !whole && after > 0 {
        // The one that holds `after` may hold more.
        let around = Query {
            range: Range::Between(keys::seq(0), keys::seq(after.saturating_add(1))),
            direction: Direction::Descending,
            ..ascending(pk.clone(), on_index, 1)
        };
        let found = document::list::<Entry>(table, around).await?.items;
        entries.extend(found.into_iter().filter(|entry| entry.last() > after));
    }
    let rest =
        Query { after: Some(Cursor::behind(keys::seq(after))), ..ascending(pk, on_index, limit) };
    entries.extend(document::list::<Entry>(table, rest).await?.items);
    Ok(entries)
}

/// Up to `limit` entries of an agent, as writes that take it out of the log. Empty where none is left.
pub async fn remove(
    table: &dyn Table,
    scope: Scope,
    agent: AgentId,
    limit: usize,
) -> Result<Vec<Write>, Error> {
    let query = ascending(keys::logs_of(scope, agent), true, limit);
    let entries: Vec<Loaded<Entry>> = document::list_versions(table, query).await?.items;
    if entries.is_empty() {
        return Ok(Vec::new());
    }
    let head = tail(table, scope, None, 1).await?.first().map(|entry| entry.first);
    let write = |entry: &Loaded<Entry>| {
        if Some(entry.value.first) == head {
            document::put(&Entry { batch: None, ..entry.value.clone() }, entry.expect())
        } else {
            document::delete(entry)
        }
    };
    Ok(entries.iter().map(write).collect())
}

fn ascending(pk: String, on_index: bool, limit: usize) -> Query {
    Query {
        pk,
        on_index,
        range: Range::Prefix(String::new()),
        direction: Direction::Ascending,
        after: None,
        limit,
    }
}
