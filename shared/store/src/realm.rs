//! Realms in the table.

use domain::realm::Realm;

use crate::document::Document;
use crate::{Index, Key, Scope, Write, keys};

impl Document for Realm {
    fn key(&self) -> Key {
        keys::realm(Scope::of(self.id))
    }

    fn index(&self) -> Option<Index> {
        Some(keys::realm_index(Scope::of(self.id)))
    }
}

/// What a realm counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counter {
    /// Agents that exist.
    Agents,
}

/// Counts `delta` more, if the sum stays at or under `at_most`: admission in the commit itself.
pub fn count(scope: Scope, counter: Counter, delta: i64, at_most: i64) -> Write {
    let what = match counter {
        Counter::Agents => "agents",
    };
    Write::Add { key: keys::counter(scope, what), delta, at_least: 0, at_most }
}
