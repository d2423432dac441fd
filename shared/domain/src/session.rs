//! A session: one conversation with an agent, one run in flight, the rest in order behind it.
//!
//! Invariants
//! - `active` is the only run of the session that is not terminal and not in `queue`.
//! - Event numbers are given out here and nowhere else: `last_seq` only grows, by one per event.
//! - A report that moves nothing is written without its session: while a run is in flight, `last_seq`
//!   and the `next` of `reports` may be behind what is written, and [`Session::catch_up`] comes first.
//!   With no run in flight they are exact.
//! - A report counts only if it comes from the start of the container that `reports` names and
//!   continues where that one stopped: so nothing is lost, doubled or taken from the dead.

use std::collections::{BTreeMap, VecDeque};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::{IntoStaticStr, VariantArray};

use crate::agent::Labels;
use crate::conversation::{MAX_SET, Offers, Settings};
use crate::event::{Draft, Event};
use crate::text::{Argument, Name, Slug, VariableName};
use crate::{AgentId, ContainerId, Machine, RealmId, Refused, RunId, SessionId, Timestamp};

/// Where a session is.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Serialize,
    Deserialize,
    JsonSchema,
    VariantArray,
    IntoStaticStr,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum SessionState {
    /// Open; nothing has been asked yet.
    Active,
    /// The agent ended its turn; it is the user's.
    WaitingInput,
    /// A run is in flight.
    Streaming,
    /// The run in flight is being stopped.
    Cancelling,
    /// Closed. It reads as before and takes no more prompts.
    Completed,
}

/// What can happen to a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, VariantArray, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum SessionEvent {
    /// A prompt. Behind a run in flight it waits.
    Prompt,
    /// The run in flight is to stop. Cancelling twice changes nothing.
    Cancel,
    /// The run in flight ended.
    Settle,
    /// Somebody goes on from it in another session. It stays where it is.
    Fork,
    /// Somebody closes it. Closing a closed session changes nothing.
    Close,
}

/// The lifecycle of a session.
#[derive(Clone, Copy, Debug)]
pub struct SessionLifecycle;

impl Machine for SessionLifecycle {
    type State = SessionState;
    type Event = SessionEvent;
    const START: SessionState = SessionState::Active;

    fn next(state: SessionState, event: SessionEvent) -> Option<SessionState> {
        use SessionEvent as E;
        use SessionState as S;
        Some(match (state, event) {
            (S::Active | S::WaitingInput | S::Streaming, E::Prompt) => S::Streaming,
            (S::Cancelling, E::Prompt) => S::Cancelling,
            (S::Streaming | S::Cancelling, E::Cancel) => S::Cancelling,
            (S::Streaming | S::Cancelling, E::Settle) => S::WaitingInput,
            (S::Active | S::WaitingInput, E::Fork) => state,
            (S::Active | S::WaitingInput | S::Completed, E::Close) => S::Completed,
            (S::Active | S::WaitingInput, E::Cancel | E::Settle)
            | (S::Streaming | S::Cancelling, E::Fork | E::Close)
            | (S::Completed, E::Prompt | E::Cancel | E::Settle | E::Fork) => return None,
        })
    }
}

/// Whose reports a session takes, and from where on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Reports {
    /// The container.
    pub container: ContainerId,
    /// Which start of it.
    pub generation: u32,
    /// The number of the next report event.
    pub next: u64,
}

/// How the agent of a session is told to work, beside what the agent itself says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Setup {
    /// Where it works: a path from its workspace on, or an absolute one.
    #[serde(default, skip_serializing_if = "Option::is_none", alias = "working_dir")]
    pub working_dir: Option<Argument>,
    /// The MCP servers it is given.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        alias = "mcp_servers",
        deserialize_with = "crate::object::each"
    )]
    #[schemars(length(max = 16))]
    pub mcp_servers: Vec<McpServer>,
    /// Environment variables of its processes, over the agent's own. Sessions that differ in it have
    /// processes of their own. Not for secrets: they read back.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    pub env: BTreeMap<VariableName, Argument>,
    /// The mode, the model and the options that its agent is to be set to.
    #[serde(
        default,
        skip_serializing_if = "Settings::is_empty",
        deserialize_with = "crate::object::one"
    )]
    pub settings: Settings,
    /// Free text of whoever opened it; at most 16.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16))]
    pub metadata: Labels,
}

