//! Subscriptions in the table: who gets what is published in a topic, from where on.

use domain::{RealmId, SubscriptionId, Timestamp, Topic};
use serde::{Deserialize, Serialize};

use crate::document::{self, Document, Loaded, encode};
use crate::{Cursor, Direction, Error, Expect, Key, Query, Range, Scope, Table, Write, keys};

/// One subscription of one connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Subscription {
    /// Its id: one that is made again is another.
    pub id: SubscriptionId,
    /// The realm.
    pub realm: RealmId,
    /// The topic.
    pub topic: Topic,
    /// The connection.
    pub connection: String,
    /// When it goes with its connection.
    pub until: Timestamp,
    /// Whether it wants what is being said right now, too.
    pub live: bool,
    /// Where it is.
    pub state: State,
}

/// Where a subscription is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Its past is being sent. Whoever publishes puts it again, unchanged: its new version says that
    /// there is more to read.
    Pending {
        /// Since when.
        since: Timestamp,
    },
    /// It gets what is published behind this cursor.
    Live {
        /// The last that it got as its past.
        after: u64,
    },
}

impl Document for Subscription {
    fn key(&self) -> Key {
        keys::subscription(Scope::of(self.realm), self.topic, self.id)
    }
}

/// Writes a subscription, which goes with its connection.
pub fn put(subscription: &Subscription, expect: Expect) -> Write {
    document::put_until(subscription, subscription.until, expect)
}

/// Some of the subscriptions to a topic: one round trip, and the only one where there are few.
pub async fn of_topic(
    table: &dyn Table,
    scope: Scope,
    topic: Topic,
    after: Option<Cursor>,
) -> Result<(Vec<Loaded<Subscription>>, Option<Cursor>), Error> {
    let query = Query {
        pk: keys::topics(scope, topic),
        on_index: false,
        range: Range::Prefix(keys::subscriptions()),
        direction: Direction::Ascending,
        after,
        limit: 1000,
    };
    let page = document::list_versions(table, query).await?;
    Ok((page.items, page.next))
}

/// Notes that somebody begins to publish in a topic what begins at `cursor`: who does so again, after
/// a death, gets a conflict. Goes by itself at `expires`.
pub fn begin(scope: Scope, topic: Topic, cursor: u64, expires: Timestamp) -> Write {
    Write::Put {
        key: keys::publication(scope, topic, cursor),
        body: encode(&()),
        index: None,
        expires: Some(expires),
        expect: Expect::Absent,
    }
}
