//! What must be done later, or again: the intents of the outbox and the timers, one kind of thing.
//!
//! An errand is stored in the same commit as the state it follows from, and is deleted when what it
//! asks for is done. Carrying it out looks at the state as it is by then, never at what the errand
//! remembers: so doing it twice, late, or after a crash is the same as doing it once.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{AgentId, ContainerId, Digest, DueId, KeyId, RealmId, RunId, SessionId, Timestamp};

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Errand {
    /// See that the session's run in flight reaches its agent: start the container, push.
    Dispatch {
        /// The session.
        session: SessionId,
    },
    /// See that a run past its time ends.
    Expire {
        /// The session the run is in flight in.
        session: SessionId,
        /// The run.
        run: RunId,
    },
    /// Look after one start of a container: missed heartbeats, idleness.
    Watch {
        /// The container.
        container: ContainerId,
        /// The start. A later one has its own watch.
        generation: u32,
    },
    /// Look whether one start of a container is still there, because its shim's connection ended.
    Look {
        /// The container.
        container: ContainerId,
        /// The start.
        generation: u32,
    },
    /// See that what a start of the container that is over had in flight has ended.
    Settle {
        /// The container.
        container: ContainerId,
    },
    /// See that a container that is to stop has stopped.
    Stop {
        /// The container.
        container: ContainerId,
    },
    /// See that a container comes up that was started for nobody's run.
    Wake {
        /// The container.
        container: ContainerId,
    },
    /// See that a container is started again that somebody needs.
    Recover {
        /// The container.
        container: ContainerId,
        /// The start that failed.
        generation: u32,
    },
    /// Take a deleted container apart.
    Raze {
        /// The container.
        container: ContainerId,
    },
    /// Take a deleted agent apart.
    Dismantle {
        /// The agent.
        agent: AgentId,
    },
    /// Stop whatever a suspended realm runs.
    Quell,
    /// See that nobody listens with a key that has stopped working.
    Disconnect {
        /// The key.
        key: KeyId,
    },
    /// See that the workspace of an agent has a snapshot of how a run left it whose shim has not told of
    /// its end.
    Snapshot {
        /// The agent.
        agent: AgentId,
        /// The run.
        run: RunId,
    },
    /// See that a workspace becomes what a rollback or an import has decided.
    Restore {
        /// The agent.
        agent: AgentId,
    },
    /// Take away what is too much of a workspace's history, and blobs that nobody names.
    Collect {
        /// The agent.
        agent: AgentId,
    },
    /// See that no blob came late for an agent that has none any more.
    Clear {
        /// The agent.
        agent: AgentId,
    },
    /// Give what room there is to the containers of the realm that wait for it, and stop idle ones
    /// where there is none.
    Admit,
    /// Archive the agents of a container that has been stopped long enough.
    Archive {
        /// The container.
        container: ContainerId,
    },
    /// Remove the workspace and home of an agent that has been archived long enough.
    Reclaim {
        /// The agent.
        agent: AgentId,
    },
    /// Ask the registry whether it lists something new.
    SyncRegistry {
        /// Which sync this is. A later one has been planned where the registry's state says so.
        round: u64,
    },
    /// Make a bundle of what is downloaded.
    Resolve {
        /// The bundle.
        bundle: Digest,
        /// Which attempt this is.
        round: u32,
    },
    /// See that nothing is left of a deleted session.
    Erase {
        /// The session.
        session: SessionId,
    },
    /// Remove the events of a session that has been closed long enough.
    Forget {
        /// The session.
        session: SessionId,
    },
}

impl fmt::Display for Errand {
    /// Names what is asked for, within its realm.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dispatch { session } => write!(f, "dispatch:{session}"),
            Self::Expire { run, .. } => write!(f, "expire:{run}"),
            Self::Watch { container, generation } => write!(f, "watch:{container}:{generation}"),
            Self::Look { container, generation } => write!(f, "look:{container}:{generation}"),
            Self::Settle { container } => write!(f, "settle:{container}"),
            Self::Stop { container } => write!(f, "stop:{container}"),
            Self::Wake { container } => write!(f, "wake:{container}"),
            Self::Recover { container, generation } => {
                write!(f, "recover:{container}:{generation}")
            }
            Self::Raze { container } => write!(f, "raze:{container}"),
            Self::Dismantle { agent } => write!(f, "dismantle:{agent}"),
            Self::Quell => f.write_str("quell"),
            Self::Disconnect { key } => write!(f, "disconnect:{key}"),
            Self::Snapshot { agent, .. } => write!(f, "snapshot:{agent}"),
            Self::Restore { agent } => write!(f, "restore:{agent}"),
            Self::Collect { agent } => write!(f, "collect:{agent}"),
            Self::Clear { agent } => write!(f, "clear:{agent}"),
            Self::Admit => f.write_str("admit"),
            Self::Archive { container } => write!(f, "archive:{container}"),
            Self::Reclaim { agent } => write!(f, "reclaim:{agent}"),
            Self::SyncRegistry { round } => write!(f, "sync_registry:{round}"),
            Self::Resolve { bundle, round } => write!(f, "resolve:{bundle}:{round}"),
            Self::Erase { session } => write!(f, "erase:{session}"),
            Self::Forget { session } => write!(f, "forget:{session}"),
        }
    }
}

/// An errand with its time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Due {
    /// Sets it apart from another that asks for the same at the same time.
    pub id: DueId,
    /// When it may be carried out: its place in line.
    pub at: Timestamp,
    /// The realm it is in.
    pub realm: RealmId,
    /// What is to be done.
    pub errand: Errand,
    /// How often it has been tried.
    pub attempt: u32,
    /// Where a scheduler holds it, when that scheduler is given up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_until: Option<Timestamp>,
}

impl Due {
    /// `errand`, due at `at`, never tried.
    pub fn new(id: DueId, realm: RealmId, errand: Errand, at: Timestamp) -> Self {
        Self { id, at, realm, errand, attempt: 0, held_until: None }
    }

    /// From when on anybody may take it.
    pub fn free_at(&self) -> Timestamp {
        self.held_until.map_or(self.at, |until| until.max(self.at))
    }
}