/// An MCP server: a program of the container, or an address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct McpServer {
    /// What the agent calls it.
    pub name: Slug,
    /// The program; left out where there is an address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Argument>,
    /// Its arguments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub args: Vec<Argument>,
    /// Its environment variables.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    pub env: BTreeMap<VariableName, Argument>,
    /// The address of one that speaks HTTP; left out where there is a program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<Argument>,
    /// What is sent to it with each request.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    pub headers: BTreeMap<Slug, Argument>,
}

/// The most bytes of a setup as JSON: with the rest of a session it fits an item of the table.
const MAX_SETUP: usize = 100_000;

impl Setup {
    /// The first rule it breaks that its types do not already keep, as field and reason.
    pub fn broken_rule(&self) -> Option<(&'static str, &'static str)> {
        let odd = |one: &McpServer| one.command.is_some() == one.url.is_some();
        if self.mcp_servers.len() > 16 {
            Some(("session.mcpServers", "must have at most 16"))
        } else if self.mcp_servers.iter().any(odd) {
            Some(("session.mcpServers", "must have a command or a url, each one of them"))
        } else if self.env.len() > 64 {
            Some(("session.env", "must have at most 64 variables"))
        } else if self.env.keys().any(|name| name.as_str().starts_with("REEVE_")) {
            Some(("session.env", "names beginning with REEVE_ are reserved"))
        } else if self.settings.options.len() > MAX_SET {
            Some(("session.settings.options", "must be at most 32"))
        } else if self.metadata.len() > crate::agent::MAX_LABELS {
            Some(("session.metadata", "must have at most 16"))
        } else if serde_json::to_vec(self).map_or(usize::MAX, |json| json.len()) > MAX_SETUP {
            Some(("session", "must be at most 100000 bytes of JSON"))
        } else {
            None
        }
    }
}

/// The most forks of a session that are not taken yet.
pub const MAX_FORKS: usize = 16;

/// A conversation that is to begin as a copy of another.
///
/// The copy is taken with the first prompt of either session, whichever comes first: so it is of the
/// other as it was when the fork was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Fork {
    /// The session whose conversation is copied.
    pub of: SessionId,
    /// The agent's own id for that conversation.
    pub conversation: String,
    /// Why there can be no copy any more: the other went on, and its agent did not make one before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost: Option<String>,
}

/// One conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Session {
    /// Its id.
    pub id: SessionId,
    /// The realm it belongs to.
    pub realm: RealmId,
    /// The agent it is with.
    pub agent: AgentId,
    /// The container of its agent, once a run has needed one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<ContainerId>,
    /// How its agent is told to work.
    #[serde(default)]
    pub setup: Setup,
    /// What its agent offers, as it last told.
    #[serde(default)]
    pub offers: Offers,
    /// What people call it.
    pub title: Option<Name>,
    /// Where it is.
    pub state: SessionState,
    /// The run in flight.
    pub active: Option<RunId>,
    /// Whether the run in flight is held: its container has no room to run, so no start has it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub held: bool,
    /// The runs behind it, in order.
    pub queue: VecDeque<RunId>,
    /// The number of the last event, 0 before the first; while a run is in flight, of one of the last.
    pub last_seq: u64,
    /// Whose reports it takes.
    pub reports: Option<Reports>,
    /// The agent's own id for the conversation, for taking it up again after a restart.
    #[expect(clippy::struct_field_names, reason = "ACP's session is another thing than ours")]
    pub acp_session: Option<String>,
    /// The session it was forked from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forked_from: Option<SessionId>,
    /// What its conversation is to begin as, until it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fork: Option<Fork>,
    /// The sessions that are to begin as copies of this one. Those that have meanwhile are still here
    /// until somebody looks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub forks: Vec<SessionId>,
    /// Whether somebody has deleted it. It is none any more to whoever asks, and stays until what it has
    /// in flight has ended and what it kept is gone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub deleting: bool,
    /// When it was opened.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// A prompt was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotQueued {
    /// The session takes no prompts where it is.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// As many prompts as the realm allows wait already.
    #[error("{0} prompts wait already; try again when one has ended")]
    Full(usize),
}

