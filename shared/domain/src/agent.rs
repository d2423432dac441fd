//! An agent: durable settings, a workspace, and at most one container.
//!
//! Invariants: a deleting agent only ever becomes gone; a paused or archived agent has no running
//! container; a prompt wakes either, reading never does.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::{EnumString, IntoStaticStr, VariantArray};

pub use crate::permission::{Elicitations, Permissions};
use crate::registry::Reference;
use crate::text::{Argument, Instructions, LabelKey, LabelValue, Name, Slug, VariableName};
use crate::{AgentId, ContainerId, Digest, Machine, RealmId, TemplateId, Timestamp};

/// How an agent is driven. Whatever the driver, what it says is told in ACP's words.
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
pub enum Driver {
    /// A program that speaks the Agent Client Protocol on its standard streams. Without a command
    /// it is the echo agent, which says back what it is told and can play scripted faults.
    #[serde(alias = "echo")]
    Acp,
    /// Our own tool loop over an Anthropic- or OpenAI-shaped model endpoint.
    Vanilla,
    /// A program that is run once for each prompt: the prompt on its standard input, the answer on
    /// its standard output.
    Process,
    /// An address outside the container that is asked once for each prompt.
    Http,
}

/// How much an agent is to think before it answers, where it can be told.
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
pub enum Effort {
    /// A little.
    Low,
    /// As usual.
    Medium,
    /// A lot.
    High,
    /// As much as it can.
    Max,
}

/// Where a run stops by itself. Zero is refused; a value over the maximum is refused, not clipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct RunLimits {
    /// Model calls in one run.
    #[serde(alias = "max_turns")]
    #[schemars(range(min = 1, max = 1000))]
    pub max_turns: u32,
    /// Tokens, in and out, in one run.
    #[serde(alias = "max_tokens")]
    #[schemars(range(min = 1, max = 100_000_000))]
    pub max_tokens: u64,
    /// Seconds from the moment the agent gets the prompt.
    #[serde(alias = "timeout_seconds")]
    #[schemars(range(min = 1, max = 86_400))]
    pub timeout_seconds: u32,
}

impl Default for RunLimits {
    fn default() -> Self {
        Self { max_turns: 50, max_tokens: 2_000_000, timeout_seconds: 1800 }
    }
}

impl RunLimits {
    /// The first limit that is out of range, as field and reason.
    pub fn out_of_range(&self) -> Option<(&'static str, &'static str)> {
        if !(1..=1000).contains(&self.max_turns) {
            Some(("maxTurns", "must be 1 to 1000"))
        } else if !(1..=100_000_000).contains(&self.max_tokens) {
            Some(("maxTokens", "must be 1 to 100000000"))
        } else if !(1..=86_400).contains(&self.timeout_seconds) {
            Some(("timeoutSeconds", "must be 1 to 86400"))
        } else {
            None
        }
    }
}

/// What an agent is: everything a template can save.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AgentSpec {
    /// How it is driven.
    pub driver: Driver,
    /// The program and its arguments, for the drivers `acp` and `process`. An `acp` agent without it is
    /// the built-in echo agent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub command: Vec<Argument>,
    /// The agent of the realm's catalog that it is, for the `acp` driver, instead of a command: its
    /// bundle is downloaded, verified and mounted read-only.
    #[serde(default, skip_serializing_if = "Option::is_none", alias = "registry_agent")]
    pub registry_agent: Option<Reference>,
    /// The way in which the agent is logged in once it has started, one of those it offers, for the
    /// `acp` driver. Without it, it is logged in when it asks for it, in a way that asks nobody.
    #[serde(default, skip_serializing_if = "Option::is_none", alias = "auth_method")]
    pub auth_method: Option<Slug>,
    /// Where it is, for the `http` driver: an address that the installation's operator lets agents
    /// reach.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<Argument>,
    /// How much it is to think, unless a prompt says otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effort: Option<Effort>,
    /// The model, for the `vanilla` driver. Without it, the first one the installation offers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<Slug>,
    /// Instructions put before every conversation.
    #[serde(default, skip_serializing_if = "Option::is_none", alias = "system_prompt")]
    pub system_prompt: Option<Instructions>,
    /// Environment variables of the agent's processes. Not for secrets: they read back.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    pub env: BTreeMap<VariableName, Argument>,
    /// Where a run stops by itself.
    #[serde(default)]
    pub limits: RunLimits,
    /// What to answer when the agent asks for permission.
    #[serde(default)]
    pub permissions: Permissions,
    /// What to do when it asks for what only somebody knows.
    #[serde(default)]
    pub elicitations: Elicitations,
    /// Repositories the installation's operator offers, by name; each is mounted read-only at
    /// `/repositories/<name>`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub repositories: Vec<Slug>,
}

