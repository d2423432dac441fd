//! What happens in sessions, for a process that nobody can call: it looks.
//!
//! What holds here: a subscriber is told twice a second that it may be behind, and reads the table.
//! So it sees each durable event once, in order and within about half a second of its commit, for one
//! read of what is new; with nothing new, for the read of an empty page.
//!
//! Deliberately absent: what is being said right now. No function hears what another one is told, so
//! live pieces do not reach a stream of server-sent events in the cloud; the WebSocket has them.

use std::sync::Arc;
use std::time::Duration;

use app::ports::{Clock, Feed, LiveEvent, Seen};
use domain::{RealmId, SessionId};
use futures::stream::{self, BoxStream, StreamExt};

/// How often a subscriber looks.
const LOOK: Duration = Duration::from_millis(500);

/// Follows sessions by reading the table again and again.
#[derive(Debug)]
pub struct PolledFeed {
    clock: Arc<dyn Clock>,
}

impl PolledFeed {
    /// A feed whose subscribers look when `clock` says so.
    pub const fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock }
    }
}

impl Feed for PolledFeed {
    /// Reaches nobody: see the module.
    fn publish_live(&self, _: RealmId, _: SessionId, _: LiveEvent) {}

    fn subscribe(&self, _: RealmId, _: SessionId) -> BoxStream<'static, Seen> {
        let clock = Arc::clone(&self.clock);
        stream::unfold(clock, |clock| async {
            clock.wait(LOOK).await;
            Some((Seen::Lagged, clock))
        })
        .boxed()
    }
}
