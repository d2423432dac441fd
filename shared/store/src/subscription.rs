//! Subscriptions in the table: who gets what is published in a topic, from where on.

use domain::{RealmId, SubscriptionId, Timestamp, Topic};
use serde::{Deserialize, Serialize};

use crate::document::{self, Document, Loaded, Malformed, from_body};
use crate::{Cursor, Direction, Error, Expect, Item, Key, Query, Range, Scope, Table, Write, keys};

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

/// How far a topic was published, or was about to be: what comes again is known by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Published {
    /// The realm.
    pub realm: RealmId,
    /// The topic.
    pub topic: Topic,
    /// The cursor of the last.
    pub last: u64,
}

impl Document for Published {
    fn key(&self) -> Key {
        keys::published(Scope::of(self.realm), self.topic)
    }
}

/// What is known of a topic.
#[derive(Clone, Debug, Default)]
pub struct Followed {
    /// How far it was published, where somebody kept count.
    pub published: Option<Loaded<Published>>,
    /// Who follows it.
    pub followers: Vec<Loaded<Subscription>>,
}

/// All that is known of a topic: one round trip, or one for every thousand that follow it.
///
/// A row that does not read is told to `malformed` and stands in nobody's way: a follower is left out, and what was
/// noted of how far was published counts as nothing, to be written anew.
pub async fn of_topic(
    table: &dyn Table,
    scope: Scope,
    topic: Topic,
    mut malformed: impl FnMut(Malformed) + Send,
) -> Result<Followed, Error> {
    let (mut followed, mut after) = (Followed::default(), None::<Cursor>);
    let mark = keys::published(scope, topic);
    loop {
        let query = Query {
            pk: keys::topics(scope, topic),
            on_index: false,
            range: Range::Prefix(String::new()),
            direction: Direction::Ascending,
            after,
            limit: 1000,
        };
        let page = table.query(query).await?;
        for item in &page.items {
            let Item { key, body, version, .. } = item;
            if *key == mark {
                let value = from_body(&key.pk, &key.sk, body).unwrap_or_else(|error| {
                    malformed(error);
                    Published { realm: scope.realm(), topic, last: 0 }
                });
                followed.published = Some(Loaded { value, version: *version });
            } else {
                match from_body(&key.pk, &key.sk, body) {
                    Ok(value) => followed.followers.push(Loaded { value, version: *version }),
                    Err(error) => malformed(error),
                }
            }
        }
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(followed),
        }
    }
}