/// The most bytes of a spec as JSON: an agent and its sealed answer each fit one item of the table.
const MAX_SPEC: usize = 200_000;

impl AgentSpec {
    /// A spec with nothing but its driver.
    pub fn of(driver: Driver) -> Self {
        Self {
            driver,
            command: Vec::new(),
            registry_agent: None,
            auth_method: None,
            url: None,
            effort: None,
            model: None,
            system_prompt: None,
            env: BTreeMap::new(),
            limits: RunLimits::default(),
            permissions: Permissions::default(),
            elicitations: Elicitations::default(),
            repositories: Vec::new(),
        }
    }

    /// The first rule the spec breaks that its types do not already keep, as field and reason.
    pub fn broken_rule(&self) -> Option<(&'static str, &'static str)> {
        if self.command.len() > 64 {
            Some(("command", "must have at most 64 parts"))
        } else if self.command.first().is_some_and(|program| program.as_str().is_empty()) {
            Some(("command", "must begin with a program"))
        } else if !matches!(self.driver, Driver::Acp | Driver::Process) && !self.command.is_empty()
        {
            Some(("command", "only the drivers acp and process run a command"))
        } else if self.driver == Driver::Process && self.command.is_empty() {
            Some(("command", "the process driver needs one"))
        } else if (self.driver == Driver::Http) != self.url.is_some() {
            Some(("url", "is for the http driver, which needs one"))
        } else if self.url.as_ref().is_some_and(|url| !is_address(url.as_str())) {
            Some(("url", "must be an http or https address of visible ASCII characters"))
        } else if self.registry_agent.is_some()
            && (self.driver != Driver::Acp || !self.command.is_empty())
        {
            Some(("registryAgent", "is for the acp driver, and instead of a command"))
        } else if self.auth_method.is_some() && self.driver != Driver::Acp {
            Some(("authMethod", "only the acp driver logs in"))
        } else if self.env.len() > 64 {
            Some(("env", "must have at most 64 variables"))
        } else if self.env.keys().any(|name| name.as_str().starts_with("REEVE_")) {
            Some(("env", "names beginning with REEVE_ are reserved"))
        } else if self.repositories.len() > 16 {
            Some(("repositories", "must have at most 16 names"))
        } else if serde_json::to_vec(self).map_or(usize::MAX, |json| json.len()) > MAX_SPEC {
            Some(("env", "must with all else be at most 200000 bytes of JSON"))
        } else {
            self.limits.out_of_range()
        }
    }
}

/// Whether `text` looks like an address. Whether it can be reached is for egress to say.
fn is_address(text: &str) -> bool {
    let host = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    host.is_some_and(|host| !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_graphic()))
}

/// Where an agent is.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    JsonSchema,
    VariantArray,
    IntoStaticStr,
    EnumString,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum AgentState {
    /// Takes prompts.
    Active,
    /// Has no running container. A prompt wakes it.
    Paused,
    /// Has been put away: no running container, and out of the way of those that work. A prompt
    /// wakes it.
    Archived,
    /// Is being taken apart: no route finds it any more.
    Deleting,
    /// Is gone.
    Deleted,
}

