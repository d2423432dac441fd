//! A container: where an agent's processes run. One row outlives many starts.
//!
//! Invariants
//! - Each start has its own generation; a report from another generation changes nothing.
//! - `busy` names the sessions whose run is to go on here. A connected container is `Busy` exactly
//!   while it names one.
//! - A deleted container never changes again.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::{IntoStaticStr, VariantArray};

use crate::run::End;
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
    /// Whether the platform may hold a process for it: what the reconciler expects to find.
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

/// Where an agent's processes run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Container {
    /// Its id.
    pub id: ContainerId,
    /// The realm it belongs to.
    pub realm: RealmId,
    /// The agent it is for.
    pub agent: AgentId,
    /// Where it is.
    pub state: ContainerState,
    /// Which start this is: 0 before the first. Every report of the shim quotes it.
    pub generation: u32,
    /// The connection its shim speaks on.
    pub connection: Option<String>,
    /// The sessions with a run in flight.
    pub busy: BTreeSet<SessionId>,
    /// When its shim was last heard of, or when this generation was started.
    pub seen_at: Timestamp,
    /// Why the last start that is over ended. Stays while the next one runs: a session that listened
    /// to the old one may be settled only then.
    pub fault: Option<End>,
    /// When it last became idle.
    pub idle_at: Option<Timestamp>,
    /// When it was first asked for.
    pub created_at: Timestamp,
    /// When its state last changed.
    pub updated_at: Timestamp,
}

impl Container {
    /// A container that somebody needs and nobody has asked the platform for.
    pub fn requested(id: ContainerId, realm: RealmId, agent: AgentId, now: Timestamp) -> Self {
        Self {
            id,
            realm,
            agent,
            state: ContainerState::Requested,
            generation: 0,
            connection: None,
            busy: BTreeSet::new(),
            seen_at: now,
            fault: None,
            idle_at: None,
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
        Ok(next)
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
