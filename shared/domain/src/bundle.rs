//! Bundles: an agent of a registry, at one version and for one platform, as files that are named by
//! what is in them.
//!
//! Invariants: a bundle's id follows from what was asked for, its content's digest from what came of
//! it. What is ready has content that was verified; what failed says why, with a code.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::{IntoStaticStr, VariantArray};

use crate::registry::package::{self, NotAPackage, Wanted};
use crate::registry::{Binary, Distribution, Package, Platform};
use crate::text::{RegistryId, Version};
use crate::{Digest, Machine, RealmId, Timestamp};

/// How an agent is got.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Serialize,
    Deserialize,
    JsonSchema,
    IntoStaticStr,
    VariantArray,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Kind {
    /// A download for the platform.
    Binary,
    /// A package of npm.
    Npx,
    /// A package of `PyPI`.
    Uvx,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.into())
    }
}

/// What is to be got, as the registry says it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Source {
    /// A download.
    Binary(Binary),
    /// A package of npm.
    Npx(Package),
    /// A package of `PyPI`.
    Uvx(Package),
}

/// Why there is no way to get an agent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoSource {
    /// It is distributed, but not like that or not for that platform.
    #[error("it is not distributed for {platform}{as_kind}; there is: {there}")]
    Platform {
        /// What was asked for.
        platform: Platform,
        /// ` as <kind>` where one was asked for.
        as_kind: String,
        /// What there is.
        there: String,
    },
    /// It names no exact version, and the realm's policy wants one.
    #[error("`{0}` names no exact version, and the realm's policy refuses what is not pinned")]
    Unpinned(String),
    /// What it names is no package.
    #[error("`{0}` {1}")]
    Package(String, NotAPackage),
}

impl Source {
    /// How to get what `distribution` offers for `platform`: a program made for it before a package,
    /// unless `kind` says otherwise. What is not pinned is refused unless `unpinned` allows it.
    pub fn choose(
        distribution: &Distribution,
        platform: Platform,
        kind: Option<Kind>,
        unpinned: bool,
    ) -> Result<Self, NoSource> {
        let wanted = |this: Kind| kind.is_none_or(|kind| kind == this);
        let made_for = |(name, _): &(&String, &Binary)| name.parse() == Ok(platform);
        let binary = distribution.binary.iter().find(made_for).filter(|_| wanted(Kind::Binary));
        let npx = distribution.npx.clone().filter(|_| wanted(Kind::Npx));
        let uvx = distribution.uvx.clone().filter(|_| wanted(Kind::Uvx));
        if let Some((_, binary)) = binary {
            return Ok(Self::Binary(binary.clone()));
        }
        let (kind_of, package) = match (npx, uvx) {
            (Some(package), _) => (Kind::Npx, package),
            (None, Some(package)) => (Kind::Uvx, package),
            (None, None) => {
                let as_kind = kind.map(|kind| format!(" as {kind}")).unwrap_or_default();
                let mut there: Vec<String> =
                    distribution.binary.keys().map(|name| format!("binary {name}")).collect();
                there.extend(distribution.npx.as_ref().map(|_| "npx".to_owned()));
                there.extend(distribution.uvx.as_ref().map(|_| "uvx".to_owned()));
                return Err(NoSource::Platform { platform, as_kind, there: there.join(", ") });
            }
        };
        match named(kind_of, &package.package) {
            Err(error) => Err(NoSource::Package(package.package, error)),
            Ok((_, Wanted::Newest)) if !unpinned => Err(NoSource::Unpinned(package.package)),
            Ok(_) if kind_of == Kind::Npx => Ok(Self::Npx(package)),
            Ok(_) => Ok(Self::Uvx(package)),
        }
    }

    /// How it is got.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Binary(_) => Kind::Binary,
            Self::Npx(_) => Kind::Npx,
            Self::Uvx(_) => Kind::Uvx,
        }
    }

    /// Its arguments and variables.
    pub fn started_with(&self) -> (Vec<String>, BTreeMap<String, String>) {
        let (args, env) = match self {
            Self::Binary(binary) => (&binary.args, &binary.env),
            Self::Npx(package) | Self::Uvx(package) => (&package.args, &package.env),
        };
        let args = args.iter().map(|arg| arg.as_str().to_owned()).collect();
        let env = env.iter();
        (args, env.map(|(k, v)| (k.as_str().to_owned(), v.as_str().to_owned())).collect())
    }
}

/// Name and version of a package.
pub fn named(kind: Kind, text: &str) -> Result<(String, Wanted), NotAPackage> {
    match kind {
        Kind::Uvx => package::pypi(text),
        Kind::Npx | Kind::Binary => package::npm(text),
    }
}

/// Whether a download could be used: what its types do not already keep.
pub fn check_binary(binary: &Binary) -> Result<(), String> {
    let url = &binary.archive;
    if url.len() > 2048 || !(url.starts_with("https://") || url.starts_with("http://")) {
        return Err("archive must be an http(s) URL of at most 2048 characters".to_owned());
    }
    if inside(binary.cmd.as_str()).is_none() {
        return Err("cmd must be a path below what is unpacked".to_owned());
    }
    match &binary.sha256 {
        Some(hex) if Digest::from_hex(hex).is_err() => {
            Err("sha256 must be 64 hexadecimal digits".to_owned())
        }
        _ => Ok(()),
    }
}

