//! A container: where the processes of agents run. One row outlives many starts.
//!
//! Invariants
//! - Each start has its own generation; a report from another generation changes nothing.
//! - `busy` names the sessions whose run is to go on here. A connected container is `Busy` exactly
//!   while it names one. It names at most `capacity`; the others wait in `line`, in order.
//! - An agent is in at most one container, for good: its workspace is part of that. A container that
//!   was made for one agent has the ULID of that agent.
//! - A deleted container never changes again.
//! - One that may run has room; one that waits for room does not run (see [`crate::admission`]).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::{IntoStaticStr, VariantArray};

use crate::agent::Labels;
use crate::instance::{AuthMethod, Instance, InstanceEvent, InstanceState};
use crate::reconcile::Failures;
use crate::run::End;
use crate::text::{Argument, Name, VariableName};
use crate::walls::Standing;
use crate::{AgentId, ContainerId, Machine, RealmId, Refused, SessionId, Timestamp};

/// Where a container is.
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
pub enum ContainerState {
    /// Somebody needs it; nothing has been done yet.
    Requested,
    /// The platform has been asked for it.
    Provisioning,
    /// The platform runs it; its shim has not connected.
    Starting,
    /// Its shim is connected; nothing has run yet.
    Ready,
    /// At least one session has a run in flight.
    Busy,
    /// Nothing runs; it is kept warm.
    Idle,
    /// It is being stopped, to start again when it is needed.
    Hibernating,
    /// It has no process; its workspace is kept.
    Stopped,
    /// It is lost and is being started again.
    Recovering,
    /// It could not be started, or was lost.
    Failed,
    /// It is being removed.
    Deleting,
    /// Nothing of it is left.
    Deleted,
}

impl ContainerState {
    /// Whether the platform may hold a process for it.
    pub const fn may_run(self) -> bool {
        match self {
            Self::Provisioning
            | Self::Starting
            | Self::Ready
            | Self::Busy
            | Self::Idle
            | Self::Hibernating
            | Self::Recovering
            | Self::Deleting => true,
            Self::Requested | Self::Stopped | Self::Failed | Self::Deleted => false,
        }
    }

    /// Whether the platform is to have it started and its shim has not been heard of: nothing can be
    /// lost with it, and asking for it again is asking once.
    pub const fn is_being_started(self) -> bool {
        matches!(self, Self::Provisioning | Self::Starting | Self::Recovering)
    }

    /// Whether its shim has connected and takes commands.
    pub const fn is_connected(self) -> bool {
        matches!(self, Self::Ready | Self::Busy | Self::Idle)
    }

    /// Whether its present start will do what it is given: it runs, or is about to.
    pub const fn takes_work(self) -> bool {
        match self {
            Self::Provisioning
            | Self::Starting
            | Self::Recovering
            | Self::Ready
            | Self::Busy
            | Self::Idle => true,
            Self::Requested
            | Self::Hibernating
            | Self::Stopped
            | Self::Failed
            | Self::Deleting
            | Self::Deleted => false,
        }
    }

    /// Whether the platform has still to be asked for a process before anything can run in it.
    pub const fn needs_start(self) -> bool {
        matches!(self, Self::Requested | Self::Stopped | Self::Failed)
    }
}

/// What can happen to a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, VariantArray, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum ContainerEvent {
    /// The platform is asked for it. A stopped or failed one starts again.
    Provision,
    /// The platform says that it runs.
    Started,
    /// Its shim connected, or connected again.
    Connected,
    /// A session got a run in flight.
    Occupied,
    /// No session has a run in flight any more.
    Vacated,
    /// It is to be stopped and kept.
    Hibernate,
    /// The platform says that it stopped as it was told.
    Stopped,
    /// It was lost and is to be started again.
    Recover,
    /// It could not be started, or was lost.
    Fail,
    /// It is to be removed.
    Delete,
    /// The platform says that it is gone.
    Gone,
}

/// The lifecycle of a container.
#[derive(Clone, Copy, Debug)]
pub struct ContainerLifecycle;

impl Machine for ContainerLifecycle {
    type State = ContainerState;
    type Event = ContainerEvent;
    const START: ContainerState = ContainerState::Requested;

