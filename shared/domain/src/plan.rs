//! What a container is started with, and what an agent in it is started with.
//!
//! A plan is compiled from what is stored, never from what a caller sends at the last moment:
//! whoever starts something only ever reads its plan.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::agent::{AgentSpec, Driver, Effort, Elicitations, Permissions, RunLimits};
use crate::bundle::{Bundle, BundleState};
use crate::container::{Profile, Resources};
use crate::realm::RealmPolicy;
use crate::registry::Platform;
use crate::session::{McpServer, Setup};
use crate::text::{RegistryId, Slug, Version};
use crate::{AgentId, ContainerId, Digest, RealmId};

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
    /// What each agent in it may take, where that is less than the installation allows. A platform with
    /// containers of several sizes chooses by it.
    pub resources: Resources,
}

/// Where bundles are seen in a container, read-only, each under its digest: also one that is made while
/// the container runs.
pub const BUNDLES: &str = "/bundles";

/// Where the files of a bundle are seen in a container.
pub fn bundle_path(content: Digest) -> String {
    format!("{BUNDLES}/{}", content.hex())
}

/// The bundle of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlannedBundle {
    /// The bundle.
    pub id: Digest,
    /// The agent of the registry.
    pub agent: RegistryId,
    /// Its version.
    pub version: Version,
    /// For what it was made.
    pub platform: Platform,
    /// The digest of its files.
    pub content: Digest,
}

/// Everything that decides how an agent runs.
///
/// It is compiled from the agent, its bundle, its realm's policy, the container it is in and the session
/// it works in, and from nothing that a caller sends with a prompt. It never changes: its name is the
/// SHA-256 of its canonical JSON. It holds no secret: what is secret is named, and added outside the
/// container. Not in it is what a session may be set to at any time: mode, model and options.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExecutionPlan {
    /// The realm.
    pub realm: RealmId,
    /// The agent.
    pub agent: AgentId,
    /// The process: program, environment, model, instructions, limits, permissions.
    pub process: AgentPlan,
    /// The bundle the program is of, where it is of one.
    pub bundle: Option<PlannedBundle>,
    /// What is mounted besides, by name.
    pub repositories: Vec<Slug>,
    /// Where it works: a path from its workspace on, or an absolute one; none: its workspace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub working_dir: Option<String>,
    /// The MCP servers that its conversation is opened with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mcp_servers: Vec<McpServer>,
    /// The realm's policy when it was compiled.
    pub policy: RealmPolicy,
}

/// Why a plan cannot be compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoPlan {
    /// The agent is one of the registry, and its bundle is not ready.
    #[error("the agent's bundle is not ready")]
    Bundle,
}

impl ExecutionPlan {
    /// Compiles the plan of an agent. `bundle` is that of its `registryAgent`, where it has one.
    pub fn compile(
        realm: RealmId,
        policy: RealmPolicy,
        agent: AgentId,
        spec: &AgentSpec,
        bundle: Option<&Bundle>,
    ) -> Result<Self, NoPlan> {
        let mut process = AgentPlan::compile(spec);
        let mut planned = None;
        if spec.registry_agent.is_some() {
            let bundle = bundle.filter(|bundle| bundle.state == BundleState::Ready);
            let (bundle, content) = bundle
                .and_then(|bundle| bundle.content.as_ref().map(|content| (bundle, content)))
                .ok_or(NoPlan::Bundle)?;
            let place = bundle_path(content.digest);
            let (args, mut env) = bundle.source.started_with();
            let own = content.env.iter();
            env.extend(own.map(|(name, value)| (name.clone(), value.replace("{bundle}", &place))));
            env.extend(std::mem::take(&mut process.env));
            process.env = env;
            process.command =
                content.entrypoint.iter().map(|p| p.replace("{bundle}", &place)).collect();
            process.command.extend(args);
            planned = Some(PlannedBundle {
                id: bundle.id,
                agent: bundle.agent.clone(),
                version: bundle.version.clone(),
                platform: bundle.platform,
                content: content.digest,
            });
        }
        let repositories = spec.repositories.clone();
        let (working_dir, mcp_servers) = (None, Vec::new());
        let bundle = planned;
        Ok(Self { realm, agent, process, bundle, repositories, working_dir, mcp_servers, policy })
    }

    /// The same in a container and a session: what the agent says of its environment is laid over the
    /// container's, and what the session says over that.
    #[must_use]
    pub fn within(mut self, profile: Option<&Profile>, setup: &Setup) -> Self {
        self.process.inherit(profile);
        let own = setup.env.iter();
        self.process.env.extend(own.map(|(name, value)| (name.to_string(), value.to_string())));
        self.working_dir = setup.working_dir.as_ref().map(ToString::to_string);
        self.mcp_servers.clone_from(&setup.mcp_servers);
        self
    }
}

/// What the shim needs to start an agent's process. Two plans that are equal make one process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AgentPlan {
    /// How it is driven.
    pub driver: Driver,
    /// The program and its arguments; empty for what is built into the shim.
    pub command: Vec<String>,
    /// How it is logged in before anything else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth_method: Option<String>,
    /// Environment of the agent's processes, beside what the shim sets.
    pub env: BTreeMap<String, String>,
    /// Where it is, where it is not in the container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// How much it is to think, unless a prompt says otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effort: Option<Effort>,
    /// The model, for the tool loop.
    pub model: Option<String>,
    /// Instructions put before every conversation.
    pub system_prompt: Option<String>,
    /// Where a run stops by itself.
    pub limits: RunLimits,
    /// What to answer when it asks for permission.
    pub permissions: Permissions,
    /// What to do when it asks for what only somebody knows.
    #[serde(default)]
    pub elicitations: Elicitations,
}

impl AgentPlan {
    /// Lays the environment over that of the container it is in.
    pub fn inherit(&mut self, profile: Option<&Profile>) {
        for (name, value) in profile.iter().flat_map(|profile| &profile.env) {
            self.env.entry(name.to_string()).or_insert_with(|| value.to_string());
        }
    }

    /// Compiles what `spec` says.
    pub fn compile(spec: &AgentSpec) -> Self {
        Self {
            driver: spec.driver,
            command: spec.command.iter().map(|part| part.as_str().to_owned()).collect(),
            auth_method: spec.auth_method.as_ref().map(|method| method.as_str().to_owned()),
            env: spec
                .env
                .iter()
                .map(|(name, value)| (name.as_str().to_owned(), value.as_str().to_owned()))
                .collect(),
            url: spec.url.as_ref().map(|url| url.as_str().to_owned()),
            effort: spec.effort,
            model: spec.model.as_ref().map(|model| model.as_str().to_owned()),
            system_prompt: spec.system_prompt.as_ref().map(|text| text.as_str().to_owned()),
            limits: spec.limits,
            permissions: spec.permissions,
            elicitations: spec.elicitations,
        }
    }
}