/// A fork was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotForked {
    /// The session is not forked where it is.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// Its agent copies no conversation.
    #[error("the agent cannot fork a conversation")]
    Unsupported,
    /// As many forks as may be are not taken.
    #[error("{MAX_FORKS} forks of the session have not begun; prompt or close one of them first")]
    Full,
}

/// What is to be done with a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Take it from its `skip`th event on; those before are known.
    Take {
        /// How many events at its beginning are known already.
        skip: usize,
    },
    /// All of it is known: say again what comes next.
    Known,
    /// Something is missing before it: say what comes next.
    Gap,
    /// It comes from a start that is over.
    Stale,
}

impl Session {
    /// Puts `run` in line. It is the session's turn at once when nothing is in flight: the answer
    /// says so.
    pub fn enqueue(&mut self, run: RunId, limit: usize, now: Timestamp) -> Result<bool, NotQueued> {
        let state = SessionLifecycle::step(self.state, SessionEvent::Prompt)?;
        if self.active.is_some() && self.queue.len() >= limit {
            return Err(NotQueued::Full(self.queue.len()));
        }
        self.state = state;
        self.updated_at = now;
        if self.active.is_none() {
            self.active = Some(run);
            Ok(true)
        } else {
            self.queue.push_back(run);
            Ok(false)
        }
    }

    /// Marks the run in flight as to be stopped.
    pub fn cancel(&mut self, now: Timestamp) -> Result<(), Refused> {
        self.state = SessionLifecycle::step(self.state, SessionEvent::Cancel)?;
        self.updated_at = now;
        Ok(())
    }

    /// Takes a waiting run out of the line. False where it does not wait.
    pub fn withdraw(&mut self, run: RunId, now: Timestamp) -> bool {
        let before = self.queue.len();
        self.queue.retain(|&waiting| waiting != run);
        let found = self.queue.len() < before;
        if found {
            self.updated_at = now;
        }
        found
    }

    /// The run in flight ended. Answers with the one whose turn it is now, if one waits.
    pub fn settle(&mut self, now: Timestamp) -> Result<Option<RunId>, Refused> {
        self.state = SessionLifecycle::step(self.state, SessionEvent::Settle)?;
        self.updated_at = now;
        self.active = self.queue.pop_front();
        self.held = false;
        if self.active.is_some() {
            self.state = SessionLifecycle::step(self.state, SessionEvent::Prompt)?;
        }
        Ok(self.active)
    }

    /// A session of its agent that goes on from where this one is: a fresh one, where nothing has been
    /// said. The session that is copied has to [`await_fork`](Self::await_fork).
    pub fn fork(&self, id: SessionId, now: Timestamp) -> Result<Self, NotForked> {
        SessionLifecycle::step(self.state, SessionEvent::Fork)?;
        if self.acp_session.is_some() && !self.offers.fork {
            return Err(NotForked::Unsupported);
        }
        let said = |conversation: &String| Fork {
            of: self.id,
            conversation: conversation.clone(),
            lost: None,
        };
        Ok(Self {
            id,
            state: SessionState::Active,
            active: None,
            held: false,
            queue: VecDeque::new(),
            last_seq: 0,
            reports: None,
            acp_session: None,
            forked_from: Some(self.id),
            fork: self.acp_session.as_ref().map(said).or_else(|| self.fork.clone()),
            forks: Vec::new(),
            deleting: false,
            created_at: now,
            updated_at: now,
            ..self.clone()
        })
    }

