//! What a container is started with, and what an agent in it is started with.
//!
//! A plan is compiled from what is stored, never from what a caller sends at the last moment:
//! whoever starts something only ever reads its plan.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::agent::{AgentSpec, Driver, Permissions, RunLimits};
use crate::text::Slug;
use crate::{AgentId, ContainerId, RealmId};

/// What the platform needs to start one container, once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerPlan {
    /// The realm it belongs to.
    pub realm: RealmId,
    /// The agent it is for: its workspace and home are mounted.
    pub agent: AgentId,
    /// The container.
    pub container: ContainerId,
    /// Which start this is. Asking twice for one start is asking once.
    pub generation: u32,
    /// The token its shim proves itself with. Never logged.
    pub token: String,
    /// Repositories the operator offers, to be mounted read-only at `/repositories/<name>`.
    pub repositories: Vec<Slug>,
}

/// What the shim needs to start an agent's process. Two plans that are equal make one process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AgentPlan {
    /// How it is driven.
    pub driver: Driver,
    /// The program and its arguments; empty for what is built into the shim.
    pub command: Vec<String>,
    /// Environment of the agent's processes, beside what the shim sets.
    pub env: BTreeMap<String, String>,
    /// The model, for the tool loop.
    pub model: Option<String>,
    /// Instructions put before every conversation.
    pub system_prompt: Option<String>,
    /// Where a run stops by itself.
    pub limits: RunLimits,
    /// What to answer when it asks for permission.
    pub permissions: Permissions,
}

impl AgentPlan {
    /// Compiles what `spec` says.
    pub fn compile(spec: &AgentSpec) -> Self {
        Self {
            driver: spec.driver,
            command: spec.command.iter().map(|part| part.as_str().to_owned()).collect(),
            env: spec
                .env
                .iter()
                .map(|(name, value)| (name.as_str().to_owned(), value.as_str().to_owned()))
                .collect(),
            model: spec.model.as_ref().map(|model| model.as_str().to_owned()),
            system_prompt: spec.system_prompt.as_ref().map(|text| text.as_str().to_owned()),
            limits: spec.limits,
            permissions: spec.permissions,
        }
    }
}
