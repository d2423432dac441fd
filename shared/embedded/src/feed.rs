//! What happens in sessions, as it happens: the part that a change stream and a topic play on a
//! cloud.
//!
//! What holds here: a durable event is published once, after its commit, in the order of commits,
//! because the table's writer publishes it ([`LocalFeed::observe`]). The writer never waits for a
//! subscriber and never parses: it looks up whether anybody listens and, if so, hands the batch on;
//! the first subscriber to take it parses it for all. What is held is proportional to the sessions
//! that are subscribed to, not to those there are.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use app::ports::{Feed, LiveEvent, Seen};
use domain::event::Event;
use domain::{RealmId, SessionId};
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use store::{Commit, Write};
use tokio::sync::{Notify, broadcast};

/// How many batches and live pieces a subscriber may be behind before it sees [`Seen::Lagged`].
const BEHIND: usize = 1024;

type Topic = (RealmId, SessionId);
type Topics = Mutex<BTreeMap<Topic, broadcast::Sender<Published>>>;

#[derive(Clone)]
enum Published {
    Batch(Arc<Batch>),
    Live(Arc<LiveEvent>),
}

/// Durable events as they were stored.
struct Batch {
    pk: String,
    sk: String,
    body: String,
    // None where the body does not parse.
    events: OnceLock<Option<Vec<Arc<Event>>>>,
}

impl Batch {
    fn events(&self) -> Option<&[Arc<Event>]> {
        let parsed = self.events.get_or_init(|| {
            match store::event::from_change(&self.pk, &self.sk, &self.body) {
                Ok(events) => Some(events.into_iter().map(Arc::new).collect()),
                Err(error) => {
                    tracing::error!(%error, "a batch of events does not parse");
                    None
                }
            }
        });
        parsed.as_deref()
    }
}

/// The sessions that somebody of this process follows.
#[derive(Default)]
pub struct LocalFeed {
    topics: Arc<Topics>,
}

impl fmt::Debug for LocalFeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalFeed").field("topics", &self.topics().len()).finish()
    }
}

impl LocalFeed {
    /// Publishes the events that `commit` has made durable. For
    /// [`SqliteTable::on_commit`](crate::sqlite::SqliteTable::on_commit), so that the order of
    /// calls is that of commits.
    pub fn observe(&self, commit: &Commit) {
        for write in &commit.writes {
            if let Write::Put { key, body, .. } = write
                && let Some(topic) = store::event::session_of(&key.pk)
            {
                self.publish(topic, || {
                    Published::Batch(Arc::new(Batch {
                        pk: key.pk.clone(),
                        sk: key.sk.clone(),
                        body: body.clone(),
                        events: OnceLock::new(),
                    }))
                });
            }
        }
    }

    /// How many sessions are followed.
    pub fn topics_followed(&self) -> usize {
        self.topics().len()
    }

    fn publish(&self, topic: Topic, published: impl FnOnce() -> Published) {
        if let Some(sender) = self.topics().get(&topic) {
            // It fails where the last subscriber is just leaving.
            drop(sender.send(published()));
        }
    }

    fn topics(&self) -> MutexGuard<'_, BTreeMap<Topic, broadcast::Sender<Published>>> {
        lock(&self.topics)
    }
}

fn lock(topics: &Topics) -> MutexGuard<'_, BTreeMap<Topic, broadcast::Sender<Published>>> {
    topics.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Feed for LocalFeed {
    fn publish_live(&self, realm: RealmId, session: SessionId, live: LiveEvent) {
        self.publish((realm, session), || Published::Live(Arc::new(live)));
    }

    fn subscribe(&self, realm: RealmId, session: SessionId) -> BoxStream<'static, Seen> {
        let topic = (realm, session);
        let receiver = self
            .topics()
            .entry(topic)
            .or_insert_with(|| broadcast::Sender::new(BEHIND))
            .subscribe();
        let subscriber = Subscriber {
            topic,
            topics: Arc::clone(&self.topics),
            receiver: Some(receiver),
            parsed: VecDeque::new(),
        };
        stream::unfold(subscriber, |mut subscriber| async {
            let seen = subscriber.next().await?;
            Some((seen, subscriber))
        })
        .boxed()
    }
}

struct Subscriber {
    topic: Topic,
    topics: Arc<Topics>,
    // Taken by `drop` only.
    receiver: Option<broadcast::Receiver<Published>>,
    // The rest of the batch that was received last.
    parsed: VecDeque<Arc<Event>>,
}

impl Subscriber {
    async fn next(&mut self) -> Option<Seen> {
        loop {
            if let Some(event) = self.parsed.pop_front() {
                return Some(Seen::Event(event));
            }
            match self.receiver.as_mut()?.recv().await {
                Ok(Published::Live(live)) => return Some(Seen::Live(live)),
                Ok(Published::Batch(batch)) => match batch.events() {
                    Some(events) => self.parsed.extend(events.iter().cloned()),
                    // Reading the table again tells the subscriber what is wrong.
                    None => return Some(Seen::Lagged),
                },
                Err(broadcast::error::RecvError::Lagged(_)) => return Some(Seen::Lagged),
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        // Under the lock, so that nobody subscribes between the count and the removal.
        let mut topics = lock(&self.topics);
        drop(self.receiver.take());
        if topics.get(&self.topic).is_some_and(|sender| sender.receiver_count() == 0) {
            topics.remove(&self.topic);
        }
    }
}

/// Wakes the worker when something became due, or may have.
///
/// Only a nudge: it says to look, not what for. One that nobody waits for is kept, any number of
/// them as one.
#[derive(Debug)]
pub struct Nudge {
    notify: Notify,
    // The partitions of the due index.
    due: BTreeSet<String>,
}

impl Default for Nudge {
    fn default() -> Self {
        let due = (0..store::keys::DUE_SHARDS).map(store::keys::due_shard).collect();
        Self { notify: Notify::new(), due }
    }
}

impl Nudge {
    /// Nudges where `commit` puts an errand. For
    /// [`SqliteTable::on_commit`](crate::sqlite::SqliteTable::on_commit).
    pub fn observe(&self, commit: &Commit) {
        let puts_errand = commit.writes.iter().any(|write| match write {
            Write::Put { key, .. } => self.due.contains(&key.pk),
            Write::Delete { .. } | Write::Check { .. } | Write::Add { .. } => false,
        });
        if puts_errand {
            self.notify.notify_one();
        }
    }

    /// Waits for the next nudge, or takes the one that is kept. For one waiter.
    pub async fn nudged(&self) {
        self.notify.notified().await;
    }
}
