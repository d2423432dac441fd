//! The registry of agents: the official ACP document, read entry by entry.
//!
//! What holds here: one bad entry never costs another its place, and says which it was and why. What
//! an entry has that we do not know is kept, so that a mirror shows what was there. An entry
//! serialises as the official document has it; the simpler schema with a `type` is an alias on
//! input only.
//!
//! Deliberately absent: where the document comes from, and downloading anything it names.

mod alias;
pub mod package;
mod platform;

use std::collections::{BTreeMap, BTreeSet};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::{Map, Value};

pub use platform::{NotAPlatform, Platform};

use crate::bundle::{self, Kind};
use crate::text::{Argument, Name, Prose, RegistryId, Unfit, VariableName, Version};
use crate::{RealmId, Timestamp};

/// The most bytes of a document.
pub const MAX_DOCUMENT: usize = 8 * 1024 * 1024;

/// The most entries of a document; what is behind them is reported and left out.
pub const MAX_ENTRIES: usize = 1000;

/// The most bytes of one entry, as JSON: an item of the table holds some of its versions.
pub const MAX_ENTRY: usize = 32 * 1024;

/// The most versions of one agent that are kept, the newest first.
pub const MAX_VERSIONS: usize = 8;

/// One program for one platform.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Binary {
    /// Where it is downloaded: an http(s) URL of a .zip, .tar.gz, .tgz, .tar.bz2, .tbz2 or the
    /// program itself.
    #[schemars(length(min = 1, max = 2048))]
    pub archive: String,
    /// The program, relative to what was unpacked.
    pub cmd: Argument,
    /// Its arguments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub args: Vec<Argument>,
    /// Environment variables it is started with.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    pub env: BTreeMap<VariableName, Argument>,
    /// The SHA-256 of the download, in hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub sha256: Option<String>,
    /// What else the document says of it.
    #[serde(flatten)]
    #[schemars(skip)]
    pub more: Map<String, Value>,
}

/// A package of npm (`npx`) or `PyPI` (`uvx`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Package {
    /// Name and version: `@scope/name@1.2.3`; for `PyPI` `name==1.2.3` or `name@1.2.3`.
    #[schemars(length(min = 1, max = 300))]
    #[expect(clippy::struct_field_names, reason = "the name that the document gives it")]
    pub package: String,
    /// The command of the package, where it is not the one of its own name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cmd: Option<Argument>,
    /// Its arguments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub args: Vec<Argument>,
    /// Environment variables it is started with.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    pub env: BTreeMap<VariableName, Argument>,
    /// What else the document says of it.
    #[serde(flatten)]
    #[schemars(skip)]
    pub more: Map<String, Value>,
}

/// The ways to get an agent, at least one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(extend("examples" = [{ "npx": { "package": "sample@1.0.0" } }]))]
pub struct Distribution {
    /// Programs, by platform: `linux-x86_64`, `darwin-aarch64` and so on.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    pub binary: BTreeMap<String, Binary>,
    /// A package of npm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub npx: Option<Package>,
    /// A package of `PyPI`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uvx: Option<Package>,
    /// Ways that we do not know.
    #[serde(flatten)]
    #[schemars(skip)]
    pub more: Map<String, Value>,
}

/// One agent of a registry, at one version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its id.
    pub id: RegistryId,
    /// What people call it.
    pub name: Name,
    /// Which version this is.
    pub version: Version,
    /// What it is for.
    #[serde(default = "nothing_said")]
    pub description: Prose,
    /// How to get it.
    pub distribution: Distribution,
    /// What else the document says: authors, licence, icon, repository, preview and the like.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

fn nothing_said() -> Prose {
    Prose::new("").unwrap_or_else(|_| unreachable!("nothing is within limits"))
}

impl Entry {
    /// Reads one entry of a document, official or with a `type`.
    pub fn parse(value: Value) -> Result<Self, String> {
        let size = value.to_string().len();
        if size > MAX_ENTRY {
            return Err(format!("has {size} bytes of JSON, and {MAX_ENTRY} at most are taken"));
        }
        let entry: Self =
            serde_json::from_value(alias::official(value)).map_err(|error| error.to_string())?;
        match entry.broken_rule() {
            Some((field, detail)) => Err(format!("{field} {detail}")),
            None => Ok(entry),
        }
    }

