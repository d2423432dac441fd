//! What is on its way to the control plane: durable events on disk, live pieces in memory.
//!
//! What holds here: an event has its number and is in its session's journal before anybody can send
//! it; at most one report per session is in flight; acknowledged events leave the disk. A session
//! with [`FULL`] bytes waiting makes its agent wait. Live pieces are dropped first.

pub(crate) mod cut;
mod journal;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use domain::{RunId, SessionId};
use tokio::sync::Notify;
use tokio::time::Instant;
use wire::shim::{Live, PermissionRequest, ReportEvent, Up, What};

use journal::Journal;

/// Bytes of one session that may wait on disk before its agent is no longer read.
const FULL: u64 = 4 * 1024 * 1024;

/// Live pieces that may wait; the oldest go first.
const LIVE: usize = 64;

/// How long a report may stay unanswered before it is sent again.
const PATIENCE: Duration = Duration::from_secs(5);

/// Everything that waits to be sent.
#[derive(Debug)]
pub(crate) struct Outbox {
    directory: PathBuf,
    sessions: RefCell<BTreeMap<SessionId, Lane>>,
    live: RefCell<VecDeque<Live>>,
    connected: Cell<bool>,
    /// Something can be sent.
    wake: Notify,
    /// Something was acknowledged.
    room: Notify,
    /// An event could not be written down.
    broken: Notify,
}

#[derive(Debug)]
struct Lane {
    journal: Journal,
    /// When the report that is in flight was sent.
    sent: Option<Instant>,
}

impl Outbox {
    /// Starts empty: what an earlier generation left in `directory` is worthless.
    pub(crate) fn new(directory: PathBuf) -> Rc<Self> {
        if let Ok(entries) = std::fs::read_dir(&directory) {
            for entry in entries.flatten() {
                drop(std::fs::remove_file(entry.path()));
            }
        }
        Rc::new(Self {
            directory,
            sessions: RefCell::default(),
            live: RefCell::default(),
            connected: Cell::new(false),
            wake: Notify::new(),
            room: Notify::new(),
            broken: Notify::new(),
        })
    }

    /// Writes an event down. It is sent as soon as it is its turn.
    pub(crate) fn push(&self, session: SessionId, run: Option<RunId>, what: What) {
        let what = match what {
            What::Update { kind, data } => What::Update { kind, data: cut::to_fit(data) },
            What::Asked(asked) => {
                What::Asked(PermissionRequest { tool_call: cut::to_fit(asked.tool_call), ..asked })
            }
            What::Started { .. } | What::Answered { .. } | What::Ended(_) => what,
        };
        let Ok(event) = serde_json::to_vec(&ReportEvent { run, what }) else {
            return;
        };
        let mut sessions = self.sessions.borrow_mut();
        let lane = sessions.entry(session).or_insert_with(|| Lane {
            journal: Journal::new(self.directory.join(format!("{session}.jsonl"))),
            sent: None,
        });
        if let Err(error) = lane.journal.append(&event) {
            crate::boot::note(&format!("the journal cannot be written: {error}"));
            // A gap would be a lie. The platform sees the exit and starts another generation.
            self.broken.notify_one();
        }
        self.wake.notify_one();
    }

    /// Waits until an event could not be written down.
    pub(crate) async fn broken(&self) {
        self.broken.notified().await;
    }

    /// Waits until `session` may say more.
    pub(crate) async fn room(&self, session: SessionId) {
        loop {
            let acknowledged = self.room.notified();
            let full = self
                .sessions
                .borrow()
                .get(&session)
                .is_some_and(|lane| lane.journal.waiting_bytes() > FULL);
            if !full {
                return;
            }
            acknowledged.await;
        }
    }

    /// Says what is being said. Lost where nobody listens or the durable events are behind.
    pub(crate) fn live(&self, live: Live) {
        let behind = self
            .sessions
            .borrow()
            .get(&live.session)
            .is_some_and(|lane| lane.journal.waiting_bytes() > FULL / 16);
        if behind || !self.connected.get() {
            return;
        }
        let mut queue = self.live.borrow_mut();
        if queue.len() >= LIVE {
            queue.pop_front();
        }
        queue.push_back(live);
        drop(queue);
        self.wake.notify_one();
    }

    /// The connection is there or gone. What was in flight on the old one is sent again.
    pub(crate) fn connected(&self, now: bool) {
        self.connected.set(now);
        self.live.borrow_mut().clear();
        for lane in self.sessions.borrow_mut().values_mut() {
            lane.sent = None;
        }
        self.wake.notify_one();
    }

    /// Events of `session` before `next` are durable.
    pub(crate) fn acknowledge(&self, session: SessionId, next: u64) {
        if let Some(lane) = self.sessions.borrow_mut().get_mut(&session) {
            // An acknowledgement of nothing new is no reason to send the same again at once.
            if lane.journal.acknowledge(next) {
                lane.sent = None;
            }
        }
        self.room.notify_waiters();
        self.wake.notify_one();
    }

    /// The next frame to send, once there is one.
    pub(crate) async fn next(&self) -> String {
        loop {
            if let Some(frame) = self.ready() {
                return frame;
            }
            self.wake.notified().await;
        }
    }

    fn ready(&self) -> Option<String> {
        let live = self.live.borrow_mut().pop_front();
        if let Some(live) = live {
            return serde_json::to_string(&Up::Live(live)).ok();
        }
        let mut sessions = self.sessions.borrow_mut();
        let now = Instant::now();
        sessions.iter_mut().find_map(|(session, lane)| {
            let waits = lane.sent.is_some_and(|sent| now < sent + PATIENCE);
            let frame = if waits { None } else { lane.journal.report(*session) };
            if frame.is_some() {
                lane.sent = Some(now);
            }
            frame
        })
    }

    /// Looks again whether a report has been in flight for too long.
    pub(crate) fn look_again(&self) {
        self.wake.notify_one();
    }

    /// Waits until everything has been acknowledged.
    pub(crate) async fn drained(&self) {
        loop {
            let acknowledged = self.room.notified();
            if self.sessions.borrow().values().all(|lane| lane.journal.waiting_bytes() == 0) {
                return;
            }
            acknowledged.await;
        }
    }
}
