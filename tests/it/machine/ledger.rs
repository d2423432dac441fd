//! What was committed so far, and the rules that every commit must keep.

use std::collections::{BTreeMap, BTreeSet};

use domain::agent::{Agent, AgentState};
use domain::container::{Container, ContainerState};
use domain::due::Due;
use domain::event::{Event, RUN_STATE};
use domain::reconcile::TRIES;
use domain::run::{Run, RunState};
use domain::session::{Session, SessionState};
use domain::{RunId, SessionId};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use store::live::Mark;
use store::{Commit, Key, Write};

use crate::table::model::Model;

/// A table by kinds, and all that was ever told.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    pub(super) agents: BTreeMap<Key, Agent>,
    pub(super) containers: BTreeMap<Key, Container>,
    pub(super) sessions: BTreeMap<Key, Session>,
    pub(super) runs: BTreeMap<Key, Run>,
    pub(super) dues: BTreeMap<Key, Due>,
    /// What may be running.
    live: BTreeMap<Key, Mark>,
    pub(super) told: BTreeMap<SessionId, Vec<Event>>,
    /// Accepted commands.
    pub(super) audited: usize,
    /// Runs that were ever there, with how they were last seen. Kept when they are purged.
    pub(super) seen: BTreeMap<RunId, Run>,
    /// Prompts that were told, and ends.
    asked: BTreeSet<RunId>,
    over: BTreeSet<RunId>,
    pub(super) names: BTreeSet<&'static str>,
}

#[derive(Deserialize)]
struct Doc<T> {
    doc: T,
}

fn read<T: DeserializeOwned>(body: &str) -> T {
    serde_json::from_str::<Doc<T>>(body).unwrap().doc
}

impl Ledger {
    /// Takes a commit in that has just happened.
    pub(super) fn book(&mut self, commit: &Commit, model: &Model) {
        self.names.insert(commit.name);
        let (mut touched, mut entries) = (BTreeSet::new(), 0);
        let before = self.sessions.clone();
        for write in &commit.writes {
            match write {
                Write::Put { key, body, .. } => {
                    // What the control plane did by itself was nobody's command.
                    let asked = key.pk.ends_with("#AUD") && !body.contains("\"actor\":null");
                    entries += usize::from(asked);
                    self.put(key, body, commit.name);
                    if let Some(session) = self.sessions.get(key) {
                        touched.insert(session.id);
                    }
                    if let Some(run) = self.runs.get(key) {
                        touched.insert(run.session);
                    }
                }
                Write::Delete { key, .. } => self.delete(key),
                Write::Check { .. } | Write::Add { .. } => {}
            }
        }
        assert!(entries <= 1, "{}: {entries} entries of one command", commit.name);
        self.audited += entries;
        for id in touched {
            self.check_session(id, &before, commit.name);
        }
        self.check_containers(commit.name);
        self.check_counts(model, commit.name);
    }

    fn put(&mut self, key: &Key, body: &str, name: &str) {
        if key.pk.ends_with("#AGT") {
            self.agents.insert(key.clone(), read(body));
        } else if key.pk.ends_with("#CTR") {
            self.containers.insert(key.clone(), read(body));
        } else if key.pk.ends_with("#SES") {
            self.sessions.insert(key.clone(), read(body));
        } else if key.pk.ends_with("#RUN") {
            let run: Run = read(body);
            if let Some(before) = self.seen.insert(run.id, run.clone()) {
                assert!(!before.state.is_terminal(), "{name}: {before:?} moved to {run:?}");
                assert_eq!(
                    (before.prompt, before.created_at),
                    (run.prompt.clone(), run.created_at)
                );
            }
            assert_eq!(run.state.is_terminal(), run.end.is_some(), "{name}: {run:?}");
            let waits = run.state == RunState::AwaitingApproval;
            assert_eq!(waits, !run.permissions.is_empty(), "{name}: {run:?}");
            self.runs.insert(key.clone(), run);
        } else if key.pk == "LIVE" {
            self.live.insert(key.clone(), read(body));
        } else if key.pk.starts_with("DUE#") {
            let due: Due = read(body);
            if let Some(before) = self.dues.insert(key.clone(), due.clone()) {
                // Only who holds it does.
                let Due { attempt, held_until, .. } = before;
                assert_eq!(Due { attempt, held_until, ..due }, before, "{name}: an errand changed");
            }
        } else if key.pk.ends_with("#EVT") {
            let (_, session) = store::event::session_of(&key.pk).unwrap();
            let events = store::event::from_change(&key.pk, &key.sk, body).unwrap();
            self.tell(session, events, name);
        }
    }

