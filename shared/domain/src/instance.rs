//! An instance: one agent's processes inside a container, in one of its starts or between two.
//!
//! Invariants
//! - An agent has one place, so its instance has the agent's ULID and stays the same one however often
//!   its processes end and start again.
//! - Only a start that the shim reports, a run that is in flight and the end of the container move it.
//! - What somebody asked for has a number. A shim does what has a higher one than what it did last, and
//!   says the number with its report: so it does each once, and an old report says nothing of it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::{IntoStaticStr, VariantArray};

use crate::walls::Standing;
use crate::{AgentId, InstanceId, Machine, Refused, Timestamp};

/// Where an instance is.
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
pub enum InstanceState {
    /// What the agent is made of is being brought.
    Installing,
    /// It can be started.
    Installed,
    /// Its process is to start, or has and has not been heard of.
    Starting,
    /// Its process takes prompts.
    Ready,
    /// It wants credentials that it does not have.
    AuthRequired,
    /// A run of it is in flight.
    Running,
    /// Its process has ended. The next prompt, or somebody, starts it again.
    Exited,
    /// It could not be installed or started.
    Failed,
}

impl InstanceState {
    /// Whether it has a process, or is about to.
    pub const fn lives(self) -> bool {
        match self {
            Self::Starting | Self::Ready | Self::AuthRequired | Self::Running => true,
            Self::Installing | Self::Installed | Self::Exited | Self::Failed => false,
        }
    }
}

/// What can happen to an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, VariantArray, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum InstanceEvent {
    /// What it is made of is to be brought again.
    Install,
    /// What it is made of is there.
    Installed,
    /// Somebody or a run needs its process.
    Start,
    /// Its process takes prompts, or has ended its turn.
    Ready,
    /// It wants credentials.
    AuthRequired,
    /// A run is in flight.
    Run,
    /// Its process has ended.
    Exit,
    /// It could not be installed or started.
    Fail,
}

/// The lifecycle of an instance. It has no end: it goes with its agent or its container.
#[derive(Clone, Copy, Debug)]
pub struct InstanceLifecycle;

impl Machine for InstanceLifecycle {
    type State = InstanceState;
    type Event = InstanceEvent;
    const START: InstanceState = InstanceState::Installing;

    fn next(state: InstanceState, event: InstanceEvent) -> Option<InstanceState> {
        use InstanceEvent as E;
        use InstanceState as S;
        Some(match (state, event) {
            (S::Installing, E::Installed) => S::Installed,
            (S::Failed, E::Install) => S::Installing,
            (S::Installed | S::Exited | S::Failed | S::AuthRequired | S::Starting, E::Start) => {
                S::Starting
            }
            (S::Starting | S::AuthRequired | S::Running | S::Ready, E::Ready) => S::Ready,
            (S::Starting | S::Ready | S::Running | S::AuthRequired, E::AuthRequired) => {
                S::AuthRequired
            }
            (S::Starting | S::Ready | S::Running, E::Run) => S::Running,
            (S::Starting | S::Ready | S::AuthRequired | S::Running | S::Exited, E::Exit) => {
                S::Exited
            }
            (
                S::Installing
                | S::Installed
                | S::Starting
                | S::Ready
                | S::AuthRequired
                | S::Running
                | S::Failed,
                E::Fail,
            ) => S::Failed,
            (S::Installing | S::Ready | S::Running, E::Start)
            | (
                S::Installing
                | S::Installed
                | S::Starting
                | S::Ready
                | S::AuthRequired
                | S::Running
                | S::Exited,
                E::Install,
            )
            | (
                S::Installed
                | S::Starting
                | S::Ready
                | S::AuthRequired
                | S::Running
                | S::Exited
                | S::Failed,
                E::Installed,
            )
            | (S::Installing | S::Installed | S::Exited | S::Failed, E::Ready | E::AuthRequired)
            | (S::Installing | S::Installed | S::AuthRequired | S::Exited | S::Failed, E::Run)
            | (S::Installing | S::Installed | S::Failed, E::Exit)
            | (S::Exited, E::Fail) => return None,
        })
    }
}

/// The most ways to log in that are kept of an agent.
const MAX_AUTH_METHODS: usize = 16;
/// The most characters of an id and a name of one, and of what is said of it.
const AUTH_NAME: usize = 200;
const AUTH_DESCRIPTION: usize = 500;

/// A way to log in that an agent offers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AuthMethod {
    /// The agent's id of it: what `authMethod` of an agent may name.
    pub id: String,
    /// What the agent calls it.
    pub name: String,
    /// What the agent says of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

impl AuthMethod {
    /// As much of them as is kept, whatever an agent tells. One whose id is too long cannot be named,
    /// and is left out.
    pub fn kept(all: impl IntoIterator<Item = Self>) -> Vec<Self> {
        let cut = |text: String, most| text.chars().take(most).collect::<String>();
        let nameable = |one: &Self| !one.id.is_empty() && one.id.chars().count() <= AUTH_NAME;
        all.into_iter()
            .filter(nameable)
            .take(MAX_AUTH_METHODS)
            .map(|one| Self {
                id: one.id,
                name: cut(one.name, AUTH_NAME),
                description: one.description.map(|text| cut(text, AUTH_DESCRIPTION)),
            })
            .collect()
    }
}

/// One agent's place in a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Instance {
    /// Where it is.
    pub state: InstanceState,
    /// The digest of what a caller described, where the agent was made of that: the same description
    /// finds it again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made_of: Option<String>,
    /// How often somebody has asked for a start or a stop.
    #[serde(default)]
    pub asked: u32,
    /// What was asked for last, while the shim has not said that it is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wish: Option<Wish>,
    /// Why it failed or exited, in a line for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The ways to log in that it offers, while it wants credentials.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub auth_methods: Vec<AuthMethod>,
    /// What stands around its process, as the shim found it when it was last ready.
    #[serde(default, skip_serializing_if = "Standing::is_empty")]
    pub walls: Standing,
    /// When the agent was installed.
    pub created_at: Timestamp,
    /// When its state last changed.
    pub updated_at: Timestamp,
}