/// `path` relative to what was unpacked, without `./`; none where it leads out of it.
pub fn inside(path: &str) -> Option<String> {
    let path = path.replace('\\', "/");
    let parts: Vec<&str> = path.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    let leads_out = path.starts_with('/') || path.contains('\0') || parts.contains(&"..");
    (!leads_out && !parts.is_empty()).then(|| parts.join("/"))
}

/// What is downloaded, to the byte: nothing of it can change without being noticed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Pinned {
    /// A download; with a digest where the registry has one.
    Binary {
        /// Where it is.
        url: String,
        /// The program in it.
        cmd: String,
        /// Its SHA-256.
        sha256: Option<Digest>,
    },
    /// A package of npm.
    Npx {
        /// Its name.
        name: String,
        /// Its version.
        version: String,
        /// Its integrity, as the registry of packages says: `sha512-<base64>`.
        integrity: String,
        /// Its command, where it is not the one of its own name.
        cmd: Option<String>,
    },
    /// A package of `PyPI`.
    Uvx {
        /// Its name.
        name: String,
        /// Its version.
        version: String,
        /// The SHA-256 of each of its files.
        sha256: Vec<Digest>,
        /// Its command, where it is not the one of its own name.
        cmd: Option<String>,
    },
}

/// The files of a bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Content {
    /// The digest of all of them: the SHA-256 of their canonical list of paths, modes, lengths and
    /// digests.
    pub digest: Digest,
    /// How many files there are.
    pub files: u64,
    /// How many bytes they have.
    pub bytes: u64,
    /// What to start: a program and the arguments before those of the registry. `{bundle}` stands for
    /// where the files are.
    pub entrypoint: Vec<String>,
    /// Variables that it takes to start it, with `{bundle}` as above.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
}

/// Why a bundle could not be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BundleFault {
    /// A stable code: `digest_mismatch`, `not_found`, `forbidden_address`, `too_large`,
    /// `bad_archive`, `no_installer`, `install_failed`, `no_command`, `unavailable`, `not_here`,
    /// `policy_refused`.
    pub code: String,
    /// What happened.
    pub detail: String,
}

/// Where a bundle is.
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
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum BundleState {
    /// Is being downloaded and verified.
    Resolving,
    /// Has verified content.
    Ready,
    /// Could not be made. Asking again tries again.
    Failed,
}

/// What can happen to a bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, VariantArray, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum BundleEvent {
    /// Somebody asks for it.
    Ask,
    /// Its content is there, verified.
    Made,
    /// It cannot be made.
    Fail,
    /// Its content is gone or not what it was.
    Spoil,
}

/// The lifecycle of a bundle. It has no end: what is ready may be found spoiled and is made again.
#[derive(Clone, Copy, Debug)]
pub struct BundleLifecycle;

impl Machine for BundleLifecycle {
    type State = BundleState;
    type Event = BundleEvent;
    const START: BundleState = BundleState::Resolving;

    fn next(state: BundleState, event: BundleEvent) -> Option<BundleState> {
        use BundleEvent as E;
        use BundleState as S;
        Some(match (state, event) {
            (S::Resolving | S::Failed, E::Ask) | (S::Ready | S::Resolving, E::Spoil) => {
                S::Resolving
            }
            (S::Ready, E::Ask) | (S::Resolving, E::Made) => S::Ready,
            (S::Resolving, E::Fail) => S::Failed,
            (S::Ready | S::Failed, E::Made | E::Fail) | (S::Failed, E::Spoil) => return None,
        })
    }
}

/// A bundle of a realm.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Bundle {
    /// Its id: the SHA-256 of what was asked for.
    pub id: Digest,
    /// The realm it belongs to.
    pub realm: RealmId,
    /// The agent of the registry.
    pub agent: RegistryId,
    /// Its version.
    pub version: Version,
    /// For what it is made.
    pub platform: Platform,
    /// How it is got.
    pub source: Source,
    /// Where it is.
    pub state: BundleState,
    /// What was downloaded, once that is known.
    #[serde(default)]
    pub pinned: Option<Pinned>,
    /// Its files, once they are there.
    #[serde(default)]
    pub content: Option<Content>,
    /// Why it could not be made.
    #[serde(default)]
    pub fault: Option<BundleFault>,
    /// How often making it was begun: who makes it quotes this.
    pub round: u32,
    /// When it was asked for first.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lifecycle() {
        insta::assert_snapshot!(crate::machine::mermaid::<BundleLifecycle>());
    }

    #[test]
    fn a_path_stays_inside() {
        assert_eq!(inside("./goose"), Some("goose".to_owned()));
        assert_eq!(inside("bin/./x"), Some("bin/x".to_owned()));
        for out in ["", ".", "/bin/sh", "../x", "a/../../x", "a\\..\\x", "a\0"] {
            assert_eq!(inside(out), None, "{out}");
        }
    }
}
