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
    /// Containers that exist.
    Containers,
    /// Containers that have room to run.
    Running,
    /// Containers that wait for room.
    Waiting,
    /// Containers that are stopped for one that waits.
    Leaving,
    /// Agents that the realm added to its catalog.
    CatalogAgents,
}

impl Counter {
    /// Where it is.
    pub fn key(self, scope: Scope) -> Key {
        let what = match self {
            Self::Agents => "agents",
            Self::Containers => "containers",
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::CatalogAgents => "catalog_agents",
            Self::Leaving => "leaving",
        };
        keys::counter(scope, what)
    }
}

/// Counts `delta` more, if the sum stays at or under `at_most`: admission in the commit itself.
pub fn count(scope: Scope, counter: Counter, delta: i64, at_most: i64) -> Write {
    Write::Add { key: counter.key(scope), delta, at_least: 0, at_most }
}
