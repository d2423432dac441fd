//! What became durable, and what is being said, to whom it concerns.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use domain::{AgentId, RealmId, SessionId, Topic};
use futures::future::join_all;
use store::document::{self, Loaded};
use store::event::Batch;
use store::log::Entry;
use store::subscription::{self, Followed, Published, State, Subscription};
use store::{Expect, Malformed, Scope, keys};
use wire::stream::Frame;

use super::Stream;
use super::connection::scope;
use super::frames::{Piece, frames, text};
use crate::Error;
use crate::ports::{Gone, LiveEvent};

/// A change of the table that matters to streams.
#[derive(Clone, Debug)]
pub enum Change {
    /// A batch of events was written.
    Events(Batch),
    /// A batch got its position in the log of its realm.
    Logged(Entry),
}

impl Change {
    /// The change that an item which was put is, from its key and body; none where it is of something
    /// else.
    pub fn read(pk: &str, sk: &str, body: &str) -> Option<Result<Self, Malformed>> {
        let events = store::event::batch_from_change(pk, sk, body).map(|b| b.map(Self::Events));
        events.or_else(|| store::log::from_change(pk, sk, body).map(|e| e.map(Self::Logged)))
    }

    /// Whether an item in this partition is such a change: for who looks before it reads.
    pub fn matters(pk: &str) -> bool {
        store::event::session_of(pk).is_some() || store::log::is_log(pk)
    }
}

/// How often a change comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// Once or never: where the publisher dies, every connection dies with it.
    Once,
    /// Again, where it was not finished.
    Again,
}

/// How long it is remembered how far a topic was published: longer than the table's changes are kept.
const REMEMBERED: Duration = Duration::from_hours(25);

/// How often a row that changes under our hands is read again.
const TRIES: usize = 10;

