//! What is on its way to the control plane: durable events on disk, live pieces in memory.
//!
//! What holds here: an event has its number and is in its session's journal before anybody can send
//! it; at most one report per session is in flight; acknowledged events leave the disk. A session
//! with [`FULL`] bytes waiting makes its agent wait. Live pieces are dropped first.
//!
//! Where a report costs something, what an agent does is gathered for a moment: a call of a tool and its
//! quick answer are one report. What moves a run is waited for by somebody and goes at once, together
//! with what was gathered before it.

pub(crate) mod cut;
mod journal;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use domain::{AgentId, RunId, SessionId};
use tokio::sync::Notify;
use tokio::time::Instant;
use wire::shim::{Live, PermissionRequest, Process, ReportEvent, Up, What};

use crate::time::reach;
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
    /// How long what nobody waits for is gathered.
    gather: Duration,
    sessions: RefCell<BTreeMap<SessionId, Lane>>,
    live: RefCell<VecDeque<Live>>,
    /// The last word about each agent's process, and whether it was sent on this connection.
    processes: RefCell<BTreeMap<AgentId, (Process, bool)>>,
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
    /// When what waits and is not in flight is to be sent; none where there is no such thing.
    due: Option<Instant>,
    /// When the report that is in flight was sent.
    sent: Option<Instant>,
}

impl Outbox {
    /// Starts empty: what an earlier generation left in `directory` is worthless. What nobody waits for
    /// is gathered for as long as `gather`.
    pub(crate) fn new(directory: PathBuf, gather: Duration) -> Rc<Self> {
        if let Ok(entries) = std::fs::read_dir(&directory) {
            for entry in entries.flatten() {
                drop(std::fs::remove_file(entry.path()));
            }
        }
        Rc::new(Self {
            directory,
            gather,
            sessions: RefCell::default(),
            live: RefCell::default(),
            processes: RefCell::default(),
            connected: Cell::new(false),
            wake: Notify::new(),
            room: Notify::new(),
            broken: Notify::new(),
        })
    }