    /// The first rule it breaks that its types do not already keep, as field and reason.
    pub fn broken_rule(&self) -> Option<(&'static str, String)> {
        let Distribution { binary, npx, uvx, .. } = &self.distribution;
        if binary.is_empty() && npx.is_none() && uvx.is_none() {
            return Some(("distribution", "must have one of binary, npx and uvx".to_owned()));
        }
        if binary.len() > 32 {
            return Some(("distribution", "must have at most 32 platforms".to_owned()));
        }
        let binaries = binary.values().map(|binary| (&binary.args, &binary.env));
        let packages = npx.iter().chain(uvx).map(|package| (&package.args, &package.env));
        for (args, env) in binaries.chain(packages) {
            if args.len() > 64 || env.len() > 64 {
                let detail = "must have at most 64 arguments and 64 variables";
                return Some(("distribution", detail.to_owned()));
            }
            if env.keys().any(|name| name.as_str().starts_with("REEVE_")) {
                let detail = "sets a variable beginning with REEVE_, which are reserved";
                return Some(("distribution", detail.to_owned()));
            }
        }
        for binary in binary.values() {
            if let Err(detail) = bundle::check_binary(binary) {
                return Some(("distribution", detail));
            }
        }
        for (kind, package) in [(Kind::Npx, npx), (Kind::Uvx, uvx)] {
            let Some(package) = package else { continue };
            if let Err(error) = bundle::named(kind, &package.package) {
                return Some(("distribution", format!("{kind}: `{}` {error}", package.package)));
            }
        }
        None
    }
}

/// An agent of the realm's catalog, as an agent's spec names it: `opencode`, or `opencode@1.18.33`.
/// Without a version, the present one whenever a container starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// Its id.
    pub id: RegistryId,
    /// Its version, where one is said.
    pub version: Option<Version>,
}

impl std::fmt::Display for Reference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.version {
            Some(version) => write!(f, "{}@{version}", self.id),
            None => self.id.fmt(f),
        }
    }
}

impl std::str::FromStr for Reference {
    type Err = Unfit;

    fn from_str(text: &str) -> Result<Self, Unfit> {
        let (id, version) = text.split_once('@').map_or((text, None), |(id, v)| (id, Some(v)));
        Ok(Self { id: RegistryId::new(id)?, version: version.map(Version::new).transpose()? })
    }
}

impl Serialize for Reference {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Reference {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Reference {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "RegistryReference".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "maxLength": 129,
            "pattern": "^[a-z][a-z0-9-]*(@[0-9A-Za-z][0-9A-Za-z._+-]*)?$",
        })
    }
}

/// Why an entry of a document was left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Fault {
    /// Which one it is, counted from 0.
    pub index: usize,
    /// The id it says it has, where it says one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// What is wrong with it.
    pub reason: String,
}

/// A document as far as it reads.
#[derive(Clone, Debug, Default)]
pub struct Document {
    /// The entries that are right, in their order.
    pub entries: Vec<Entry>,
    /// Those that are not.
    pub faults: Vec<Fault>,
    /// The version of its form, as it says.
    pub version: Option<String>,
}

/// The whole is no registry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotARegistry {
    /// It is larger than is read.
    #[error("the document has more than {MAX_DOCUMENT} bytes")]
    TooLarge,
    /// It is no JSON, or no object with a list `agents`.
    #[error("the document is not a registry: {0}")]
    Shape(String),
}

#[derive(Deserialize)]
struct Whole {
    #[serde(default)]
    version: Value,
    agents: Vec<Value>,
}

