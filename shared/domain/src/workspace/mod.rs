//! What an agent's workspace holds, as it is written down: paths, manifests, snapshots.
//!
//! What holds here: a [`WorkspacePath`] names a place below the workspace's root and nothing else. A
//! [`Manifest`] is a whole workspace without its bytes; those lie in blobs, where each file has its
//! [`Extent`]s. Two manifests say what changed between them; nothing else is asked.
//!
//! No name in a workspace is reserved: nothing of ours lies in it. An agent's own `.git` is files like
//! any other.

mod claim;
mod history;
mod look;
mod manifest;
mod pack;
mod path;

use serde::{Deserialize, Serialize};
use strum::IntoStaticStr;

use crate::{AgentId, Digest, RealmId, RunId, SnapshotId, Timestamp};

pub use claim::{Claim, Flaw};
pub use history::{History, Renewal, Restoring, UNNAMED, surplus};
pub use look::{Found, Kind, Part, Walk};
pub use manifest::{Change, Changed, Entry, Extent, LeftOut, Manifest, Node, Status, changes};
pub use pack::Pack;
pub use path::{NotAPath, WorkspacePath};

/// The most files, directories and links that a workspace may have to be written down.
pub const MAX_ENTRIES: usize = 100_000;

/// The most bytes a file may have to be written down, or to be sent.
pub const MAX_FILE: u64 = 500 * 1024 * 1024;

/// The most bytes that one archive, export or import moves.
pub const MAX_TRANSFER: u64 = 500 * 1024 * 1024;

/// The most bytes that all files of a workspace may have to be written down.
pub const MAX_BYTES: u64 = 10 * 1024 * 1024 * 1024;

/// The most of what a manifest leaves out that it names.
pub const NAMED: usize = 100;

/// What a snapshot was made for.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema, IntoStaticStr,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Cause {
    /// A run had ended.
    Run,
    /// Its container was about to stop.
    Stop,
    /// Somebody asked for it.
    Asked,
    /// Somebody put or removed files, or imported some, while no container had the workspace.
    Edit,
    /// What was there was about to be rolled back.
    BeforeRollback,
    /// The workspace was made what an earlier snapshot says.
    Rollback,
    /// Files were about to be imported into what was there.
    BeforeImport,
    /// Files were imported.
    Import,
}

/// A workspace as it was once. Never changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Snapshot {
    /// How it is found.
    pub id: SnapshotId,
    /// The realm it is in.
    pub realm: RealmId,
    /// Whose workspace.
    pub agent: AgentId,
    /// What for.
    pub cause: Cause,
    /// The run after which it was made, where it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<RunId>,
    /// The snapshot before, and its manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<(SnapshotId, Digest)>,
    /// The blob that holds the manifest.
    pub manifest: Digest,
    /// How many files and links it has.
    pub files: u64,
    /// How many bytes its files have.
    pub bytes: u64,
    /// How it differs from the snapshot before.
    pub changed: Changed,
    /// How much of the workspace it could not hold.
    pub left_out: u64,
    /// When it was made.
    pub created_at: Timestamp,
}