    /// Has `fork` begin as a copy of this session, before this one goes on.
    pub fn await_fork(&mut self, fork: SessionId) -> Result<(), NotForked> {
        SessionLifecycle::step(self.state, SessionEvent::Fork)?;
        if self.forks.len() >= MAX_FORKS {
            return Err(NotForked::Full);
        }
        self.forks.push(fork);
        Ok(())
    }

    /// Whether it is still to begin as a copy of `other`.
    pub fn awaits(&self, other: SessionId) -> bool {
        let awaited =
            self.fork.as_ref().is_some_and(|fork| fork.of == other && fork.lost.is_none());
        awaited && self.state != SessionState::Completed
    }

    /// Its conversation has begun.
    pub fn begun(&mut self, conversation: &str) {
        self.acp_session = Some(conversation.to_owned());
        self.fork = None;
    }

    /// Closes the session.
    pub fn close(&mut self, now: Timestamp) -> Result<(), Refused> {
        let state = SessionLifecycle::step(self.state, SessionEvent::Close)?;
        if state != self.state {
            self.updated_at = now;
        }
        self.state = state;
        Ok(())
    }

    /// Gives `drafts` their places in the session.
    pub fn number(&mut self, drafts: Vec<Draft>, now: Timestamp) -> Vec<Event> {
        drafts
            .into_iter()
            .map(|Draft { kind, run, data }| {
                self.last_seq += 1;
                Event { seq: self.last_seq, kind, run_id: run, time: now, data }
            })
            .collect()
    }

    /// Takes up how far events and reports have come since this was written.
    pub fn catch_up(&mut self, last_seq: u64, heard: Option<Reports>) {
        self.last_seq = self.last_seq.max(last_seq);
        if let (Some(reports), Some(heard)) = (&mut self.reports, heard)
            && (reports.container, reports.generation) == (heard.container, heard.generation)
        {
            reports.next = reports.next.max(heard.next);
        }
    }

    /// Whether it says the same as `before`, but for how far events and reports have come.
    pub fn is_as(&self, before: &Self) -> bool {
        let mut caught_up = before.clone();
        caught_up.catch_up(self.last_seq, self.reports);
        *self == caught_up
    }

    /// Takes reports of this start of this container from now on, from its first.
    pub fn listen_to(&mut self, container: ContainerId, generation: u32) {
        let same =
            self.reports.is_some_and(|r| r.container == container && r.generation == generation);
        if !same {
            self.reports = Some(Reports { container, generation, next: 0 });
        }
    }