/// What somebody asked of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wish {
    /// That its process runs.
    Start,
    /// That its process does not run.
    Stop,
    /// That another process runs than the one before.
    Restart,
}

impl Instance {
    /// An agent that was installed just now: nothing has to be brought for it.
    pub fn installed(made_of: Option<String>, now: Timestamp) -> Self {
        Self {
            state: InstanceState::Installed,
            made_of,
            asked: 0,
            wish: None,
            detail: None,
            auth_methods: Vec::new(),
            walls: Standing::NONE,
            created_at: now,
            updated_at: now,
        }
    }

    /// The id of the instance of an agent.
    pub const fn id_of(agent: AgentId) -> InstanceId {
        InstanceId::new(agent.ulid())
    }

    /// The instance after `event`, at `now`.
    pub fn apply(
        &self,
        event: InstanceEvent,
        detail: Option<String>,
        now: Timestamp,
    ) -> Result<Self, Refused> {
        let state = InstanceLifecycle::step(self.state, event)?;
        let mut next = Self { state, ..self.clone() };
        if state != self.state {
            next.updated_at = now;
            next.detail = detail;
        }
        if state != InstanceState::AuthRequired {
            next.auth_methods.clear();
        }
        Ok(next)
    }

    /// Takes down the ways to log in that it offers, where it wants to be logged in.
    pub fn offers_login(&mut self, methods: &[AuthMethod]) {
        if self.state == InstanceState::AuthRequired {
            self.auth_methods = AuthMethod::kept(methods.iter().cloned());
        }
    }

    /// Takes down what somebody asks for. A start of what runs and a stop of what does not change
    /// nothing; the answer says whether the shim has anything to do.
    pub fn wish(&mut self, wish: Wish, now: Timestamp) -> Result<bool, Refused> {
        let lives = self.state.lives();
        match wish {
            Wish::Start if lives && self.wish != Some(Wish::Stop) => return Ok(false),
            Wish::Stop if !lives => {
                self.wish = None;
                return Ok(false);
            }
            Wish::Start | Wish::Restart if !lives => {
                *self = self.apply(InstanceEvent::Start, None, now)?;
            }
            Wish::Start | Wish::Stop | Wish::Restart => {}
        }
        self.asked += 1;
        self.wish = Some(wish);
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instance() -> Instance {
        Instance::installed(None, Timestamp::default())
    }

    #[test]
    fn lifecycle() {
        insta::assert_snapshot!(crate::machine::mermaid::<InstanceLifecycle>());
    }

    #[test]
    fn every_edge_of_agentd_is_one() {
        use InstanceState as S;
        let edge = |from, to| {
            InstanceEvent::VARIANTS.iter().any(|e| InstanceLifecycle::next(from, *e) == Some(to))
        };
        let edges: [(S, &[S]); 8] = [
            (S::Installing, &[S::Installed, S::Failed]),
            (S::Installed, &[S::Starting, S::Failed]),
            (S::Starting, &[S::Ready, S::AuthRequired, S::Failed]),
            (S::Ready, &[S::Running, S::AuthRequired, S::Exited, S::Failed]),
            (S::AuthRequired, &[S::Starting, S::Ready, S::Failed]),
            (S::Running, &[S::Ready, S::Exited, S::Failed]),
            (S::Exited, &[S::Starting]),
            (S::Failed, &[S::Installing, S::Starting]),
        ];
        for (from, all) in edges {
            for &to in all {
                assert!(edge(from, to), "{from:?} to {to:?}");
            }
        }
    }

    #[test]
    fn what_an_agent_offers_is_bounded_and_kept_while_it_wants_it() {
        let now = Timestamp::from_millis(5);
        let method = |id: &str| AuthMethod {
            id: id.to_owned(),
            name: "n".repeat(300),
            description: Some("d".repeat(1000)),
        };
        let mut told = vec![method(""), method(&"x".repeat(201))];
        told.extend((0..20).map(|n| method(&n.to_string())));
        let mut one = instance().apply(InstanceEvent::Start, None, now).unwrap();
        one.offers_login(&told);
        assert_eq!(one.auth_methods, []);
        one = one.apply(InstanceEvent::AuthRequired, None, now).unwrap();
        one.offers_login(&told);
        assert_eq!((one.auth_methods.len(), one.auth_methods[0].id.as_str()), (16, "0"));
        let first = &one.auth_methods[0];
        assert_eq!((first.name.len(), first.description.as_ref().unwrap().len()), (200, 500));
        one = one.apply(InstanceEvent::Ready, None, now).unwrap();
        assert_eq!(one.auth_methods, []);
    }

    #[test]
    fn asking_again_asks_once() {
        let now = Timestamp::from_millis(5);
        let mut one = instance();
        assert_eq!(one.wish(Wish::Stop, now), Ok(false));
        assert_eq!(one.wish(Wish::Start, now), Ok(true));
        assert_eq!(one.state, InstanceState::Starting);
        assert_eq!(one.wish(Wish::Start, now), Ok(false));
        assert_eq!(one.wish(Wish::Restart, now), Ok(true));
        assert_eq!((one.asked, one.wish), (2, Some(Wish::Restart)));
        one = one.apply(InstanceEvent::Ready, None, now).unwrap();
        assert_eq!(one.wish(Wish::Stop, now), Ok(true));
        assert_eq!(one.wish(Wish::Start, now), Ok(true), "who is being stopped does not run");
    }
}