    fn tell(&mut self, session: SessionId, events: Vec<Event>, name: &str) {
        let told = self.told.entry(session).or_default();
        for event in events {
            assert_eq!(event.seq, told.len() as u64 + 1, "{name}: events without a gap, each once");
            let data: serde_json::Value = serde_json::from_str(event.data.get()).unwrap();
            if event.kind == RUN_STATE {
                let run = event.run_id.unwrap();
                assert!(!self.over.contains(&run), "{name}: {run} is over and goes on: {data}");
                if matches!(data["state"].as_str(), Some("completed" | "cancelled" | "failed")) {
                    self.over.insert(run);
                }
            }
            if event.kind == "user_message_chunk" {
                assert!(self.asked.insert(event.run_id.unwrap()), "{name}: a prompt told twice");
            }
            told.push(event);
        }
    }

    fn delete(&mut self, key: &Key) {
        self.agents.remove(key);
        self.containers.remove(key);
        self.sessions.remove(key);
        self.runs.remove(key);
        self.dues.remove(key);
        self.live.remove(key);
    }

    fn runs_of(&self, session: SessionId) -> impl Iterator<Item = &Run> {
        self.runs.values().filter(move |run| run.session == session)
    }

    fn check_session(&self, id: SessionId, before: &BTreeMap<Key, Session>, name: &str) {
        let Some(session) = self.sessions.values().find(|session| session.id == id) else { return };
        let told = self.told.get(&id).map_or(&[][..], Vec::as_slice);
        // In flight it may be behind what was told without it, and never before it.
        let (last, all) = (session.last_seq, told.len() as u64);
        assert!(last <= all, "{name}: {session:?} of {all}");
        assert!(session.active.is_some() || last == all, "{name}: {session:?} of {all}");
        let line: Vec<RunId> = session.active.iter().chain(&session.queue).copied().collect();
        let open: BTreeSet<RunId> =
            self.runs_of(id).filter(|run| !run.state.is_terminal()).map(|run| run.id).collect();
        assert_eq!(open, line.iter().copied().collect(), "{name}: open runs are in line, once");
        assert_eq!(open.len(), line.len(), "{name}: a run waits twice");
        for run in self.runs_of(id) {
            let held = session.held && session.active == Some(run.id);
            let waits = held || session.queue.contains(&run.id);
            assert_eq!(run.state == RunState::Queued, waits, "{name}: {run:?} in {session:?}");
            assert!(run.reason.is_none() || held, "{name}: {run:?} in {session:?}");
            let last = told.iter().rfind(|e| e.kind == RUN_STATE && e.run_id == Some(run.id));
            let last = last.unwrap_or_else(|| panic!("{name}: nothing told of {run:?}"));
            let state: &str = run.state.into();
            assert!(last.data.get().contains(&format!("\"{state}\"")), "{name}: {last:?} {run:?}");
        }
        let works = matches!(session.state, SessionState::Streaming | SessionState::Cancelling);
        assert_eq!(session.active.is_some(), works, "{name}: {session:?}");
        if let Some(before) = before.values().find(|before| before.id == id) {
            let known: Vec<RunId> = before.active.iter().chain(&before.queue).copied().collect();
            let kept: Vec<RunId> = known.iter().filter(|run| open.contains(run)).copied().collect();
            assert_eq!(line[..kept.len()], kept, "{name}: the order of the line");
            assert!(line[kept.len()..].iter().all(|run| !known.contains(run)), "{name}: {line:?}");
        }
    }

