//! Connections in the table: who is on the other side, and what a client follows.
//!
//! What holds here: a connection knows each of its subscriptions, and one is added or removed in the
//! commit that changes the connection. So none outlives its connection by more than a crash, and then
//! by its time to live.

use std::collections::BTreeMap;

use domain::{ContainerId, KeyId, RealmId, SubscriptionId, Timestamp, Topic};
use serde::{Deserialize, Serialize};

use crate::document::{self, Document, Loaded};
use crate::{Cursor, Direction, Error, Index, Key, Query, Range, Scope, Table, keys};

/// A connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Connection {
    /// Its name, as the platform spells it.
    pub id: String,
    /// Who is on the other side.
    pub who: Who,
    /// When it counts as gone whatever happens.
    pub until: Timestamp,
    /// What it follows.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub topics: BTreeMap<Topic, SubscriptionId>,
}

/// Who is on the other side of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Who {
    /// A client of the API.
    Client {
        /// The realm it acts in.
        realm: RealmId,
        /// The key it acts with.
        key: KeyId,
    },
    /// The shim in a container.
    Shim {
        /// The realm of the container.
        realm: RealmId,
        /// The container.
        container: ContainerId,
        /// Which start of it.
        generation: u32,
    },
}

impl Document for Connection {
    fn key(&self) -> Key {
        keys::connection(&self.id)
    }

    fn index(&self) -> Option<Index> {
        match self.who {
            Who::Client { realm, key } => {
                Some(keys::connection_index(Scope::of(realm), key, &self.id))
            }
            Who::Shim { .. } => None,
        }
    }
}

/// Some of the clients' connections of a realm, those of one key where it is given: one round trip.
pub async fn of_realm(
    table: &dyn Table,
    scope: Scope,
    key: Option<KeyId>,
    after: Option<Cursor>,
) -> Result<(Vec<Loaded<Connection>>, Option<Cursor>), Error> {
    let query = Query {
        pk: keys::connections(scope),
        on_index: true,
        range: Range::Prefix(key.map(keys::connections_with).unwrap_or_default()),
        direction: Direction::Ascending,
        after,
        limit: 100,
    };
    let page = document::list_versions(table, query).await?;
    Ok((page.items, page.next))
}
