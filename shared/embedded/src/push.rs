//! Delivers frames to the WebSockets of this process.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use app::ports::{Gone, Push};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

/// How long a connection that is to be sent much may take to make room for it.
const PATIENCE: Duration = Duration::from_secs(20);

/// Whose connection it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// A client's.
    Client,
    /// A shim's.
    Shim,
}

/// The open connections, by id. What is delivered to one arrives in the order of the calls.
#[derive(Debug, Default)]
pub struct LocalPush {
    connections: Mutex<BTreeMap<String, (Peer, mpsc::Sender<String>)>>,
    clients: AtomicUsize,
}

impl LocalPush {
    /// Makes a connection deliverable until it is unregistered, or too slow, or its receiver is
    /// dropped. The capacity of the channel is how many frames it may be behind. An id is used once;
    /// one that is registered again replaces the connection before.
    pub fn register(
        &self,
        connection: impl Into<String>,
        peer: Peer,
        frames: mpsc::Sender<String>,
    ) {
        let mut connections = self.lock();
        connections.insert(connection.into(), (peer, frames));
        self.count(&connections);
    }

    /// Forgets a connection; its receiver sees the end. An unknown one is forgotten already.
    pub fn unregister(&self, connection: &str) {
        let mut connections = self.lock();
        connections.remove(connection);
        self.count(&connections);
    }

    /// Ends the connection of every client: each comes back and asks for what it has not got.
    pub fn unregister_clients(&self) {
        let mut connections = self.lock();
        connections.retain(|_, (peer, _)| *peer != Peer::Client);
        self.count(&connections);
    }

    /// How many connections are open.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether no connection is open.
    pub fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    fn count(&self, connections: &BTreeMap<String, (Peer, mpsc::Sender<String>)>) {
        let clients = connections.values().filter(|(peer, _)| *peer == Peer::Client).count();
        self.clients.store(clients, Ordering::SeqCst);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, (Peer, mpsc::Sender<String>)>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait::async_trait]
impl Push for LocalPush {
    /// Never waits: a connection whose channel is full is closed, and so is gone.
    async fn deliver(&self, connection: &str, frame: String) -> Result<(), Gone> {
        let mut connections = self.lock();
        let (_, frames) = connections.get(connection).ok_or(Gone)?;
        match frames.try_send(frame) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(_) | TrySendError::Closed(_)) => {
                connections.remove(connection);
                self.count(&connections);
                Err(Gone)
            }
        }
    }

    async fn close(&self, connection: &str) {
        self.unregister(connection);
    }

    /// Returns once half of the channel is free.
    async fn relaxed(&self, connection: &str) -> Result<(), Gone> {
        let frames = self.lock().get(connection).map(|(_, frames)| frames.clone()).ok_or(Gone)?;
        let half = frames.max_capacity().div_ceil(2);
        if frames.capacity() >= half {
            return Ok(());
        }
        let free = tokio::time::timeout(PATIENCE, frames.reserve_many(half)).await;
        if matches!(free, Ok(Ok(_))) {
            return Ok(());
        }
        self.unregister(connection);
        Err(Gone)
    }

    fn deserted(&self) -> bool {
        self.clients.load(Ordering::SeqCst) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn frames_arrive_in_order_and_a_slow_connection_is_gone() {
        let push = LocalPush::default();
        let (frames, mut received) = mpsc::channel(2);
        push.register("c", Peer::Shim, frames);
        assert_eq!(push.deliver("other", "x".into()).await, Err(Gone));
        assert_eq!(push.deliver("c", "1".into()).await, Ok(()));
        assert_eq!(push.deliver("c", "2".into()).await, Ok(()));
        assert_eq!(push.deliver("c", "3".into()).await, Err(Gone));
        assert_eq!(push.deliver("c", "4".into()).await, Err(Gone));
        assert!(push.is_empty());
        assert_eq!(received.recv().await.as_deref(), Some("1"));
        assert_eq!(received.recv().await.as_deref(), Some("2"));
        assert_eq!(received.recv().await, None);
    }

    #[tokio::test]
    async fn a_dropped_or_unregistered_connection_is_gone() {
        let push = LocalPush::default();
        let (frames, received) = mpsc::channel(1);
        push.register("c", Peer::Shim, frames.clone());
        drop(received);
        assert_eq!(push.deliver("c", "1".into()).await, Err(Gone));
        push.register("c", Peer::Shim, frames);
        push.unregister("c");
        assert_eq!(push.len(), 0);
    }

    #[tokio::test]
    async fn whoever_has_much_to_send_waits_for_whoever_reads() {
        let push = LocalPush::default();
        let (frames, mut received) = mpsc::channel(2);
        push.register("c", Peer::Client, frames);
        assert_eq!(push.relaxed("c").await, Ok(()));
        for frame in ["1", "2"] {
            assert_eq!(push.deliver("c", frame.into()).await, Ok(()));
        }
        let read = async { received.recv().await };
        let (relaxed, read) = futures::future::join(push.relaxed("c"), read).await;
        assert_eq!((relaxed, read.as_deref()), (Ok(()), Some("1")));
        drop(received);
        assert_eq!(push.deliver("c", "3".into()).await, Err(Gone));
        assert_eq!(push.relaxed("c").await, Err(Gone));
    }

    #[tokio::test]
    async fn clients_are_counted_and_sent_away_together() {
        let push = LocalPush::default();
        let (frames, _received) = mpsc::channel(1);
        push.register("s", Peer::Shim, frames.clone());
        assert!(push.deserted());
        push.register("c", Peer::Client, frames.clone());
        push.register("d", Peer::Client, frames);
        assert!(!push.deserted());
        push.unregister("d");
        assert!(!push.deserted());
        push.unregister_clients();
        assert!(push.deserted());
        assert_eq!(push.len(), 1);
    }
}