    /// What is counted is what is there, whoever died when.
    fn check_counts(&self, model: &Model, name: &str) {
        let containers =
            |is: fn(&Container) -> bool| self.containers.values().filter(|c| is(c)).count();
        for (what, there) in [
            ("COUNT#agents", self.agents.len()),
            ("COUNT#containers", containers(|_| true)),
            ("COUNT#running", containers(|container| container.room)),
            ("COUNT#waiting", containers(|container| container.waits_since.is_some())),
            ("COUNT#leaving", containers(|container| container.leaving)),
        ] {
            let count = model.0.iter().find(|(key, _)| key.sk == what);
            let count = count.map_or(0, |(_, row)| row.item.count);
            assert_eq!(usize::try_from(count), Ok(there), "{name}: {what}");
        }
        for container in self.containers.values() {
            let (runs, rests) = (container.state.may_run(), container.state.needs_start());
            let going = container.state == ContainerState::Deleting;
            assert!(
                !runs || container.room || going,
                "{name}: it runs without room: {container:?}"
            );
            let waits = container.waits_since.is_some();
            assert!(
                !waits || (rests && !container.room),
                "{name}: it waits and runs: {container:?}"
            );
            let needed = !container.busy.is_empty();
            assert!(needed || !waits, "{name}: nobody needs it and it waits: {container:?}");
            assert!(
                needed || !(rests && container.room),
                "{name}: it has room for nobody: {container:?}"
            );
        }
    }

    fn check_containers(&self, name: &str) {
        let marked = self.live.values().map(|mark| (mark.container, mark.generation));
        let expected = self.containers.values().filter(|container| {
            container.state.may_run() && container.state != ContainerState::Deleting
        });
        let expected = expected.map(|container| (container.id, container.generation));
        let (marked, expected): (BTreeSet<_>, BTreeSet<_>) = (marked.collect(), expected.collect());
        assert_eq!(marked, expected, "{name}: what may run is marked");
        for container in self.containers.values() {
            assert!(container.failures.tries <= TRIES, "{name}: {container:?}");
        }
        for container in self.containers.values() {
            let active: BTreeSet<SessionId> = self
                .sessions
                .values()
                .filter(|session| session.agent == container.owner() && session.active.is_some())
                .map(|session| session.id)
                .collect();
            let held = container.line.iter().map(|waiting| waiting.session);
            let here: BTreeSet<SessionId> = container.busy.keys().copied().chain(held).collect();
            assert_eq!(here, active, "{name}: here is who has a run in flight or held");
            let busy = u32::try_from(container.busy.len()).unwrap();
            assert!(busy <= container.capacity, "{name}: {container:?} does more than it takes");
            let full = busy == container.capacity || container.line.is_empty();
            assert!(full, "{name}: somebody waits for nothing: {container:?}");
            if container.state.is_connected() {
                let busy = container.state == ContainerState::Busy;
                assert_eq!(busy, !active.is_empty(), "{name}: {container:?}");
            }
            let agent = self.agents.values().find(|agent| agent.id == container.owner());
            let agent = agent.unwrap_or_else(|| panic!("{name}: {container:?} of nobody"));
            let rests = matches!(agent.state, AgentState::Paused | AgentState::Archived);
            assert!(!(rests && container.state.takes_work()), "{name}: {agent:?} {container:?}");
        }
        for session in self.sessions.values().filter(|session| session.active.is_some()) {
            let agent = self.agents.values().find(|agent| agent.id == session.agent);
            assert!(agent.is_some(), "{name}: {session:?} of nobody");
            let container = self.containers.values().find(|c| c.owner() == session.agent);
            assert!(container.is_some(), "{name}: {session:?} works nowhere");
        }
    }
}
