//! Delivers frames to the WebSockets of this process.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use app::ports::{Gone, Push};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

/// The open connections, by id. What is delivered to one arrives in the order of the calls.
#[derive(Debug, Default)]
pub struct LocalPush {
    connections: Mutex<BTreeMap<String, mpsc::Sender<String>>>,
}

impl LocalPush {
    /// Makes a connection deliverable until it is unregistered, or too slow, or its receiver is
    /// dropped. The capacity of the channel is how many frames it may be behind. An id is used once;
    /// one that is registered again replaces the connection before.
    pub fn register(&self, connection: impl Into<String>, frames: mpsc::Sender<String>) {
        self.lock().insert(connection.into(), frames);
    }

    /// Forgets a connection; its receiver sees the end. An unknown one is forgotten already.
    pub fn unregister(&self, connection: &str) {
        self.lock().remove(connection);
    }

    /// How many connections are open.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether no connection is open.
    pub fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, mpsc::Sender<String>>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait::async_trait]
impl Push for LocalPush {
    /// Never waits: a connection whose channel is full is closed, and so is gone.
    async fn deliver(&self, connection: &str, frame: String) -> Result<(), Gone> {
        let mut connections = self.lock();
        let frames = connections.get(connection).ok_or(Gone)?;
        match frames.try_send(frame) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(_) | TrySendError::Closed(_)) => {
                connections.remove(connection);
                Err(Gone)
            }
        }
    }

    async fn close(&self, connection: &str) {
        self.unregister(connection);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn frames_arrive_in_order_and_a_slow_connection_is_gone() {
        let push = LocalPush::default();
        let (frames, mut received) = mpsc::channel(2);
        push.register("c", frames);
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
        push.register("c", frames.clone());
        drop(received);
        assert_eq!(push.deliver("c", "1".into()).await, Err(Gone));
        push.register("c", frames);
        push.unregister("c");
        assert_eq!(push.len(), 0);
    }
}