    #[expect(clippy::too_many_lines, reason = "a table: one block for each state")]
    fn next(state: ContainerState, event: ContainerEvent) -> Option<ContainerState> {
        use ContainerEvent as E;
        use ContainerState as S;
        Some(match state {
            S::Requested => match event {
                E::Provision => S::Provisioning,
                E::Fail => S::Failed,
                E::Delete => S::Deleting,
                E::Started
                | E::Connected
                | E::Occupied
                | E::Vacated
                | E::Hibernate
                | E::Stopped
                | E::Recover
                | E::Gone => return None,
            },
            // A shim may connect before the platform's answer has been written down.
            S::Provisioning => match event {
                E::Started => S::Starting,
                E::Connected => S::Ready,
                E::Hibernate => S::Hibernating,
                E::Fail => S::Failed,
                E::Delete => S::Deleting,
                E::Provision | E::Occupied | E::Vacated | E::Stopped | E::Recover | E::Gone => {
                    return None;
                }
            },
            S::Starting => match event {
                E::Started => S::Starting,
                E::Connected => S::Ready,
                E::Hibernate => S::Hibernating,
                E::Stopped => S::Stopped,
                E::Fail => S::Failed,
                E::Delete => S::Deleting,
                E::Provision | E::Occupied | E::Vacated | E::Recover | E::Gone => return None,
            },
            S::Ready => match event {
                E::Started | E::Connected | E::Vacated => S::Ready,
                E::Occupied => S::Busy,
                E::Hibernate => S::Hibernating,
                E::Fail => S::Failed,
                E::Delete => S::Deleting,
                E::Provision | E::Stopped | E::Recover | E::Gone => return None,
            },
            S::Busy => match event {
                E::Started | E::Connected | E::Occupied => S::Busy,
                E::Vacated => S::Idle,
                E::Hibernate => S::Hibernating,
                E::Fail => S::Failed,
                E::Delete => S::Deleting,
                E::Provision | E::Stopped | E::Recover | E::Gone => return None,
            },
            S::Idle => match event {
                E::Started | E::Connected | E::Vacated => S::Idle,
                E::Occupied => S::Busy,
                E::Hibernate => S::Hibernating,
                E::Fail => S::Failed,
                E::Delete => S::Deleting,
                E::Provision | E::Stopped | E::Recover | E::Gone => return None,
            },
            // An answer to the start that the wish to stop has overtaken changes nothing.
            S::Hibernating => match event {
                E::Started | E::Connected | E::Hibernate => S::Hibernating,
                E::Stopped => S::Stopped,
                E::Fail => S::Failed,
                E::Delete => S::Deleting,
                E::Provision | E::Occupied | E::Vacated | E::Recover | E::Gone => return None,
            },
            S::Stopped => match event {
                E::Provision => S::Starting,
                E::Delete => S::Deleting,
                E::Started
                | E::Connected
                | E::Occupied
                | E::Vacated
                | E::Hibernate
                | E::Stopped
                | E::Recover
                | E::Fail
                | E::Gone => return None,
            },
            S::Recovering => match event {
                E::Started => S::Starting,
                E::Connected => S::Ready,
                E::Hibernate => S::Hibernating,
                E::Fail => S::Failed,
                E::Delete => S::Deleting,
                E::Provision | E::Occupied | E::Vacated | E::Stopped | E::Recover | E::Gone => {
                    return None;
                }
            },
            S::Failed => match event {
                E::Recover => S::Recovering,
                E::Delete => S::Deleting,
                E::Provision
                | E::Started
                | E::Connected
                | E::Occupied
                | E::Vacated
                | E::Hibernate
                | E::Stopped
                | E::Fail
                | E::Gone => return None,
            },
            S::Deleting => match event {
                E::Delete => S::Deleting,
                E::Gone => S::Deleted,
                E::Provision
                | E::Started
                | E::Connected
                | E::Occupied
                | E::Vacated
                | E::Hibernate
                | E::Stopped
                | E::Recover
                | E::Fail => return None,
            },
            S::Deleted => match event {
                E::Provision
                | E::Started
                | E::Connected
                | E::Occupied
                | E::Vacated
                | E::Hibernate
                | E::Stopped
                | E::Recover
                | E::Fail
                | E::Delete
                | E::Gone => return None,
            },
        })
    }
}

