//! Containers in the table, and the counts of them that admission looks at.
//!
//! A realm counts its containers, those that have room to run, those that wait for it, and those that
//! are stopped for one that waits. Nobody adds to a count: it follows from what a container was and is,
//! in the commit that changes the container. So it is true after every commit, whoever dies when.
//!
//! One index shows, by time, which containers wait and which are idle: no container is both.

use domain::admission::Counts;
use domain::container::Container;
use domain::due::{Due, Errand};
use domain::{DueId, Timestamp};

use crate::document::{self, Document, Loaded};
use crate::realm::{Counter, count};
use crate::{Direction, Error, Expect, Index, Key, Query, Range, Scope, Table, Write, keys};

impl Document for Container {
    fn key(&self) -> Key {
        keys::container(Scope::of(self.realm), self.id)
    }

    fn index(&self) -> Option<Index> {
        let scope = Scope::of(self.realm);
        match (self.waits_since, self.idle_at) {
            (Some(since), _) => Some(keys::waiting_index(scope, since, self.id)),
            (None, Some(since)) if self.is_idle() => Some(keys::idle_index(scope, since, self.id)),
            (None, _) => None,
        }
    }
}

/// What the counts may come to by a write. What has been accepted before is under no bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The most containers.
    pub existing: i64,
    /// The most containers with room.
    pub running: i64,
    /// The most containers that wait.
    pub waiting: i64,
    /// The most containers that are stopped for one that waits.
    pub leaving: i64,
}

impl Bounds {
    /// None.
    pub const NONE: Self =
        Self { existing: i64::MAX, running: i64::MAX, waiting: i64::MAX, leaving: i64::MAX };
}

/// Writes a container as it is now, at `now`, and what follows from how it was: the counts, whether it
/// may be running, and the timer that archives its agents.
///
/// A conflict may also mean that a count would leave its bounds, or
/// that room was taken which somebody waits for.
pub fn write(
    before: Option<&Loaded<Container>>,
    after: &Container,
    bounds: Bounds,
    now: Timestamp,
) -> Vec<Write> {
    let expect = before.map_or(Expect::Absent, Loaded::expect);
    let mut writes = vec![document::put(after, expect)];
    writes.extend(follow(before.map(|before| &before.value), Some(after), bounds, now));
    writes
}

/// Removes a container that was read, from the counts, too.
pub fn remove(before: &Loaded<Container>, now: Timestamp) -> Vec<Write> {
    let mut writes = vec![document::delete(before)];
    writes.extend(follow(Some(&before.value), None, Bounds::NONE, now));
    writes
}

fn follow(
    before: Option<&Container>,
    after: Option<&Container>,
    bounds: Bounds,
    now: Timestamp,
) -> Vec<Write> {
    let Some(scope) = before.or(after).map(|container| Scope::of(container.realm)) else {
        return Vec::new();
    };
    let mut writes = Vec::new();
    let mut differs = |counter, most, is: fn(&Container) -> bool| {
        let delta = i64::from(after.is_some_and(is)) - i64::from(before.is_some_and(is));
        if delta != 0 {
            writes.push(count(scope, counter, delta, if delta > 0 { most } else { i64::MAX }));
        }
        delta
    };
    differs(Counter::Containers, bounds.existing, |_| true);
    let taken = differs(Counter::Running, bounds.running, |container| container.room);
    let waits = differs(Counter::Waiting, bounds.waiting, |c| c.waits_since.is_some());
    differs(Counter::Leaving, bounds.leaving, |container| container.leaving);
    if taken > 0 && waits == 0 {
        // Whoever takes room that somebody waits for goes ahead of them.
        writes.push(count(scope, Counter::Waiting, 0, 0));
    }
    writes.extend(crate::live::follow(before, after));
    let timer = |container: &Container| Some(archival(container, container.archive_at?));
    let (old, new) = (before.and_then(timer), after.and_then(timer));
    if old != new {
        // Before its time nobody has claimed it, so it is where it was put.
        writes.extend(old.filter(|due| now < due.at).as_ref().map(crate::due::call_off));
        writes.extend(new.as_ref().map(crate::due::put));
    }
    writes
}

/// The errand that archives the agents of a container. It has the container's ULID, so that who needs
/// the container in time can take it out of the line.
fn archival(container: &Container, at: Timestamp) -> Due {
    let errand = Errand::Archive { container: container.id };
    Due::new(DueId::new(container.id.ulid()), container.realm, errand, at)
}

/// The keys of what [`counts_of`] reads, for who reads more at once.
pub fn counts(scope: Scope) -> [Key; 4] {
    [Counter::Containers, Counter::Running, Counter::Waiting, Counter::Leaving]
        .map(|counter| counter.key(scope))
}

/// The counts, of items that were read under [`counts`].
pub fn counts_of(items: &[Option<crate::Item>]) -> Counts {
    let at = |index: usize| items.get(index).and_then(Option::as_ref).map_or(0, |item| item.count);
    Counts { existing: at(0), running: at(1), waiting: at(2), leaving: at(3) }
}

/// The first containers that wait, or that are idle, longest first. One read.
pub async fn first(
    table: &dyn Table,
    pk: String,
    limit: usize,
) -> Result<Vec<Loaded<Container>>, Error> {
    let query = Query {
        pk,
        on_index: true,
        range: Range::Prefix(String::new()),
        direction: Direction::Ascending,
        after: None,
        limit,
    };
    Ok(document::list_versions(table, query).await?.items)
}