/// What can happen to an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, VariantArray, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum AgentEvent {
    /// Somebody stops its container. Pausing a paused agent changes nothing.
    Pause,
    /// Somebody lets a paused one go on. Resuming an active agent changes nothing.
    Resume,
    /// Somebody puts it away. Archiving an archived agent changes nothing.
    Archive,
    /// Somebody takes an archived one out again. Restoring an active agent changes nothing.
    Restore,
    /// A prompt needs it.
    Wake,
    /// Somebody removes it for good.
    Delete,
    /// Nothing of it is left.
    Gone,
}

/// The lifecycle of an agent.
#[derive(Clone, Copy, Debug)]
pub struct AgentLifecycle;

impl Machine for AgentLifecycle {
    type State = AgentState;
    type Event = AgentEvent;
    const START: AgentState = AgentState::Active;

    fn next(state: AgentState, event: AgentEvent) -> Option<AgentState> {
        use AgentEvent as E;
        use AgentState as S;
        Some(match (state, event) {
            (S::Active | S::Paused, E::Pause) => S::Paused,
            (S::Active | S::Paused, E::Resume) => S::Active,
            (S::Active | S::Paused | S::Archived, E::Archive) => S::Archived,
            (S::Active | S::Archived, E::Restore) => S::Active,
            (S::Active | S::Paused | S::Archived, E::Wake) => S::Active,
            (S::Active | S::Paused | S::Archived | S::Deleting, E::Delete) => S::Deleting,
            (S::Deleting, E::Gone) => S::Deleted,
            (S::Active | S::Paused | S::Archived, E::Gone)
            | (S::Archived, E::Pause | E::Resume)
            | (S::Paused, E::Restore)
            | (S::Deleting, E::Pause | E::Resume | E::Archive | E::Restore | E::Wake)
            | (
                S::Deleted,
                E::Pause | E::Resume | E::Archive | E::Restore | E::Wake | E::Delete | E::Gone,
            ) => return None,
        })
    }
}

/// The agent was archived for so long that its workspace was removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the agent was archived for so long that its workspace was removed; make a new one")]
pub struct Reclaimed;

/// Free text by which agents are found again.
pub type Labels = BTreeMap<LabelKey, LabelValue>;

/// The most labels one agent may carry.
pub const MAX_LABELS: usize = 16;

/// A durable agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Agent {
    /// Its id.
    pub id: AgentId,
    /// The realm it belongs to.
    pub realm: RealmId,
    /// What people call it.
    pub name: Name,
    /// Free text by which it is found again.
    pub labels: Labels,
    /// What it is.
    pub spec: AgentSpec,
    /// The template it was made from, where it was.
    pub template: Option<TemplateId>,
    /// Where it is.
    pub state: AgentState,
    /// Its container, once it has had one.
    pub container: Option<ContainerId>,
    /// The plan that its spec compiles to; none where that takes a bundle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<Digest>,
    /// When its workspace and home are to be removed, where it stays archived until then.
    #[serde(default)]
    pub reclaim_at: Option<Timestamp>,
    /// When they were: there is nothing left to wake.
    #[serde(default)]
    pub reclaimed_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

impl Agent {
    /// The agent in `state`, at `now`. One that is archived is to be reclaimed after `reclaim_after`;
    /// none: never.
    #[must_use]
    pub fn moved(
        &self,
        state: AgentState,
        now: Timestamp,
        reclaim_after: Option<Duration>,
    ) -> Self {
        let reclaim_at = match state {
            AgentState::Archived if self.reclaimed_at.is_none() => {
                reclaim_after.map(|after| now.after(after))
            }
            AgentState::Archived
            | AgentState::Active
            | AgentState::Paused
            | AgentState::Deleting
            | AgentState::Deleted => None,
        };
        Self { state, reclaim_at, updated_at: now, ..self.clone() }
    }

    /// Fails where there is nothing left to work with.
    pub fn has_workspace(&self) -> Result<(), Reclaimed> {
        if self.reclaimed_at.is_some() { Err(Reclaimed) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lifecycle() {
        crate::machine::assert_sound::<AgentLifecycle>();
        insta::assert_snapshot!(crate::machine::mermaid::<AgentLifecycle>());
    }
}