    /// Decides about a report of `count` events that begins at number `first`.
    pub fn admit(
        &self,
        container: ContainerId,
        generation: u32,
        first: u64,
        count: usize,
    ) -> Admission {
        let Some(reports) = self.reports else { return Admission::Stale };
        if reports.container != container || reports.generation != generation {
            return Admission::Stale;
        }
        if first > reports.next {
            return Admission::Gap;
        }
        match usize::try_from(reports.next - first) {
            Ok(skip) if skip < count => Admission::Take { skip },
            _ => Admission::Known,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Ulid;

    fn session() -> Session {
        Session {
            id: SessionId::new(Ulid::from_parts(1, 1)),
            realm: RealmId::new(Ulid::from_parts(1, 1)),
            agent: AgentId::new(Ulid::from_parts(1, 1)),
            container: None,
            setup: Setup::default(),
            offers: Offers::default(),
            title: None,
            state: SessionState::Active,
            active: None,
            held: false,
            queue: VecDeque::new(),
            last_seq: 0,
            reports: None,
            acp_session: None,
            forked_from: None,
            fork: None,
            forks: Vec::new(),
            deleting: false,
            created_at: Timestamp::default(),
            updated_at: Timestamp::default(),
        }
    }

    fn run(n: u128) -> RunId {
        RunId::new(Ulid::from_parts(1, n))
    }

    #[test]
    fn lifecycle() {
        // A closed session is the end, though closing it again is no error.
        insta::assert_snapshot!(crate::machine::mermaid::<SessionLifecycle>());
    }

    #[test]
    fn one_run_is_in_flight_and_the_rest_wait_in_order() {
        let now = Timestamp::from_millis(5);
        let mut session = session();
        assert_eq!(session.enqueue(run(1), 2, now), Ok(true));
        assert_eq!(session.enqueue(run(2), 2, now), Ok(false));
        assert_eq!(session.enqueue(run(3), 2, now), Ok(false));
        assert_eq!(session.enqueue(run(4), 2, now), Err(NotQueued::Full(2)));
        assert!(session.withdraw(run(2), now));
        assert!(!session.withdraw(run(1), now));
        assert_eq!(session.settle(now), Ok(Some(run(3))));
        assert_eq!(session.state, SessionState::Streaming);
        assert_eq!(session.settle(now), Ok(None));
        assert_eq!(session.state, SessionState::WaitingInput);
        assert!(session.settle(now).is_err());
    }

    #[test]
    fn a_fork_is_of_what_was_said_when_it_was_asked_for() {
        let id = |n| SessionId::new(Ulid::from_parts(2, n));
        let now = Timestamp::from_millis(5);
        let mut source = session();
        let fresh = source.fork(id(1), now).unwrap();
        assert_eq!((fresh.fork, fresh.forked_from), (None, Some(source.id)), "nothing was said");
        source.begun("talk");
        assert_eq!(source.fork(id(1), now), Err(NotForked::Unsupported));
        source.offers.fork = true;
        let mut fork = source.fork(id(1), now).unwrap();
        assert_eq!((fork.id, &fork.acp_session), (id(1), &None));
        assert!(fork.awaits(source.id) && fork.offers.fork);
        let again = fork.fork(id(2), now).unwrap();
        assert!(again.awaits(source.id), "a fork that has not begun is what it is to be a copy of");
        assert_eq!(again.forked_from, Some(id(1)));
        for n in 0..MAX_FORKS {
            source.await_fork(id(n as u128)).unwrap();
        }
        assert_eq!(source.await_fork(id(99)), Err(NotForked::Full));
        fork.begun("copy");
        assert!(!fork.awaits(source.id));
        source.enqueue(run(1), 1, now).unwrap();
        assert!(matches!(source.fork(id(3), now), Err(NotForked::Refused(_))));
        assert!(matches!(source.await_fork(id(3)), Err(NotForked::Refused(_))));
    }

    #[test]
    fn a_report_counts_once_and_only_from_the_start_in_force() {
        let container = ContainerId::new(Ulid::from_parts(1, 7));
        let mut session = session();
        assert_eq!(session.admit(container, 1, 0, 3), Admission::Stale);
        session.listen_to(container, 1);
        assert_eq!(session.admit(container, 1, 0, 3), Admission::Take { skip: 0 });
        session.reports = Some(Reports { container, generation: 1, next: 3 });
        assert_eq!(session.admit(container, 1, 0, 3), Admission::Known);
        assert_eq!(session.admit(container, 1, 1, 3), Admission::Take { skip: 2 });
        assert_eq!(session.admit(container, 1, 4, 1), Admission::Gap);
        assert_eq!(session.admit(container, 2, 0, 1), Admission::Stale);
        session.listen_to(container, 2);
        assert_eq!(session.admit(container, 1, 3, 1), Admission::Stale);
    }

    #[test]
    fn what_was_written_without_the_session_is_taken_up() {
        let container = ContainerId::new(Ulid::from_parts(1, 7));
        let heard = |generation, next| Some(Reports { container, generation, next });
        let mut session = session();
        session.listen_to(container, 2);
        let before = session.clone();
        session.catch_up(7, heard(2, 5));
        assert_eq!((session.last_seq, session.reports), (7, heard(2, 5)));
        assert!(session.is_as(&before));
        // What is known already, and what another start said, changes nothing.
        session.catch_up(6, heard(2, 4));
        session.catch_up(7, heard(1, 9));
        assert_eq!((session.last_seq, session.reports), (7, heard(2, 5)));
        session.listen_to(container, 3);
        assert!(!session.is_as(&before));
    }
}