impl Stream<'_> {
    /// Sends what has become durable to whoever is live before it, and makes whoever is pending read
    /// on. The changes of one partition must come in order, one call at a time. Reads who follows each
    /// topic, and events of the log only where somebody does; with [`Delivery::Again`] writes once for
    /// each topic that somebody follows. What does not read is said and passed over, with its topic at
    /// most: it never will, and is not to hold up others.
    pub async fn publish(&self, changes: Vec<Change>, delivery: Delivery) -> Result<(), Error> {
        let mut sessions = BTreeMap::<(RealmId, SessionId), Vec<Piece>>::new();
        let mut logs = BTreeMap::<(RealmId, Topic), Vec<Entry>>::new();
        for change in changes {
            match change {
                Change::Events(Batch { realm, session, agent, events }) => {
                    let (Some(agent), Some(first)) = (agent, events.first()) else { continue };
                    let first = first.seq;
                    let piece = Piece { session, agent, first, events };
                    sessions.entry((realm, session)).or_default().push(piece);
                }
                Change::Logged(entry) => {
                    let Some(batch) = entry.batch else { continue };
                    for topic in [Topic::Realm, Topic::Agent(batch.agent)] {
                        logs.entry((entry.realm, topic)).or_default().push(entry.clone());
                    }
                }
            }
        }
        let sessions = sessions.into_iter().map(async |((realm, session), pieces)| {
            let topic = Topic::Session(session);
            let followed = self.followed(scope(realm), topic).await?;
            passed(self.tell(realm, topic, pieces, followed, delivery).await)
        });
        let logs = logs.into_iter().map(async |((realm, topic), entries)| {
            passed(self.tell_of(realm, topic, &entries, delivery).await)
        });
        let (sessions, logs) = futures::future::join(join_all(sessions), join_all(logs)).await;
        sessions.into_iter().chain(logs).collect()
    }

    /// Sends what the entries of a log stand for to who follows the topic.
    async fn tell_of(
        &self,
        realm: RealmId,
        topic: Topic,
        entries: &[Entry],
        delivery: Delivery,
    ) -> Result<(), Error> {
        let followed = self.followed(scope(realm), topic).await?;
        if followed.followers.is_empty() {
            return Ok(());
        }
        let mut pieces = Vec::new();
        for some in entries.chunks(store::MAX_BATCH) {
            let some: Vec<_> = some.iter().collect();
            pieces.extend(self.pieces(scope(realm), &some).await?);
        }
        self.tell(realm, topic, pieces, followed, delivery).await
    }

    /// Sends a piece of what is being said to whoever follows it. One read for each of three topics,
    /// and none where nobody can follow anything, or nobody was seen to a moment ago: who has just come
    /// may miss pieces, which are whole in what is durable.
    pub(crate) async fn say(
        &self,
        scope: Scope,
        agent_id: AgentId,
        session_id: SessionId,
        live: &LiveEvent,
    ) -> Result<(), Error> {
        let (session, now) = ((scope.realm(), session_id), self.0.now());
        if self.0.ports.push.deserted() || self.0.unheard.covers(session, now) {
            return Ok(());
        }
        let topics = [Topic::Session(session_id), Topic::Agent(agent_id), Topic::Realm];
        let told = topics.map(async |topic| {
            let followed = self.followed(scope, topic).await?;
            let followers = followed.followers.into_iter().map(|row| row.value);
            let wanted: Vec<_> = followers.filter(|follower| follower.live).collect();
            let heard = !wanted.is_empty();
            let there = wanted.into_iter().filter(|one| matches!(one.state, State::Live { .. }));
            let connections: Vec<_> = there.map(|follower| follower.connection).collect();
            if connections.is_empty() {
                return Ok(heard);
            }
            let event = live.view();
            let frame = Frame::Live { topic, session_id, agent_id, event };
            let frames = Arc::new(vec![text(&frame)?]);
            self.deliver(connections.into_iter().map(|to| (to, Arc::clone(&frames)))).await?;
            Ok(heard)
        });
        let heard: Vec<bool> = join_all(told).await.into_iter().collect::<Result<_, Error>>()?;
        if !heard.contains(&true) {
            self.0.unheard.note(session, now, self.0.settings.unheard);
        }
        Ok(())
    }

    async fn followed(&self, scope: Scope, topic: Topic) -> Result<Followed, Error> {
        let malformed = |error| tracing::error!(%topic, %error, "passed over");
        Ok(subscription::of_topic(self.0.table(), scope, topic, malformed).await?)
    }

    async fn tell(
        &self,
        realm: RealmId,
        topic: Topic,
        pieces: Vec<Piece>,
        followed: Followed,
        delivery: Delivery,
    ) -> Result<(), Error> {
        let (Some(first), Some(last)) =
            (pieces.first().map(|piece| piece.first), pieces.last().map(Piece::last))
        else {
            return Ok(());
        };
        let places = followed.followers.into_iter().map(|follower| self.place(follower));
        let mut behind = Vec::new();
        for place in join_all(places).await {
            behind.extend(place?.filter(|(_, after)| *after < last));
        }
        if delivery == Delivery::Again {
            let begun = followed.published.as_ref().map_or(0, |begun| begun.value.last);
            if begun >= first {
                // Who has got what is not known: each comes back with what it has.
                for (connection, _) in behind.extract_if(.., |(_, after)| *after < begun) {
                    tracing::info!(%topic, connection, "published again: sent away");
                    self.cut(&connection).await?;
                }
            }
            if !behind.is_empty() {
                let expect = followed.published.map_or(Expect::Absent, |begun| begun.expect());
                let begun = Published { realm, topic, last };
                let expires = self.0.now().after(REMEMBERED);
                let mark = document::put_until(&begun, expires, expect);
                self.0.commit_own("stream.publish", vec![mark]).await?;
            }
        }
        let mut made = BTreeMap::new();
        let mut told = Vec::new();
        for (connection, after) in behind {
            // All that are before the first get the same.
            let after = if after < first { 0 } else { after };
            let frames = if let Some(frames) = made.get(&after) {
                Arc::clone(frames)
            } else {
                let new = Arc::new(frames(topic, &pieces, after)?);
                made.insert(after, Arc::clone(&new));
                new
            };
            told.push((connection, frames));
        }
        self.deliver(told.into_iter()).await
    }

    /// Where a follower is live; none where it is not, which now knows that there is more to read.
    async fn place(
        &self,
        mut follower: Loaded<Subscription>,
    ) -> Result<Option<(String, u64)>, Error> {
        for _ in 0..TRIES {
            let since = match follower.value.state {
                State::Live { after } => return Ok(Some((follower.value.connection, after))),
                State::Pending { since } => since,
            };
            if self.0.now().since(since) > self.0.settings.replay * 3 {
                // Whoever was to send it the past has died.
                self.cut(&follower.value.connection).await?;
                return Ok(None);
            }
            let again = vec![subscription::put(&follower.value, follower.expect())];
            match self.0.commit_own("stream.missed", again).await {
                Err(Error::Conflict) => {}
                done => return done.map(|()| None),
            }
            let Subscription { realm, topic, id, .. } = follower.value;
            let key = keys::subscription(scope(realm), topic, id);
            match document::get(self.0.table(), &key).await? {
                Some(now) => follower = now,
                None => return Ok(None),
            }
        }
        self.cut(&follower.value.connection).await?;
        Ok(None)
    }

    /// Hands each connection its frames in order, all connections at once, and forgets who is gone.
    async fn deliver(
        &self,
        told: impl Iterator<Item = (String, Arc<Vec<String>>)>,
    ) -> Result<(), Error> {
        let delivered = told.map(async |(connection, frames)| {
            for frame in frames.iter() {
                if self.0.ports.push.deliver(&connection, frame.clone()).await == Err(Gone) {
                    return Some(connection);
                }
            }
            None
        });
        let gone: BTreeSet<_> = join_all(delivered).await.into_iter().flatten().collect();
        for connection in gone {
            self.disconnect(&connection).await?;
        }
        Ok(())
    }
}

/// What does not read now never will: it is said, and does not hold up what is beside and behind it.
pub(super) fn passed(done: Result<(), Error>) -> Result<(), Error> {
    match done {
        Err(Error::Unavailable(source)) if source.is::<Malformed>() => {
            tracing::error!(error = %source, "passed over");
            Ok(())
        }
        done => done,
    }
}
