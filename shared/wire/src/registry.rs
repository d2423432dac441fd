//! The catalog of agents: what a registry lists, and what a realm adds by hand.

use domain::Timestamp;
use domain::registry::{Distribution, Entry, Fault, Listed, Origin};
use domain::text::{Description, Name, RegistryId, Version};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// An agent to be added to the realm's catalog, or a version of one that is there.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewRegistryAgent {
    /// Its id. One that a registry lists, too, is the realm's own from then on.
    pub id: RegistryId,
    /// What people call it.
    pub name: Name,
    /// Which version this is; left out: `manual`.
    #[serde(default)]
    pub version: Option<Version>,
    /// What it is for.
    #[serde(default)]
    pub description: Option<Description>,
    /// How to get it, at least one way: `binary` by platform, `npx`, `uvx`.
    pub distribution: Distribution,
}

/// An agent of the catalog, at one version.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RegistryAgentView {
    /// Its id.
    pub id: RegistryId,
    /// Whether the registry lists it or somebody of the realm added it.
    pub origin: Origin,
    /// What people call it.
    pub name: Name,
    /// The version that is shown.
    pub version: Version,
    /// The present version.
    pub latest: Version,
    /// The versions that are known, the present one first.
    pub versions: Vec<Version>,
    /// What it is for.
    pub description: String,
    /// How to get it.
    pub distribution: Distribution,
    /// What else the registry says: authors, licence, repository and the like.
    pub about: Map<String, Value>,
    /// Since when the registry lists it no more.
    pub removed_at: Option<Timestamp>,
    /// When it was first seen.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

impl RegistryAgentView {
    /// What a caller sees of `entry`, a version of `listed`.
    pub fn new(listed: &Listed, entry: &Entry) -> Self {
        Self {
            id: entry.id.clone(),
            origin: listed.origin(),
            name: entry.name.clone(),
            version: entry.version.clone(),
            latest: listed.latest().unwrap_or(entry).version.clone(),
            versions: listed.versions.iter().map(|entry| entry.version.clone()).collect(),
            description: entry.description.as_str().to_owned(),
            distribution: entry.distribution.clone(),
            about: entry.more.clone(),
            removed_at: listed.removed_at,
            created_at: listed.first_seen_at,
            updated_at: listed.updated_at,
        }
    }
}

/// The state of the registry.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RegistryView {
    /// Where the document comes from, as the installation's operator says.
    pub source: String,
    /// The `ETag` of the document as it was read last.
    pub etag: Option<String>,
    /// The version of the document's form.
    pub version: Option<String>,
    /// How many agents it lists.
    pub agents: usize,
    /// When it was asked for last.
    pub checked_at: Option<Timestamp>,
    /// When it last brought something new.
    pub changed_at: Option<Timestamp>,
    /// When it will be asked for again, as far as that is planned.
    pub next_at: Option<Timestamp>,
    /// Why it could not be read the last time.
    pub error: Option<String>,
    /// Its entries that were left out, and why; the first hundred.
    pub faults: Vec<Fault>,
}
