//! Templates.

use std::collections::BTreeMap;

use domain::agent::{AgentSpec, Driver, Effort, Elicitations, Permissions, RunLimits};
use domain::registry::Reference;
use domain::template::Template;
use domain::text::{Argument, Description, Instructions, Name, Slug, VariableName};
use domain::{TemplateId, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Field;
use crate::agent::with_spec_fields;

with_spec_fields! {
    /// A template to be made, with at least a driver.
    pub struct NewTemplate {
        /// What people call it.
        pub name: Name,
        /// What it is for.
        #[serde(default)]
        pub description: Option<Description>,
    }
}

with_spec_fields! {
    /// What to change of a template. What is left out stays; null goes back to the default.
    pub struct TemplatePatch {
        /// What people call it.
        #[serde(default)]
        pub name: Option<Name>,
        /// What it is for.
        #[serde(default)]
        pub description: Option<Description>,
    }
}

/// How to clone a template.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CloneTemplate {
    /// What people call the copy; left out: the name of the original.
    #[serde(default)]
    pub name: Option<Name>,
}

/// A template.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TemplateView {
    /// Its id.
    pub id: TemplateId,
    /// What people call it.
    pub name: Name,
    /// What it is for.
    pub description: Description,
    /// Whether it comes with Reeve, belongs to no realm and never changes.
    pub built_in: bool,
    /// How agents made from it are driven.
    pub driver: Driver,
    /// The program and its arguments.
    pub command: Vec<Argument>,
    /// The agent of the realm's catalog it is, where it is one.
    pub registry_agent: Option<Reference>,
    /// The way in which the agents are logged in once they have started, where one was chosen.
    pub auth_method: Option<Slug>,
    /// Where they are, where they are not in a container.
    pub url: Option<Argument>,
    /// How much they are to think.
    pub effort: Option<Effort>,
    /// The model.
    pub model: Option<Slug>,
    /// Instructions put before every conversation.
    pub system_prompt: Option<Instructions>,
    /// Environment variables of the agents' processes.
    pub env: BTreeMap<VariableName, Argument>,
    /// Where a run stops by itself.
    pub limits: RunLimits,
    /// What to answer when an agent asks for permission.
    pub permissions: Permissions,
    /// What to do when an agent asks for what only somebody knows.
    pub elicitations: Elicitations,
    /// Repositories the agents see.
    pub repositories: Vec<Slug>,
    /// Which version this is: what `If-Match` compares.
    pub version: u64,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

impl TemplateView {
    /// What a caller sees of `template` at `version`; 0 for a built-in one.
    pub fn new(template: &Template, version: u64) -> Self {
        let spec: AgentSpec = template.spec.clone();
        Self {
            id: template.id,
            name: template.name.clone(),
            description: template.description.clone(),
            built_in: template.realm.is_none(),
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
            version,
            created_at: template.created_at,
            updated_at: template.updated_at,
        }
    }
}