/// Reads a document: what can be used of it, and what cannot and why.
pub fn parse(bytes: &[u8]) -> Result<Document, NotARegistry> {
    if bytes.len() > MAX_DOCUMENT {
        return Err(NotARegistry::TooLarge);
    }
    let whole: Whole =
        serde_json::from_slice(bytes).map_err(|error| NotARegistry::Shape(error.to_string()))?;
    let mut document = Document {
        version: whole.version.as_str().map(|text| cut(text, 32)),
        ..Document::default()
    };
    let mut seen = BTreeSet::new();
    for (index, value) in whole.agents.into_iter().enumerate() {
        let id = value["id"].as_str().map(|id| cut(id, 80));
        let read = if index >= MAX_ENTRIES {
            Err(format!("is behind the {MAX_ENTRIES} entries that are read"))
        } else {
            Entry::parse(value)
        };
        match read {
            Ok(entry) if seen.insert(entry.id.clone()) => document.entries.push(entry),
            Ok(_) => document.faults.push(Fault { index, id, reason: "is there twice".to_owned() }),
            Err(reason) => document.faults.push(Fault { index, id, reason: cut(&reason, 500) }),
        }
    }
    Ok(document)
}

/// At most so many characters of `text`.
fn cut(text: &str, most: usize) -> String {
    text.chars().take(most).collect()
}

/// Where what is known of an agent comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// The synced document.
    Registry,
    /// Somebody of the realm, by hand.
    Manual,
}

/// An agent of a registry with the versions of it that are kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Listed {
    /// The realm that added it by hand; none where a registry lists it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub realm: Option<RealmId>,
    /// The versions, the present one first, never empty.
    pub versions: Vec<Entry>,
    /// When it was first seen.
    pub first_seen_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// Since when it is no longer in the document. It can still be run by who names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub removed_at: Option<Timestamp>,
}

impl Listed {
    /// An agent that is seen for the first time.
    pub fn new(realm: Option<RealmId>, entry: Entry, now: Timestamp) -> Self {
        Self { realm, versions: vec![entry], first_seen_at: now, updated_at: now, removed_at: None }
    }

    /// Where it comes from.
    pub const fn origin(&self) -> Origin {
        if self.realm.is_some() { Origin::Manual } else { Origin::Registry }
    }

    /// The present version.
    pub fn latest(&self) -> Option<&Entry> {
        self.versions.first()
    }

    /// The entry of `version`, or the present one.
    pub fn entry(&self, version: Option<&Version>) -> Option<&Entry> {
        match version {
            None => self.latest(),
            Some(version) => self.versions.iter().find(|entry| entry.version == *version),
        }
    }

    /// What it is once a document shows `entry`; none where that changes nothing.
    pub fn seen(&self, entry: &Entry, now: Timestamp) -> Option<Self> {
        if self.latest() == Some(entry) && self.removed_at.is_none() {
            return None;
        }
        let mut versions = vec![entry.clone()];
        let others = self.versions.iter().filter(|other| other.version != entry.version);
        versions.extend(others.cloned());
        versions.truncate(MAX_VERSIONS);
        Some(Self { versions, updated_at: now, removed_at: None, ..self.clone() })
    }

    /// What it is once a document shows it no more; none where it was gone already.
    pub fn gone(&self, now: Timestamp) -> Option<Self> {
        let gone = || Self { removed_at: Some(now), updated_at: now, ..self.clone() };
        self.removed_at.is_none().then(gone)
    }
}

/// How far the registry is synced. One for an installation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Sync {
    /// How often a sync was planned: the errand that carries the present one out quotes this.
    pub round: u64,
    /// Where the document that is known came from.
    pub source: String,
    /// Its `ETag`.
    pub etag: Option<String>,
    /// The version of its form.
    pub version: Option<String>,
    /// How many agents it lists.
    pub agents: usize,
    /// When it was asked for last.
    pub checked_at: Option<Timestamp>,
    /// When it last brought something new.
    pub changed_at: Option<Timestamp>,
    /// When it is asked for again.
    pub next_at: Option<Timestamp>,
    /// Why it could not be read the last time.
    pub error: Option<String>,
    /// Its entries that were left out; the first [`MAX_FAULTS`].
    pub faults: Vec<Fault>,
}

/// The most faults that are kept.
pub const MAX_FAULTS: usize = 100;

#[cfg(test)]
mod tests;