/// What a container is to be like. Two sessions that ask for the same may share one.
///
/// `env` is for every agent in it, beneath the agent's own. `resourceLimits` and `ttl` lower what the
/// installation and the realm allow, and never raise it; a platform that has containers of several sizes
/// chooses the smallest with as many processors and as much memory. Of what else may be asked for, an
/// installation has one kind: what is not that kind is refused. `nodeId` keeps containers apart, and
/// chooses nothing: machines are the platform's to choose.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Profile {
    /// An image. None can be chosen: the installation's is used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<Name>,
    /// A name for a machine. Containers of different ones are not shared; where they run is not chosen.
    #[serde(default, skip_serializing_if = "Option::is_none", alias = "node_id")]
    pub node_id: Option<Name>,
    /// A kind of sandbox: `default`.
    #[serde(default, skip_serializing_if = "Option::is_none", alias = "sandbox_class")]
    pub sandbox_class: Option<Name>,
    /// Where agents work: `/workspace`.
    #[serde(default, skip_serializing_if = "Option::is_none", alias = "workspace_root")]
    pub workspace_root: Option<Name>,
    /// Environment variables of every agent in it. Not for secrets: they read back.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    pub env: BTreeMap<VariableName, Argument>,
    /// What each agent in it may take, where that is less than the installation allows; 0: as the
    /// installation says.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        alias = "resource_limits",
        deserialize_with = "crate::object::maybe"
    )]
    pub resource_limits: Option<Resources>,
    /// What may be reached: `default`, which is what the installation's operator allows.
    #[serde(default, skip_serializing_if = "Option::is_none", alias = "network_policy")]
    pub network_policy: Option<Name>,
    /// Whether agents may ask for credentials on a terminal. There is none.
    #[serde(default, skip_serializing_if = "Option::is_none", alias = "allow_terminal_auth")]
    pub allow_terminal_auth: Option<bool>,
    /// Nanoseconds that it may be idle, where that is less than the realm allows; 0: as the realm says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<u64>,
}

/// See [`Profile::resource_limits`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Resources {
    /// Processors.
    #[serde(default, skip_serializing_if = "Option::is_none", alias = "cpu_count")]
    pub cpu_count: Option<u32>,
    /// Bytes of memory.
    #[serde(default, skip_serializing_if = "Option::is_none", alias = "memory_bytes")]
    pub memory_bytes: Option<u64>,
    /// Processes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pids: Option<u32>,
}

/// The least that an own `ttl` may be.
const LEAST_TTL: Duration = Duration::from_secs(1);

impl Profile {
    /// The first thing it asks for that no container here can be, as field and reason.
    pub fn broken_rule(&self) -> Option<(&'static str, String)> {
        let other = |asked: &Option<Name>, only: &str| {
            asked.as_ref().is_some_and(|asked| asked.as_str() != only)
        };
        let kind =
            |only: &str| format!("must be `{only}` or left out: the installation has no other");
        if self.image.is_some() {
            Some(("profile.image", "must be left out: the installation's is used".to_owned()))
        } else if other(&self.sandbox_class, KIND) {
            Some(("profile.sandboxClass", kind(KIND)))
        } else if other(&self.network_policy, KIND) {
            Some(("profile.networkPolicy", kind(KIND)))
        } else if other(&self.workspace_root, WORKSPACE) {
            Some(("profile.workspaceRoot", kind(WORKSPACE)))
        } else if self.own_ttl().is_some_and(|ttl| ttl < LEAST_TTL) {
            Some(("profile.ttl", "must be at least a second, in nanoseconds".to_owned()))
        } else if self.env.len() > 64 {
            Some(("profile.env", "must have at most 64 variables".to_owned()))
        } else if self.env.keys().any(|name| name.as_str().starts_with("REEVE_")) {
            Some(("profile.env", "names beginning with REEVE_ are reserved".to_owned()))
        } else {
            None
        }
    }

    /// How long a container may be idle where its realm allows `most`.
    pub fn may_idle(&self, most: Duration) -> Duration {
        self.own_ttl().map_or(most, |ttl| ttl.min(most))
    }

