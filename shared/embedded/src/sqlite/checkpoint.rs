//! Moving what the log holds into the database, beside the writer.
//!
//! SQLite would do it at some commit, on the writer's thread, with every commit behind it waiting for
//! two flushes and thousands of pages. Here another connection moves them while commits go on; the
//! writer moves only the few that came in meanwhile, after which the log begins anew.
//!
//! What holds here: what is in the log is durable there. Whether and when this runs changes how long
//! the log is, and nothing else.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use rusqlite::Connection;

/// After how many writes the log is moved: some 32 MB of it. Flushing the database slows the flushes
/// of the log down, so it is done seldom.
const WRITES: usize = 8000;

/// The pages of a log that is not allowed to grow further: 256 MB.
const LONG: u64 = 65_536;

/// Nobody has moved anything since the writer looked last.
const IDLE: u64 = u64::MAX;

/// The writer's side of it.
pub(super) struct Checkpoints {
    /// Writes since the last time. It begins full: an earlier process may have left a long log.
    writes: usize,
    // Both are taken by `drop` only.
    wake: Option<SyncSender<()>>,
    mover: Option<JoinHandle<()>>,
    /// The pages of the log when the other connection had moved what there was.
    moved: Arc<AtomicU64>,
}

impl Checkpoints {
    /// Starts the thread that moves pages with `connection`.
    pub(super) fn start(connection: Connection) -> std::io::Result<Self> {
        let (wake, woken) = sync_channel(1);
        let moved = Arc::new(AtomicU64::new(IDLE));
        let thread = std::thread::Builder::new().name("table-checkpoint".to_owned()).spawn({
            let moved = Arc::clone(&moved);
            move || run(&connection, &woken, &moved)
        })?;
        Ok(Self { writes: WRITES, wake: Some(wake), mover: Some(thread), moved })
    }

    /// The writer has made `writes` durable on its `connection`, and has a moment.
    pub(super) fn written(&mut self, writes: usize, connection: &Connection) {
        let length = self.moved.swap(IDLE, Ordering::Relaxed);
        if length != IDLE {
            // Where the log is too long, even readers are waited for.
            checkpoint(connection, if length > LONG { "RESTART" } else { "PASSIVE" });
        }
        self.writes += writes;
        if self.writes >= WRITES {
            self.writes = 0;
            // It fails where that was asked for already.
            let _ = self.wake.as_ref().map(|wake| wake.try_send(()));
        }
    }
}

impl Drop for Checkpoints {
    fn drop(&mut self) {
        drop(self.wake.take());
        if let Some(mover) = self.mover.take()
            && mover.join().is_err()
        {
            tracing::error!("the thread that shortens the table's log has panicked");
        }
    }
}

fn run(connection: &Connection, woken: &Receiver<()>, moved: &AtomicU64) {
    while woken.recv().is_ok() {
        if let Some(length) = checkpoint(connection, "PASSIVE") {
            moved.store(length, Ordering::Relaxed);
        }
    }
}

/// Moves what can be moved. The pages of the log, where that is known.
fn checkpoint(connection: &Connection, how: &str) -> Option<u64> {
    let pragma = format!("PRAGMA wal_checkpoint({how})");
    match connection.query_row(&pragma, [], |row| row.get::<_, i64>(1)) {
        Ok(length) => u64::try_from(length).ok(),
        Err(error) => {
            // Later is as good.
            tracing::warn!(%error, "the table's log was not shortened");
            None
        }
    }
}
