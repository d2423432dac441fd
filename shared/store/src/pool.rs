//! Containers that take agents of any session: found by what they are like.
//!
//! A mark says only that there is such a container. It is written with the container and goes with it,
//! so that nothing has to be written here when a container changes.
//!
//! Many may look for a container at once and find none that fits. One of them makes it: who makes one
//! because of what it saw expects that none was made since, and who loses looks again and finds it.

use std::time::Duration;

use domain::container::Container;
use domain::{ContainerId, Timestamp};

use crate::{Direction, Error, Expect, Key, Query, Range, Scope, Table, Write, keys};

/// The most containers that are looked at for one agent.
const LOOKED_AT: usize = 20;

/// For how long it is known that one was made: longer than any request takes that looked before.
const KNOWN: Duration = Duration::from_mins(5);

/// The containers of one class, as they were at one moment.
#[derive(Clone, Debug)]
pub struct Pool {
    /// The newest of them, that one first.
    pub containers: Vec<ContainerId>,
    newest: Key,
    seen: Expect,
}

impl Pool {
    /// Reads which containers there are of a class: one round trip.
    pub async fn read(table: &dyn Table, scope: Scope, class: &str) -> Result<Self, Error> {
        let query = Query {
            pk: keys::pool(scope, class),
            on_index: false,
            range: Range::Prefix(String::new()),
            direction: Direction::Descending,
            after: None,
            limit: LOOKED_AT,
        };
        let marks = table.query(query).await?.items;
        let newest = keys::newest(scope, class);
        let seen = marks.iter().find(|mark| mark.key == newest);
        let seen = seen.map_or(Expect::Absent, |mark| Expect::Version(mark.version));
        let containers = marks.iter().filter_map(|mark| mark.key.sk.parse().ok()).collect();
        Ok(Self { containers, newest, seen })
    }

    /// Lets a new container be found, if it is still the first that was made since this was read.
    pub fn join_first(self, container: &Container, now: Timestamp) -> impl Iterator<Item = Write> {
        let first = Write::Put {
            key: self.newest,
            body: "{}".to_owned(),
            index: None,
            expires: Some(now.after(KNOWN)),
            expect: self.seen,
        };
        join(container).into_iter().chain([first])
    }
}

fn mark(container: &Container) -> Option<Key> {
    let class = container.pool.as_deref()?;
    Some(keys::pooled(Scope::of(container.realm), class, container.id))
}

/// Lets a new container be found; nothing where it is for one agent.
pub fn join(container: &Container) -> Option<Write> {
    mark(container).map(|key| Write::Put {
        key,
        body: "{}".to_owned(),
        index: None,
        expires: None,
        expect: Expect::Absent,
    })
}

/// Lets a container that goes be found no more; nothing where it never was.
pub fn leave(container: &Container) -> Option<Write> {
    // Marks are written once and never changed.
    mark(container).map(|key| Write::Delete { key, expect: Expect::Version(1) })
}