    fn own_ttl(&self) -> Option<Duration> {
        self.ttl.filter(|&nanos| nanos > 0).map(Duration::from_nanos)
    }
}

/// The one kind of sandbox and of network that an installation has.
const KIND: &str = "default";

/// Where agents find their workspace.
const WORKSPACE: &str = "/workspace";

/// The most agents of one container.
pub const MAX_AGENTS: usize = 16;

/// How many runs a container takes at once where nobody says otherwise.
pub const CAPACITY: u32 = 4;

/// The most runs a container may be made to take at once.
pub const MAX_CAPACITY: u32 = 64;

const fn capacity() -> u32 {
    CAPACITY
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it so")]
const fn none(count: &u32) -> bool {
    *count == 0
}

/// A session that waits until its container takes another run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// The session.
    pub session: SessionId,
    /// Its agent.
    pub agent: AgentId,
}

/// Where the processes of agents run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_excessive_bools, reason = "each is stored, and true or not, by itself")]
pub struct Container {
    /// Its id.
    pub id: ContainerId,
    /// The realm it belongs to.
    pub realm: RealmId,
    /// The agents installed in it.
    pub agents: BTreeMap<AgentId, Instance>,
    /// Among which others it is found by who looks for a container for an agent; none where it was made
    /// for one agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    /// How many runs it takes at once.
    #[serde(default = "capacity")]
    pub capacity: u32,
    /// Whether it is kept running although it is idle.
    #[serde(default)]
    pub pinned: bool,
    /// Whether it was made to place an agent, not because somebody asked for it: it goes with the last agent
    /// in it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub for_agents: bool,
    /// What it is like.
    #[serde(default)]
    pub profile: Profile,
    /// Free text of whoever made it.
    #[serde(default)]
    pub metadata: Labels,
    /// Where it is.
    pub state: ContainerState,
    /// Which start this is: 0 before the first. Every report of the shim quotes it.
    pub generation: u32,
    /// The last start whose shim was heard of: what was given to a later one has reached nobody.
    #[serde(default, skip_serializing_if = "none")]
    pub heard_of: u32,
    /// When its present start began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begun_at: Option<Timestamp>,
    /// What went wrong since it was last well: see [`crate::reconcile`].
    #[serde(default, skip_serializing_if = "Failures::none")]
    pub failures: Failures,
    /// What its platform put around it, as its shim said last.
    #[serde(default, skip_serializing_if = "Standing::is_empty")]
    pub walls: Standing,
    /// The connection its shim speaks on.
    pub connection: Option<String>,
    /// The sessions with a run in flight, each with its agent.
    pub busy: BTreeMap<SessionId, AgentId>,
    /// The sessions that wait until it takes another run, in order.
    #[serde(default)]
    pub line: VecDeque<Waiting>,
    /// When its shim was last heard of, or when this generation was started.
    pub seen_at: Timestamp,
    /// Why the last start that is over ended. Stays while the next one runs: a session that listened
    /// to the old one may be settled only then.
    pub fault: Option<End>,
    /// When it last became idle.
    pub idle_at: Option<Timestamp>,
    /// Whether it is one of those that the realm may run: from before it is started until it counts as
    /// stopped.
    #[serde(default)]
    pub room: bool,
    /// Since when it waits for room.
    #[serde(default)]
    pub waits_since: Option<Timestamp>,
    /// Whether it is being stopped for one that waits.
    #[serde(default)]
    pub leaving: bool,
    /// When its agents are to be put away, where it stays stopped until then.
    #[serde(default)]
    pub archive_at: Option<Timestamp>,
    /// When it was first asked for.
    pub created_at: Timestamp,
    /// When its state last changed.
    pub updated_at: Timestamp,
}

/// What a shim says of an agent's process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    /// The number of what it did last of what was asked of that process.
    pub asked: u32,
    /// What became of it.
    pub event: InstanceEvent,
    /// Why, in a line for people.
    pub detail: Option<String>,
    /// The ways to log in that its agent offers, where it wants to be logged in.
    pub auth_methods: Vec<AuthMethod>,
    /// What stands around it.
    pub walls: Standing,
}

