//! The files of an agent, and the history of its workspace.

use domain::workspace::{Cause, Changed, LeftOut, Snapshot, Status, WorkspacePath};
use domain::{AgentId, RunId, SnapshotId, Timestamp, UploadId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What something in a workspace is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FileKind {
    /// A file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link. Nobody follows it.
    Link,
}

/// Something in a workspace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FileView {
    /// Where it is, from the workspace's root.
    pub path: WorkspacePath,
    /// What it is.
    pub kind: FileKind,
    /// How many bytes it has; 0 for what is no file.
    pub size: u64,
    /// Whether it is a directory: what `kind` says, for older clients.
    pub is_dir: bool,
    /// Whether its owner may execute it.
    pub executable: bool,
    /// When it was changed last; null for what is no file.
    pub modified_at: Option<Timestamp>,
    /// What a link says; null for what is none.
    pub target: Option<String>,
}

/// Bytes that are to come before the request they are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewUpload {
    /// How many they are, no more and no less: at most 524288000.
    #[schemars(range(min = 0, max = 524_288_000))]
    pub size: u64,
}

/// An upload that was just announced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UploadView {
    /// What names it as `upload` where the bytes are taken.
    pub id: UploadId,
    /// Where the bytes are put. Opens that to whoever has it, and wants no API key.
    pub url: String,
    /// The method with which they are put: `PUT`.
    pub method: String,
    /// When they can neither be put nor taken any more.
    pub expires_at: Timestamp,
}

/// What an import has written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Imported {
    /// How many files and links.
    pub files_written: u64,
    /// How many bytes.
    pub bytes_written: u64,
}

/// What an export would hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExportManifest {
    /// The files, at most a thousand of them.
    pub files: Vec<FileView>,
    /// How many files there are.
    pub total_files: u64,
    /// How many bytes they have.
    pub total_bytes: u64,
}

/// A workspace as it was once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotView {
    /// Its id.
    pub id: SnapshotId,
    /// Whose workspace.
    pub agent_id: AgentId,
    /// What it was made for.
    pub cause: Cause,
    /// The run after which it was made; null where it was made for something else.
    pub run_id: Option<RunId>,
    /// The snapshot before; null for the first.
    pub parent_id: Option<SnapshotId>,
    /// How many files and links it has.
    pub files: u64,
    /// How many bytes its files have.
    pub bytes: u64,
    /// How it differs from the one before.
    pub changed: Changed,
    /// How much of the workspace it could not hold: see the diff for some of it.
    pub left_out: u64,
    /// When it was made.
    pub created_at: Timestamp,
}

impl From<&Snapshot> for SnapshotView {
    fn from(snapshot: &Snapshot) -> Self {
        Self {
            id: snapshot.id,
            agent_id: snapshot.agent,
            cause: snapshot.cause,
            run_id: snapshot.run,
            parent_id: snapshot.parent.map(|(id, _)| id),
            files: snapshot.files,
            bytes: snapshot.bytes,
            changed: snapshot.changed,
            left_out: snapshot.left_out,
            created_at: snapshot.created_at,
        }
    }
}

/// How two states of a workspace differ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DiffView {
    /// The snapshot it was before; null for an empty workspace.
    pub from: Option<SnapshotId>,
    /// The snapshot it is after; null for the workspace as it is now.
    pub to: Option<SnapshotId>,
    /// How many files and links differ.
    pub changed: Changed,
    /// They, by path; at most a thousand.
    pub files: Vec<FileDiff>,
    /// Whether there are more, or texts were left out because they are too long together.
    pub truncated: bool,
    /// Some of what the later state could not hold.
    pub left_out: Vec<LeftOut>,
}

/// How one file or link differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FileDiff {
    /// Where it is; where it was, if it is gone.
    pub path: WorkspacePath,
    /// Where it was before it was renamed; null for all others.
    pub from_path: Option<WorkspacePath>,
    /// What happened to it.
    pub status: Status,
    /// Lines that came; null where no text is shown.
    pub additions: Option<u64>,
    /// Lines that went; null where no text is shown.
    pub deletions: Option<u64>,
    /// A unified diff; null where the file is no text, is too long, or only its mode or place changed.
    pub patch: Option<String>,
}
