//! Bundles: agents of the catalog as verified files.

use domain::bundle::{Bundle, BundleFault, BundleState, Content, Kind, Pinned};
use domain::registry::Platform;
use domain::text::{RegistryId, Version};
use domain::{Digest, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A bundle to be resolved.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewBundle {
    /// The agent of the catalog.
    #[serde(alias = "registryAgentId", alias = "agent_id", alias = "agentId")]
    pub registry_agent: RegistryId,
    /// Its version; left out: the present one.
    #[serde(default)]
    pub version: Option<Version>,
    /// What it is for: `linux-x86_64`, `linux/arm64` and the like; left out: where agents run.
    #[serde(default)]
    pub platform: Option<Platform>,
    /// How to get it, where there are several ways.
    #[serde(default)]
    pub distribution: Option<Kind>,
}

/// A bundle.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BundleView {
    /// Its id: the digest of what was asked for.
    pub id: Digest,
    /// The digest of its files, once they are there: finds it, too.
    pub digest: Option<Digest>,
    /// The agent of the catalog.
    pub registry_agent: RegistryId,
    /// Its version.
    pub version: Version,
    /// For what it is made.
    pub platform: Platform,
    /// How it is got.
    pub distribution: Kind,
    /// Where it is.
    pub state: BundleState,
    /// The version of the package that was taken, where it is a package.
    pub package_version: Option<String>,
    /// What the source says the download is: `sha256:<hex>` or `sha512-<base64>`.
    pub integrity: Option<String>,
    /// Its files, once they are there.
    pub content: Option<Content>,
    /// Why it could not be made.
    pub fault: Option<BundleFault>,
    /// When it was asked for first.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

impl From<&Bundle> for BundleView {
    fn from(bundle: &Bundle) -> Self {
        let (package_version, integrity) = match &bundle.pinned {
            None => (None, None),
            Some(Pinned::Binary { sha256, .. }) => (None, sha256.map(|digest| digest.to_string())),
            Some(Pinned::Npx { version, integrity, .. }) => {
                (Some(version.clone()), Some(integrity.clone()))
            }
            Some(Pinned::Uvx { version, sha256, .. }) => {
                (Some(version.clone()), sha256.first().map(ToString::to_string))
            }
        };
        Self {
            id: bundle.id,
            digest: bundle.content.as_ref().map(|content| content.digest),
            registry_agent: bundle.agent.clone(),
            version: bundle.version.clone(),
            platform: bundle.platform,
            distribution: bundle.source.kind(),
            state: bundle.state,
            package_version,
            integrity,
            content: bundle.content.clone(),
            fault: bundle.fault.clone(),
            created_at: bundle.created_at,
            updated_at: bundle.updated_at,
        }
    }
}