impl Container {
    /// A container that somebody needs and nobody has asked the platform for.
    pub fn requested(id: ContainerId, realm: RealmId, now: Timestamp) -> Self {
        Self {
            id,
            realm,
            agents: BTreeMap::new(),
            pool: None,
            capacity: CAPACITY,
            pinned: false,
            for_agents: false,
            profile: Profile::default(),
            metadata: Labels::new(),
            state: ContainerState::Requested,
            generation: 0,
            heard_of: 0,
            begun_at: None,
            failures: Failures::default(),
            walls: Standing::NONE,
            connection: None,
            busy: BTreeMap::new(),
            line: VecDeque::new(),
            seen_at: now,
            fault: None,
            idle_at: None,
            room: false,
            waits_since: None,
            leaving: false,
            archive_at: None,
            created_at: now,
            updated_at: now,
        }
    }

    /// The container after `event`, at `now`.
    pub fn apply(&self, event: ContainerEvent, now: Timestamp) -> Result<Self, Refused> {
        let state = ContainerLifecycle::step(self.state, event)?;
        let mut next = Self { state, ..self.clone() };
        if state != self.state {
            next.updated_at = now;
        }
        next.idle_at = match state {
            ContainerState::Idle | ContainerState::Ready => Some(self.idle_at.unwrap_or(now)),
            ContainerState::Requested
            | ContainerState::Provisioning
            | ContainerState::Starting
            | ContainerState::Busy
            | ContainerState::Hibernating
            | ContainerState::Stopped
            | ContainerState::Recovering
            | ContainerState::Failed
            | ContainerState::Deleting
            | ContainerState::Deleted => None,
        };
        if matches!(state, ContainerState::Stopped | ContainerState::Failed) {
            for instance in next.agents.values_mut().filter(|one| one.state.lives()) {
                *instance = instance.apply(InstanceEvent::Exit, None, now)?;
                instance.wish = None;
            }
        }
        Ok(next)
    }

    /// The agent whose workspace is at its root: the one it was made for, and nobody where it was made
    /// for any.
    pub const fn owner(&self) -> AgentId {
        AgentId::new(self.id.ulid())
    }

    /// Whether it was made for any agents, not for one.
    pub const fn is_shared(&self) -> bool {
        self.pool.is_some()
    }

    /// Whether it was made to place agents and none is left.
    pub fn is_left_over(&self) -> bool {
        let goes = matches!(self.state, ContainerState::Deleting | ContainerState::Deleted);
        self.for_agents && self.agents.is_empty() && !goes
    }

    /// The agents that a start of it is for: those with a run in flight, and those whose process
    /// somebody wants.
    pub fn needed(&self) -> BTreeSet<AgentId> {
        let wanted = self.agents.iter().filter(|(_, one)| one.state == InstanceState::Starting);
        self.busy.values().copied().chain(wanted.map(|(&agent, _)| agent)).collect()
    }

    /// The sessions of `agent` with a run in flight or in line.
    pub fn sessions_of(&self, agent: AgentId) -> Vec<SessionId> {
        let busy = self.busy.iter().filter(|&(_, &of)| of == agent).map(|(&session, _)| session);
        let waiting = self.line.iter().filter(|one| one.agent == agent).map(|one| one.session);
        busy.chain(waiting).collect()
    }

    /// The agent in it that is made of this.
    pub fn made_of(&self, made_of: &str) -> Option<AgentId> {
        let same = |one: &Instance| one.made_of.as_deref() == Some(made_of);
        self.agents.iter().find(|(_, one)| same(one)).map(|(&agent, _)| agent)
    }

    /// How well it suits an agent that is made of this and asks for such a profile: the greater the
    /// better. None where it cannot take it, or is busy with as much as it does at once.
    pub fn fitness(&self, profile: &Profile, made_of: &str) -> Option<(bool, bool, bool)> {
        let there = self.made_of(made_of).is_some();
        let goes = matches!(self.state, ContainerState::Deleting | ContainerState::Deleted);
        let full = !there && self.agents.len() >= MAX_AGENTS;
        let fits = self.is_shared() && self.profile == *profile && self.has_seat();
        if goes || full || !fits || !self.line.is_empty() {
            return None;
        }
        Some((self.state.is_connected(), self.state.takes_work(), there))
    }

