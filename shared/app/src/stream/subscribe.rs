//! What a client's frames do: subscribe, unsubscribe, ping.

use domain::agent::Agent;
use domain::key::{ApiKey, Scope as KeyScope};
use domain::realm::{Realm, RealmState};
use domain::session::Session;
use domain::{KeyId, RealmId, Topic};
use store::connection::{Connection, Who};
use store::document::{self, Loaded};
use store::log;
use store::subscription::{self, State, Subscription};
use store::{Expect, Key, keys};
use wire::stream::{Frame, MAX_TOPICS};
use wire::{Problem, ProblemKind};

use super::Stream;
use super::connection::scope;
use super::frames::{frames, text};
use super::past::Past;
use crate::Error;
use crate::commit::retry_conflict;
use crate::ports::Gone;

/// What became of sending the past.
enum Sent {
    /// The subscriber has it and gets the rest as it comes.
    Whole,
    /// It took so long that the subscriber is asked to come back behind this.
    Part(u64),
    /// Nobody waits for it any more.
    Gone,
}

impl Stream<'_> {
    /// Follows a topic: sends what was there behind `after`, or nothing where it is not given, and sees
    /// to it that what comes is sent. Reads the connection, who asks and what about, then the past;
    /// commits twice. A refusal is told to the client; an error ends the connection, so that the client
    /// comes back with its cursors.
    pub async fn subscribe(
        &self,
        connection: &str,
        topic: Topic,
        after: Option<u64>,
        live: bool,
    ) -> Result<(), Error> {
        match self.follow(connection, topic, after, live).await {
            Ok(()) => Ok(()),
            Err(failed @ (Error::Unavailable(_) | Error::Conflict | Error::Bug(_))) => {
                self.0.ports.push.close(connection).await;
                Err(failed)
            }
            Err(refused) => {
                let stop = matches!(refused, Error::Unauthenticated(_) | Error::RealmSuspended);
                self.refuse(connection, Some(topic), refused.into()).await?;
                if stop { self.cut(connection).await } else { Ok(()) }
            }
        }
    }

    async fn follow(
        &self,
        connection: &str,
        topic: Topic,
        after: Option<u64>,
        live: bool,
    ) -> Result<(), Error> {
        let Some((realm, mut past)) = self.admit(connection, topic, after).await? else {
            self.0.ports.push.close(connection).await;
            return Ok(());
        };
        let subscription = retry_conflict(self.0, || async {
            let Some(known) = self.connection(connection).await? else { return Ok(None) };
            if known.value.topics.contains_key(&topic) {
                let detail = "is subscribed to on this connection".to_owned();
                return Err(Error::Invalid { field: "topic", detail });
            }
            if known.value.topics.len() >= MAX_TOPICS {
                let limit = u32::try_from(MAX_TOPICS).unwrap_or(u32::MAX);
                return Err(Error::QuotaReached { what: "topics on one connection", limit });
            }
            let subscription = Subscription {
                id: self.subscription_id(),
                realm,
                topic,
                connection: connection.to_owned(),
                until: known.value.until,
                live,
                state: State::Pending { since: self.0.now() },
            };
            let expect = known.expect();
            let mut opened = known.value;
            opened.topics.insert(topic, subscription.id);
            let until = opened.until;
            let writes = vec![
                document::put_until(&opened, until, expect),
                subscription::put(&subscription, Expect::Absent),
            ];
            self.0.commit_own("stream.subscribe", writes).await?;
            Ok(Some(subscription))
        });
        let Some(subscription) = subscription.await? else { return Ok(()) };
        let cursor = past.after();
        let subscribed = text(&Frame::Subscribed { topic, cursor })?;
        let sent = match self.0.ports.push.deliver(connection, subscribed).await {
            Ok(()) => self.send(&subscription, &mut past).await?,
            Err(Gone) => Sent::Gone,
        };
        match sent {
            Sent::Whole => Ok(()),
            Sent::Part(cursor) => self.end(connection, topic, Some(cursor)).await,
            Sent::Gone => self.disconnect(connection).await,
        }
    }

    /// Whether whoever is on the connection may follow the topic, and its past behind `after`.
    async fn admit(
        &self,
        connection: &str,
        topic: Topic,
        after: Option<u64>,
    ) -> Result<Option<(RealmId, Past)>, Error> {
        let Some(known) = self.connection(connection).await? else { return Ok(None) };
        let Connection { who: Who::Client { realm, key }, .. } = known.value else {
            return Err(Error::Unauthenticated("this is not a client's connection"));
        };
        let scope = scope(realm);
        let thing = match topic {
            Topic::Realm => None,
            Topic::Agent(id) => Some(keys::agent(scope, id)),
            Topic::Session(id) => Some(keys::session(scope, id)),
        };
        let thing = self.about(realm, key, thing).await?;
        let agent = match topic {
            Topic::Realm => None,
            Topic::Agent(agent) => {
                thing.map(|item| document::read::<Agent>(&item)).transpose()?;
                Some(agent)
            }
            Topic::Session(session) => {
                let item = thing.ok_or(Error::NotFound("session"))?;
                let Session { agent, deleting, .. } = document::read::<Session>(&item)?.value;
                if deleting {
                    return Err(Error::NotFound("session"));
                }
                let (after, whole) = if let Some(after) = after {
                    (after, false)
                } else {
                    (store::event::tail(self.0.table(), scope, session).await?.last, true)
                };
                return Ok(Some((realm, Past::Session { scope, session, agent, after, whole })));
            }
        };
        let (after, whole) = if let Some(after) = after {
            (after, false)
        } else {
            let tail = log::tail(self.0.table(), scope, None, 1).await?;
            (tail.first().map_or(0, log::Entry::last), true)
        };
        Ok(Some((realm, Past::Log { scope, agent, after, whole, fresh: None })))
    }

    /// The item that is asked about, once it is known that the key may ask. One round trip.
    async fn about(
        &self,
        realm: RealmId,
        key: KeyId,
        thing: Option<Key>,
    ) -> Result<Option<store::Item>, Error> {
        let asked = thing.is_some();
        let mut read = vec![keys::api_key(key), keys::realm(scope(realm))];
        read.extend(thing);
        let mut found = self.0.table().batch_get(&read).await?.into_iter();
        let (key, tenant) = (found.next().flatten(), found.next().flatten());
        let stopped = || Error::Unauthenticated("the API key has expired or was revoked");
        let key = document::read::<ApiKey>(&key.ok_or_else(stopped)?)?.value;
        let tenant = document::read::<Realm>(&tenant.ok_or_else(stopped)?)?.value;
        if !key.is_live(self.0.now()) {
            return Err(stopped());
        }
        if tenant.state == RealmState::Suspended {
            return Err(Error::RealmSuspended);
        }
        if !key.scopes.contains(&KeyScope::SessionsRead) {
            return Err(Error::ScopeMissing(KeyScope::SessionsRead));
        }
        let thing = found.next().flatten();
        if asked && thing.is_none() { Err(Error::NotFound("topic")) } else { Ok(thing) }
    }

    /// Sends the past, again and again until nothing was published meanwhile, and then flips the
    /// subscription to live behind the last that was sent.
    async fn send(&self, subscription: &Subscription, past: &mut Past) -> Result<Sent, Error> {
        let app = self.0;
        let Subscription { topic, ref connection, realm, id, .. } = *subscription;
        let key = keys::subscription(scope(realm), topic, id);
        let begun = app.now();
        let mut pending = Loaded { value: subscription.clone(), version: 1 };
        loop {
            loop {
                let before = past.after();
                let read = past.read(*self).await?;
                for frame in frames(topic, &read.pieces, before)? {
                    let taken = match app.ports.push.relaxed(connection).await {
                        Ok(()) => app.ports.push.deliver(connection, frame).await,
                        gone => gone,
                    };
                    if taken.is_err() {
                        return Ok(Sent::Gone);
                    }
                }
                if read.end {
                    break;
                }
                if app.now().since(begun) > app.settings.replay {
                    return Ok(Sent::Part(past.after()));
                }
            }
            let state = State::Live { after: past.after() };
            let live = Subscription { state, ..subscription.clone() };
            let writes = vec![subscription::put(&live, pending.expect())];
            match app.commit_own("stream.live", writes).await {
                Ok(()) => return Ok(Sent::Whole),
                Err(Error::Conflict) if app.now().since(begun) > app.settings.replay => {
                    return Ok(Sent::Part(past.after()));
                }
                Err(Error::Conflict) => {}
                Err(error) => return Err(error),
            }
            // More was published, or the client does not want it any more.
            match document::get(app.table(), &key).await? {
                Some(again) => pending = again,
                None => return Ok(Sent::Whole),
            }
        }
    }

    /// Does not follow a topic any more, and says so, also where it was not followed. Two reads, one
    /// commit.
    pub async fn unsubscribe(&self, connection: &str, topic: Topic) -> Result<(), Error> {
        self.end(connection, topic, None).await
    }

    async fn end(&self, connection: &str, topic: Topic, cursor: Option<u64>) -> Result<(), Error> {
        retry_conflict(self.0, || async {
            let Some(known) = self.connection(connection).await? else { return Ok(()) };
            let expect = known.expect();
            let mut opened = known.value;
            let Who::Client { realm, .. } = opened.who else { return Ok(()) };
            let Some(id) = opened.topics.remove(&topic) else { return Ok(()) };
            let until = opened.until;
            let mut writes = vec![document::put_until(&opened, until, expect)];
            let key = keys::subscription(scope(realm), topic, id);
            let row = document::get::<Subscription>(self.0.table(), &key).await?;
            writes.extend(row.as_ref().map(document::delete));
            self.0.commit_own("stream.unsubscribe", writes).await
        })
        .await?;
        self.say_to(connection, &Frame::Unsubscribed { topic, cursor }).await
    }

    /// Answers a ping.
    pub async fn pong(&self, connection: &str) -> Result<(), Error> {
        self.say_to(connection, &Frame::Pong).await
    }

    /// Tells a client that its frame is none that is known here.
    pub async fn misunderstood(&self, connection: &str, why: &str) -> Result<(), Error> {
        self.refuse(connection, None, Problem::new(ProblemKind::InvalidBody, why)).await
    }

    async fn refuse(
        &self,
        connection: &str,
        topic: Option<Topic>,
        problem: Problem,
    ) -> Result<(), Error> {
        self.say_to(connection, &Frame::Problem { topic, problem }).await
    }

    async fn say_to(&self, connection: &str, frame: &Frame<'_>) -> Result<(), Error> {
        match self.0.ports.push.deliver(connection, text(frame)?).await {
            Ok(()) => Ok(()),
            Err(Gone) => self.disconnect(connection).await,
        }
    }
}
