//! What a shim asks about an agent's directories: where its container does not keep them, to keep them,
//! and otherwise to look at what a run has left in them.
//!
//! What holds here
//! - Each question has a number, and its answer has the same. A question may be asked again, also on
//!   another connection: it is answered again, and means the same.
//! - Bytes travel as base64, at most [`MAX_PIECE`] at once, so that a frame holds them.
//! - A shim is believed nothing but which start it is: what a manifest says of bytes is compared with
//!   the bytes, and a blob says itself whose it is.

use domain::workspace::Extent;
use domain::{AgentId, Digest, RunId, SnapshotId};
use serde::{Deserialize, Serialize};

/// The most bytes that one question or answer moves, before they are base64.
pub const MAX_PIECE: usize = 84 * 1024;

/// A question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ask {
    /// Its number, unique in a start.
    pub number: u64,
    /// Whose directories.
    pub agent: AgentId,
    /// What is asked.
    pub what: Wanted,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Wanted {
    /// What is kept of them: [`Answer::Kept`].
    Latest,
    /// At most [`MAX_PIECE`] bytes of a blob: [`Answer::Bytes`].
    Read(Extent),
    /// To keep a pack, as base64: [`Answer::Put`].
    Put(String),
    /// To keep what became of them: [`Answer::Kept`]. Its packs are there already.
    Keep(Box<Sent>),
    /// To look at what a run has left, where directories stay: [`Answer::Kept`], of which the snapshot is
    /// said alone.
    Look(RunId),
}

/// What became of an agent's directories.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Sent {
    /// The run that has ended; none before the container stops.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<RunId>,
    /// The snapshot it began with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<SnapshotId>,
    /// Where the manifest of the workspace lies in packs; none where it is as it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspace: Option<Vec<Extent>>,
    /// Where that of the home lies; none where it is as it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub home: Option<Vec<Extent>>,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Told {
    /// The number of its question.
    pub number: u64,
    /// What it is.
    pub answer: Answer,
}

/// See [`Wanted`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Answer {
    /// What is kept of the directories.
    Kept(Kept),
    /// Bytes, as base64: fewer than were asked for where the blob ends.
    Bytes(String),
    /// The blob that holds what was put.
    Put(Digest),
    /// It is not done, and would not be if it were asked again.
    Refused(Refusal),
}

/// What is kept of an agent's directories.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Kept {
    /// The latest snapshot, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<SnapshotId>,
    /// The whole blob with the manifest of the workspace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspace: Option<Extent>,
    /// The whole blob with that of the home.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub home: Option<Extent>,
}

/// Why something is not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// The start is over, or the agent is not in its container.
    #[error("the container does not have the agent any more")]
    Stale,
    /// What is kept is not what the shim began with.
    #[error("somebody else has changed what is kept")]
    Moved,
    /// There is no such blob of this agent.
    #[error("there is no such blob")]
    NoSuchBlob,
    /// It holds more than may be kept.
    #[error(
        "there is more than is kept of an agent; of its workspace, `maxWorkspaceFiles` and \
         `maxWorkspaceBytes` of the realm say how much"
    )]
    TooLarge,
    /// It is not what it says it is.
    #[error("what was sent does not fit together")]
    Unfit,
    /// It cannot be read.
    #[error("it could not be looked at")]
    Unread,
}
