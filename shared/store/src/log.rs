//! The log of a realm: which batch of events was written after which, over all its sessions.
//!
//! What holds here: every event of a realm has one position, the first is 1 and the next is one more.
//! An entry stands for one batch and is filed under the position of its first event, which two that
//! append at once both want: so one of them gets a conflict, and positions have no gap and no double.
//! The last entry is never removed, because the next position is read from it.
//!
//! An agent's entries are found by an index that shows, of each stretch of [`STRETCH`] positions, at
//! least the first of them: what else the stretch has of the agent is next to it in the log. So most
//! entries cost no index, and reading an agent's takes at most one stretch of the log for each of them.
//!
//! The log is appended by whoever sees every commit in order: on one machine the table's writer, in
//! the same transaction; in the cloud the consumer of the table's changes.

use domain::{AgentId, RealmId, SessionId, Timestamp};
use futures::future::try_join_all;
use serde::{Deserialize, Serialize};

use crate::document::{self, Document, Loaded, Malformed};
use crate::{
    Cursor, Direction, Error, Expect, Index, Key, Query, Range, Scope, Table, Write, keys,
};

/// How many positions are a stretch.
pub const STRETCH: u64 = 64;

/// How many stretches are read at once.
const TOGETHER: usize = 8;

/// The stretch a position is in.
pub const fn stretch(position: u64) -> u64 {
    position / STRETCH
}

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
    /// Whether the index shows it: the first of its agent in its stretch has to be.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shown: bool,
}

/// Where a batch of events is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Place {
    /// The agent of the session.
    pub agent: AgentId,
    /// The session.
    pub session: SessionId,
    /// The number of the batch's first event, under which it is filed.
    pub first: u64,
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
        let Place { agent, .. } = self.batch.filter(|_| self.shown)?;
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
/// Two round trips, at once, or one where `whole` says that an entry ends at `after`. Those of one agent
/// where it is given, as far as the index knows them: two more for every `TOGETHER` stretches that have
/// any.
pub async fn behind(
    table: &dyn Table,
    scope: Scope,
    agent: Option<AgentId>,
    after: u64,
    whole: bool,
    limit: usize,
) -> Result<Vec<Entry>, Error> {
    let around = async {
        if whole || after == 0 {
            return Ok(None);
        }
        // The one that holds `after` may hold more.
        let around = Query {
            range: Range::Between(keys::seq(0), keys::seq(after.saturating_add(1))),
            direction: Direction::Descending,
            ..ascending(keys::logs(scope), false, 1)
        };
        let found = document::list::<Entry>(table, around).await?.items.into_iter().next();
        Ok(found.filter(|entry| entry.last() > after && is_of(entry, agent)))
    };
    let rest = async {
        if let Some(agent) = agent {
            return behind_of(table, scope, agent, after, limit).await;
        }
        let rest = Query {
            after: Some(Cursor::behind(keys::seq(after))),
            ..ascending(keys::logs(scope), false, limit)
        };
        Ok(document::list::<Entry>(table, rest).await?.items)
    };
    let (around, rest) = futures::future::try_join(around, rest).await?;
    Ok(around.into_iter().chain(rest).collect())
}

/// Up to `limit` entries of an agent that begin behind `after`.
async fn behind_of(
    table: &dyn Table,
    scope: Scope,
    agent: AgentId,
    after: u64,
    limit: usize,
) -> Result<Vec<Entry>, Error> {
    let mut from = stretch(after + 1);
    let mut entries = Vec::new();
    while entries.len() < limit {
        let stretches = stretches(table, scope, agent, from).await?;
        let Some(last) = stretches.last() else { break };
        from = last + 1;
        let read = stretches.iter().map(|at| of_stretch(table, scope, agent, *at));
        let found = try_join_all(read).await?.into_iter().flatten().map(|entry| entry.value);
        entries.extend(found.filter(|entry| entry.first > after));
    }
    entries.truncate(limit);
    Ok(entries)
}

/// The next stretches that have something of an agent, from `from` on, as the index knows them.
async fn stretches(
    table: &dyn Table,
    scope: Scope,
    agent: AgentId,
    from: u64,
) -> Result<Vec<u64>, Error> {
    let query = Query {
        range: Range::Between(keys::seq(from * STRETCH), keys::seq(u64::MAX)),
        ..ascending(keys::logs_of(scope, agent), true, TOGETHER)
    };
    let shown = document::list::<Entry>(table, query).await?.items;
    let mut stretches: Vec<_> = shown.iter().map(|entry| stretch(entry.first)).collect();
    stretches.dedup();
    Ok(stretches)
}

/// What a stretch has of an agent.
async fn of_stretch(
    table: &dyn Table,
    scope: Scope,
    agent: AgentId,
    at: u64,
) -> Result<Vec<Loaded<Entry>>, Error> {
    let query = Query {
        range: Range::Between(keys::seq(at * STRETCH), keys::seq((at + 1) * STRETCH)),
        ..ascending(keys::logs(scope), false, usize::try_from(STRETCH).unwrap_or(crate::MAX_LIMIT))
    };
    let mut entries = document::list_versions::<Entry>(table, query).await?.items;
    entries.retain(|entry| is_of(&entry.value, Some(agent)));
    Ok(entries)
}

fn is_of(entry: &Entry, agent: Option<AgentId>) -> bool {
    agent.is_none() || agent == entry.batch.map(|batch| batch.agent)
}

/// The entries of an agent in one stretch, as writes that take them out of the log together. Empty where
/// none is left.
pub async fn remove(table: &dyn Table, scope: Scope, agent: AgentId) -> Result<Vec<Write>, Error> {
    let mut from = 0;
    loop {
        let stretches = stretches(table, scope, agent, from).await?;
        let Some(last) = stretches.last() else { return Ok(Vec::new()) };
        from = last + 1;
        for at in stretches {
            let entries = of_stretch(table, scope, agent, at).await?;
            // The index may show what is gone.
            if entries.is_empty() {
                continue;
            }
            let head = tail(table, scope, None, 1).await?.first().map(|entry| entry.first);
            let write = |entry: &Loaded<Entry>| {
                if Some(entry.value.first) == head {
                    let gone = Entry { batch: None, shown: false, ..entry.value.clone() };
                    document::put(&gone, entry.expect())
                } else {
                    document::delete(entry)
                }
            };
            return Ok(entries.iter().map(write).collect());
        }
    }
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