    /// Whether it takes the next run of `session` now. Who comes while others wait does not go ahead
    /// of them.
    pub fn takes(&self, session: SessionId) -> bool {
        self.busy.contains_key(&session) || (self.line.is_empty() && self.has_seat())
    }

    fn has_seat(&self) -> bool {
        u32::try_from(self.busy.len()).is_ok_and(|busy| busy < self.capacity)
    }

    /// A run of `session` is to go on here: its agent is needed.
    pub fn occupy(
        &mut self,
        session: SessionId,
        agent: AgentId,
        now: Timestamp,
    ) -> Result<(), Refused> {
        self.busy.insert(session, agent);
        let instance = self.agents.entry(agent).or_insert_with(|| Instance::installed(None, now));
        let event = match instance.state {
            InstanceState::Ready | InstanceState::Running => InstanceEvent::Run,
            InstanceState::Starting => InstanceEvent::Start,
            InstanceState::Installing => return self.occupied(now),
            InstanceState::Installed
            | InstanceState::AuthRequired
            | InstanceState::Exited
            | InstanceState::Failed => InstanceEvent::Start,
        };
        *instance = instance.apply(event, None, now)?;
        self.occupied(now)
    }

    fn occupied(&mut self, now: Timestamp) -> Result<(), Refused> {
        if self.state.is_connected() {
            *self = self.apply(ContainerEvent::Occupied, now)?;
        }
        Ok(())
    }

    /// `session` has to wait until another run has ended. Waiting twice is waiting once.
    pub fn stand_in_line(&mut self, session: SessionId, agent: AgentId) {
        if self.line.iter().all(|waiting| waiting.session != session) {
            self.line.push_back(Waiting { session, agent });
        }
    }

    /// No run of `session` goes on here any more, nor waits to. Answers with the sessions whose turn it
    /// is now: they are busy.
    pub fn vacate(
        &mut self,
        session: SessionId,
        now: Timestamp,
    ) -> Result<Vec<SessionId>, Refused> {
        self.line.retain(|waiting| waiting.session != session);
        let agent = self.busy.remove(&session);
        let mut next = Vec::new();
        while self.has_seat()
            && let Some(Waiting { session, agent }) = self.line.pop_front()
        {
            self.occupy(session, agent, now)?;
            next.push(session);
        }
        if let Some(agent) = agent
            && !self.busy.values().any(|&other| other == agent)
            && let Some(instance) = self.agents.get_mut(&agent)
            && instance.state == InstanceState::Running
        {
            *instance = instance.apply(InstanceEvent::Ready, None, now)?;
        }
        if self.busy.is_empty() && self.state.is_connected() {
            *self = self.apply(ContainerEvent::Vacated, now)?;
        }
        Ok(next)
    }

    /// The shim says of an agent's process what became of it. Answers whether that is news.
    pub fn heard(&mut self, agent: AgentId, word: Word, now: Timestamp) -> bool {
        let Word { asked, event, detail, auth_methods, walls } = word;
        let running = self.busy.values().any(|&other| other == agent);
        let Some(instance) = self.agents.get_mut(&agent) else { return false };
        let before = instance.clone();
        if asked >= instance.asked {
            instance.wish = None;
        }
        // What is said of the processes before the last wish says nothing of those that follow.
        let ready = event == InstanceEvent::Ready;
        let event = if ready && running { InstanceEvent::Run } else { event };
        if asked >= instance.asked {
            // A word about the processes before may have come between: the shim knows.
            let started = || instance.apply(InstanceEvent::Start, None, now);
            let next = instance.apply(event, detail.clone(), now);
            if let Ok(next) = next.or_else(|_| started()?.apply(event, detail, now)) {
                *instance = next;
            }
            instance.offers_login(&auth_methods);
            instance.walls = walls;
        }
        *instance != before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lifecycle() {
        crate::machine::assert_sound::<ContainerLifecycle>();
        insta::assert_snapshot!(crate::machine::mermaid::<ContainerLifecycle>());
    }
}