    /// Writes an event down. It is sent as soon as it is its turn.
    pub(crate) fn push(&self, session: SessionId, run: Option<RunId>, what: What) {
        let gather = match &what {
            What::Update { .. } => self.gather,
            What::Started { .. }
            | What::Forked { .. }
            | What::ForkLost { .. }
            | What::Asked(_)
            | What::Elicited(_)
            | What::Answered { .. }
            | What::Replied { .. }
            | What::Ended(_) => Duration::ZERO,
        };
        let what = match what {
            What::Update { kind, data } => What::Update { kind, data: cut::to_fit(data) },
            What::Asked(asked) => {
                What::Asked(PermissionRequest { tool_call: cut::to_fit(asked.tool_call), ..asked })
            }
            What::Started { .. }
            | What::Forked { .. }
            | What::ForkLost { .. }
            | What::Elicited(_)
            | What::Answered { .. }
            | What::Replied { .. }
            | What::Ended(_) => what,
        };
        let Ok(event) = serde_json::to_vec(&ReportEvent { run, what }) else {
            return;
        };
        let mut sessions = self.sessions.borrow_mut();
        let lane = sessions.entry(session).or_insert_with(|| Lane {
            journal: Journal::new(self.directory.join(format!("{session}.jsonl"))),
            due: None,
            sent: None,
        });
        let due = Instant::now() + gather;
        lane.due = Some(lane.due.map_or(due, |before| before.min(due)));
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

    /// Says what became of an agent's process: what was said of it before is worth nothing.
    pub(crate) fn process(&self, process: Process) {
        let mut processes = self.processes.borrow_mut();
        if processes.get(&process.agent).is_none_or(|(before, _)| *before != process) {
            processes.insert(process.agent, (process, false));
            self.wake.notify_one();
        }
    }

    /// The connection is there or gone. What was in flight on the old one is sent again.
    pub(crate) fn connected(&self, now: bool) {
        self.connected.set(now);
        self.live.borrow_mut().clear();
        for (_, sent) in self.processes.borrow_mut().values_mut() {
            *sent = false;
        }
        for lane in self.sessions.borrow_mut().values_mut() {
            lane.sent = None;
            lane.hurry();
        }
        self.wake.notify_one();
    }

    /// Events of `session` before `next` are durable.
    pub(crate) fn acknowledge(&self, session: SessionId, next: u64) {
        if let Some(lane) = self.sessions.borrow_mut().get_mut(&session) {
            // An acknowledgement of nothing new is no reason to send the same again at once.
            if lane.journal.acknowledge(next) {
                lane.sent = None;
                if lane.due.is_none() {
                    // What was in the report and is not acknowledged with it.
                    lane.hurry();
                }
            }
        }
        self.room.notify_waiters();
        self.wake.notify_one();
    }

    /// The next frame to send, once there is one.
    pub(crate) async fn next(&self) -> String {
        loop {
            if let Some(frame) = self.ready(Instant::now()) {
                return frame;
            }
            let due = self.due();
            tokio::select! {
                () = self.wake.notified() => {}
                () = reach(due) => {}
            }
        }
    }

    /// When the first of what is being gathered is to be sent.
    fn due(&self) -> Option<Instant> {
        let sessions = self.sessions.borrow();
        sessions.values().filter(|lane| lane.sent.is_none()).filter_map(|lane| lane.due).min()
    }

    fn ready(&self, now: Instant) -> Option<String> {
        let live = self.live.borrow_mut().pop_front();
        if let Some(live) = live {
            return serde_json::to_string(&Up::Live(live)).ok();
        }
        let mut processes = self.processes.borrow_mut();
        if let Some((process, sent)) = processes.values_mut().find(|(_, sent)| !*sent) {
            *sent = true;
            return serde_json::to_string(&Up::Process(process.clone())).ok();
        }
        let mut sessions = self.sessions.borrow_mut();
        sessions.iter_mut().find_map(|(session, lane)| {
            let waits = match (lane.sent, lane.due) {
                (Some(sent), _) => now < sent + PATIENCE,
                (None, due) => due.is_none_or(|due| now < due),
            };
            let frame = if waits { None } else { lane.journal.report(*session) };
            if frame.is_some() {
                lane.sent = Some(now);
            }
            if !waits {
                // What no report holds any more goes with the next.
                lane.due = lane.journal.has_more().then_some(now);
            }
            frame
        })
    }

    /// Looks again whether a report has been in flight for too long.
    pub(crate) fn look_again(&self) {
        self.wake.notify_one();
    }

    /// Waits until all that was said of `session` has been acknowledged.
    pub(crate) async fn told(&self, session: SessionId) {
        loop {
            let acknowledged = self.room.notified();
            let waits = |lane: &Lane| lane.journal.waiting_bytes() > 0;
            if !self.sessions.borrow().get(&session).is_some_and(waits) {
                return;
            }
            acknowledged.await;
        }
    }

    /// Forgets a session of which nothing is said any more.
    pub(crate) fn forget(&self, session: SessionId) {
        self.sessions.borrow_mut().remove(&session);
    }

    /// Sends all there is, and waits until it has been acknowledged.
    pub(crate) async fn drained(&self) {
        self.sessions.borrow_mut().values_mut().for_each(Lane::hurry);
        self.wake.notify_one();
        loop {
            let acknowledged = self.room.notified();
            if self.sessions.borrow().values().all(|lane| lane.journal.waiting_bytes() == 0) {
                return;
            }
            acknowledged.await;
        }
    }
}

impl Lane {
    /// What waits is gathered no longer.
    fn hurry(&mut self) {
        if self.journal.waiting_bytes() > 0 {
            self.due = Some(Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use domain::id::Ulid;
    use serde_json::Value;
    use serde_json::value::RawValue;
    use wire::shim::MAX_REPORT_EVENTS;

    use super::*;

    const GATHER: Duration = Duration::from_hours(1);

    fn session() -> SessionId {
        SessionId::new(Ulid::from_parts(1, 1))
    }

    fn update() -> What {
        let data = RawValue::from_string("{}".to_owned()).unwrap();
        What::Update { kind: "tool_call".to_owned(), data }
    }

    fn started() -> What {
        What::Started { acp_session: "a".to_owned(), can_fork: false }
    }

    /// First number and count of the report that is sent at `now`; none where none is.
    fn sent(outbox: &Outbox, now: Instant) -> Option<(u64, usize)> {
        let frame = outbox.ready(now)?;
        let report = serde_json::from_str::<Value>(&frame).unwrap()["report"].clone();
        Some((report["first"].as_u64()?, report["events"].as_array()?.len()))
    }

    #[test]
    fn what_nobody_waits_for_is_gathered_and_the_rest_takes_it_along() {
        let directory = tempfile::tempdir().unwrap();
        let outbox = Outbox::new(directory.path().to_owned(), GATHER);
        outbox.connected(true);
        let begun = Instant::now();
        outbox.push(session(), None, update());
        let due = outbox.due().unwrap();
        assert!(due >= begun + GATHER);
        outbox.push(session(), None, update());
        assert_eq!(outbox.due(), Some(due), "counted from the first");
        assert_eq!(sent(&outbox, Instant::now()), None);
        assert_eq!(sent(&outbox, due), Some((0, 2)));
        outbox.acknowledge(session(), 2);
        assert_eq!((outbox.due(), sent(&outbox, due)), (None, None));

        outbox.push(session(), None, update());
        outbox.push(session(), None, started());
        assert_eq!(sent(&outbox, Instant::now()), Some((2, 2)));
        // Behind a report in flight all wait.
        outbox.push(session(), None, started());
        assert_eq!(sent(&outbox, Instant::now()), None);
        // What a report held that was not acknowledged goes again at once.
        outbox.acknowledge(session(), 3);
        assert_eq!(sent(&outbox, Instant::now()), Some((3, 2)));
        outbox.connected(false);
        outbox.connected(true);
        assert_eq!(sent(&outbox, Instant::now()), Some((3, 2)));
        outbox.acknowledge(session(), 5);
        assert_eq!(sent(&outbox, Instant::now()), None);
    }

    #[test]
    fn what_no_report_holds_goes_with_the_next() {
        let directory = tempfile::tempdir().unwrap();
        let outbox = Outbox::new(directory.path().to_owned(), GATHER);
        outbox.connected(true);
        for _ in 0..=MAX_REPORT_EVENTS {
            outbox.push(session(), None, update());
        }
        outbox.push(session(), None, started());
        assert_eq!(sent(&outbox, Instant::now()), Some((0, MAX_REPORT_EVENTS)));
        outbox.acknowledge(session(), MAX_REPORT_EVENTS as u64);
        assert_eq!(sent(&outbox, Instant::now()), Some((MAX_REPORT_EVENTS as u64, 2)));
    }

    #[test]
    fn where_a_report_costs_nothing_it_goes_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let outbox = Outbox::new(directory.path().to_owned(), Duration::ZERO);
        outbox.connected(true);
        outbox.push(session(), None, update());
        assert_eq!(sent(&outbox, Instant::now()), Some((0, 1)));
    }
}
