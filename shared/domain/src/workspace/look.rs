//! What one sees who looks at a workspace on a disk.

use super::{LeftOut, WorkspacePath};
use crate::Timestamp;

/// What is at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A file.
    File {
        /// How many bytes it has.
        size: u64,
        /// Whether its owner may execute it.
        executable: bool,
        /// When it was changed last.
        modified: Timestamp,
    },
    /// A directory.
    Directory,
    /// A symbolic link, and what it says.
    Link(String),
}

/// Something that was found in a workspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Where.
    pub path: WorkspacePath,
    /// What.
    pub kind: Kind,
    /// How many bytes of the disk it takes: of a file with holes fewer than it has.
    pub taken: u64,
    /// Another number, once it has been changed.
    pub stamp: u64,
    /// Whether a change from now on is certain to change the number: one right after the last may not.
    pub settled: bool,
}

/// A part of a workspace, in the order of its paths.
#[derive(Clone, Debug, Default)]
pub struct Walk {
    /// What is there.
    pub found: Vec<Found>,
    /// Whether there is more behind it.
    pub more: bool,
    /// What cannot be named or is neither file, directory nor link; of many, some.
    pub left_out: Vec<LeftOut>,
    /// How many those are.
    pub left_out_count: u64,
}

/// Which part of a workspace.
#[derive(Clone, Debug, Default)]
pub struct Part {
    /// Only paths that begin so.
    pub prefix: String,
    /// Only paths behind this one.
    pub after: Option<WorkspacePath>,
    /// At most so many.
    pub limit: usize,
}
