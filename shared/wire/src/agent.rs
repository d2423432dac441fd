//! Agents, and the fields of a spec as requests give them.

use std::collections::BTreeMap;

use domain::agent::{
    Agent, AgentSpec, AgentState, Driver, Effort, Elicitations, Labels, Permissions, RunLimits,
};
use domain::registry::Reference;
use domain::text::{Argument, Instructions, Name, Slug, VariableName};
use domain::{AgentId, ContainerId, Digest, TemplateId, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Field;

/// Declares a request with the fields of a spec beside its own. (`flatten` would let unknown fields
/// through.)
macro_rules! with_spec_fields {
    ($(#[$meta:meta])* pub struct $name:ident { $($own:tt)* }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, Deserialize, JsonSchema)]
        #[serde(rename_all = "camelCase", deny_unknown_fields)]
        pub struct $name {
            $($own)*
            /// How it is driven.
            #[serde(default)]
            pub driver: Option<Driver>,
            /// The program and its arguments, for the drivers `acp` and `process`; an `acp` agent
            /// without it is the echo agent.
            #[serde(default)]
            #[schemars(length(max = 64))]
            pub command: Field<Vec<Argument>>,
            /// The agent of the realm's catalog that it is, for the `acp` driver, instead of a
            /// command: its id, or `id@version`.
            #[serde(default, alias = "registry_agent")]
            pub registry_agent: Field<Reference>,
            /// The way in which the agent is logged in once it has started, one of those it offers,
            /// for the `acp` driver.
            #[serde(default, alias = "auth_method")]
            pub auth_method: Field<Slug>,
            /// Where it is, for the `http` driver: an address that the operator lets agents reach.
            #[serde(default)]
            pub url: Field<Argument>,
            /// How much it is to think, unless a prompt says otherwise.
            #[serde(default)]
            pub effort: Field<Effort>,
            /// The model, for the `vanilla` driver.
            #[serde(default)]
            pub model: Field<Slug>,
            /// Instructions put before every conversation.
            #[serde(default, alias = "system_prompt")]
            pub system_prompt: Field<Instructions>,
            /// Environment variables of the agent's processes. Not for secrets: they read back.
            #[serde(default)]
            #[schemars(extend("maxProperties" = 64))]
            pub env: Field<BTreeMap<VariableName, Argument>>,
            /// Where a run stops by itself.
            #[serde(default)]
            pub limits: Field<RunLimits>,
            /// What to answer when the agent asks for permission.
            #[serde(default)]
            pub permissions: Field<Permissions>,
            /// What to do when the agent asks for what only somebody knows.
            #[serde(default)]
            pub elicitations: Field<Elicitations>,
            /// Repositories the installation's operator offers, by name.
            #[serde(default)]
            #[schemars(length(max = 16))]
            pub repositories: Field<Vec<Slug>>,
        }

        impl $name {
            /// The spec that comes of laying this request over `base`.
            pub fn spec_over(&self, base: AgentSpec) -> AgentSpec {
                AgentSpec {
                    driver: self.driver.unwrap_or(base.driver),
                    command: self.command.clone().overlay(base.command, Vec::new()),
                    registry_agent: self
                        .registry_agent
                        .clone()
                        .overlay_optional(base.registry_agent),
                    auth_method: self.auth_method.clone().overlay_optional(base.auth_method),
                    url: self.url.clone().overlay_optional(base.url),
                    effort: self.effort.clone().overlay_optional(base.effort),
                    model: self.model.clone().overlay_optional(base.model),
                    system_prompt: self.system_prompt.clone().overlay_optional(base.system_prompt),
                    env: self.env.clone().overlay(base.env, BTreeMap::new()),
                    limits: self.limits.clone().overlay(base.limits, RunLimits::default()),
                    permissions: self
                        .permissions
                        .clone()
                        .overlay(base.permissions, Permissions::default()),
                    elicitations: self
                        .elicitations
                        .clone()
                        .overlay(base.elicitations, Elicitations::default()),
                    repositories: self.repositories.clone().overlay(base.repositories, Vec::new()),
                }
            }
        }
    };
}
pub(crate) use with_spec_fields;

with_spec_fields! {
    /// An agent to be made: from a template, or from scratch with at least a driver. What is given
    /// beside a template replaces what the template says.
    pub struct NewAgent {
        /// What people call it.
        pub name: Name,
        /// The template to make it from.
        #[serde(default, alias = "template_id")]
        pub template_id: Option<TemplateId>,
        /// Free text by which it is found again; at most 16.
        #[serde(default)]
        #[schemars(extend("maxProperties" = 16))]
        pub labels: Labels,
    }
}

with_spec_fields! {
    /// What to change of an agent. What is left out stays; null goes back to the default.
    pub struct AgentPatch {
        /// What people call it.
        #[serde(default)]
        pub name: Option<Name>,
        /// Free text by which it is found again; replaces all labels; at most 16.
        #[serde(default)]
        #[schemars(extend("maxProperties" = 16))]
        pub labels: Field<Labels>,
    }
}

/// How to pause or archive an agent.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rest {
    /// Whether to stop runs that are in flight; without it a busy agent is refused.
    #[serde(default)]
    pub force: bool,
}

/// An agent.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AgentView {
    /// Its id.
    pub id: AgentId,
    /// What people call it.
    pub name: Name,
    /// Where it is.
    pub state: AgentState,
    /// Free text by which it is found again.
    pub labels: Labels,
    /// The template it was made from, where it was.
    pub template_id: Option<TemplateId>,
    /// How it is driven.
    pub driver: Driver,
    /// The program and its arguments.
    pub command: Vec<Argument>,
    /// The agent of the realm's catalog it is, where it is one.
    pub registry_agent: Option<Reference>,
    /// The way in which it is logged in once it has started, where one was chosen.
    pub auth_method: Option<Slug>,
    /// Where it is, where it is not in its container.
    pub url: Option<Argument>,
    /// How much it is to think.
    pub effort: Option<Effort>,
    /// The model.
    pub model: Option<Slug>,
    /// Instructions put before every conversation.
    pub system_prompt: Option<Instructions>,
    /// Environment variables of its processes.
    pub env: BTreeMap<VariableName, Argument>,
    /// Where a run stops by itself.
    pub limits: RunLimits,
    /// What to answer when it asks for permission.
    pub permissions: Permissions,
    /// What to do when it asks for what only somebody knows.
    pub elicitations: Elicitations,
    /// Repositories it sees.
    pub repositories: Vec<Slug>,
    /// Its container, once it has had one.
    pub container_id: Option<ContainerId>,
    /// The plan its next run is executed by; null for an agent of the catalog, whose plan is compiled
    /// when its bundle is ready.
    pub plan: Option<Digest>,
    /// When its workspace and home were removed, because it was archived for so long: nothing wakes it
    /// any more.
    pub reclaimed_at: Option<Timestamp>,
    /// Which version this is: what `If-Match` compares.
    pub version: u64,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

impl AgentView {
    /// What a caller sees of `agent` at `version`.
    pub fn new(agent: &Agent, version: u64) -> Self {
        let spec = agent.spec.clone();
        Self {
            id: agent.id,
            name: agent.name.clone(),
            state: agent.state,
            labels: agent.labels.clone(),
            template_id: agent.template,
            driver: spec.driver,
            command: spec.command,
            registry_agent: spec.registry_agent,
            auth_method: spec.auth_method,
            url: spec.url,
            effort: spec.effort,
            model: spec.model,
            system_prompt: spec.system_prompt,
            env: spec.env,
            limits: spec.limits,
            permissions: spec.permissions,
            elicitations: spec.elicitations,
            repositories: spec.repositories,
            container_id: agent.container,
            reclaimed_at: agent.reclaimed_at,
            plan: agent.plan,
            version,
            created_at: agent.created_at,
            updated_at: agent.updated_at,
        }
    }
}
