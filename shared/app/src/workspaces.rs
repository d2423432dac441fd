//! The directory that an agent works in, where this process can reach it.
//!
//! What holds here: on one machine the workspace of every agent is a directory, whether or not a
//! container has it. In the cloud it is in its container while that runs, and otherwise only what the
//! latest snapshot says: then [`Workspaces::are_here`] is false, and nothing else is asked.
//!
//! An agent writes to its workspace while we do, and may mean harm: links to elsewhere, pipes, files
//! that seem large, directories that change under our hands. No implementation follows a link, opens
//! anything but a file or a directory, or waits for what an agent does.

use std::fmt;
use std::io;
use std::ops::Range;

use bytes::Bytes;
use domain::AgentId;
use domain::workspace::WorkspacePath;
use futures::stream::BoxStream;

pub use domain::workspace::{Found, Kind, Part, Walk};

/// Bytes, piece by piece.
pub type Pieces = BoxStream<'static, io::Result<Bytes>>;

/// Why a workspace did not do it.
#[derive(Debug, thiserror::Error)]
pub enum WorkspaceError {
    /// There is something else than a file.
    #[error("{0} is not a file")]
    NotAFile(WorkspacePath),
    /// There is something where it should go, or where a directory of its path should be.
    #[error("{0} is in the way")]
    InTheWay(WorkspacePath),
    /// Workspaces are not here.
    #[error("the workspaces are not on this machine")]
    NotHere,
    /// It did not work this time.
    #[error("the workspace could not be reached")]
    Unavailable(#[source] io::Error),
}

impl From<io::Error> for WorkspaceError {
    fn from(error: io::Error) -> Self {
        Self::Unavailable(error)
    }
}

/// An open file: it stays the one that was opened, whatever becomes of its path.
pub struct Opened {
    /// What it is.
    pub found: Found,
    /// Gives the bytes of a range. What was cut off meanwhile ends them early.
    pub content: Box<dyn FnOnce(Range<u64>) -> Pieces + Send>,
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Opened").field(&self.found).finish()
    }
}

/// What is to be put somewhere.
pub enum Put {
    /// A file. It is there whole or not at all.
    File {
        /// Its bytes.
        content: Pieces,
        /// Whether it may be executed.
        executable: bool,
    },
    /// A directory. One that is there stays.
    Directory,
    /// A symbolic link that says this.
    Link(String),
}

impl fmt::Debug for Put {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::File { .. } => "File",
            Self::Directory => "Directory",
            Self::Link(_) => "Link",
        })
    }
}

/// The directories that agents work in. See the module.
#[async_trait::async_trait]
pub trait Workspaces: Send + Sync + fmt::Debug {
    /// Whether this process can reach them.
    fn are_here(&self) -> bool;

    /// What is there. A workspace that nobody has made yet is empty. Costs what the part and the
    /// directories above it hold.
    async fn walk(&self, agent: AgentId, part: Part) -> Result<Walk, WorkspaceError>;

    /// Opens a file, if there is one.
    async fn open(
        &self,
        agent: AgentId,
        path: &WorkspacePath,
    ) -> Result<Option<Opened>, WorkspaceError>;

    /// Puts something there, and the directories of its path, in place of a file or link that is there.
    /// A directory is in the way of anything but a directory. Belongs to the agent.
    async fn put(
        &self,
        agent: AgentId,
        path: &WorkspacePath,
        what: Put,
    ) -> Result<(), WorkspaceError>;

    /// Removes what is there, and all below it. Answers whether there was anything.
    async fn remove(&self, agent: AgentId, path: &WorkspacePath) -> Result<bool, WorkspaceError>;

    /// Returns once nobody else holds the workspace's turn, which is held until the answer is dropped.
    /// For several changes that belong together. Agents do not ask.
    async fn turn(&self, agent: AgentId) -> Box<dyn Send>;
}

/// Where no workspace can be reached: in the cloud.
#[derive(Clone, Copy, Debug, Default)]
pub struct Elsewhere;

#[async_trait::async_trait]
impl Workspaces for Elsewhere {
    fn are_here(&self) -> bool {
        false
    }

    async fn walk(&self, _: AgentId, _: Part) -> Result<Walk, WorkspaceError> {
        Err(WorkspaceError::NotHere)
    }

    async fn open(&self, _: AgentId, _: &WorkspacePath) -> Result<Option<Opened>, WorkspaceError> {
        Err(WorkspaceError::NotHere)
    }

    async fn put(&self, _: AgentId, _: &WorkspacePath, _: Put) -> Result<(), WorkspaceError> {
        Err(WorkspaceError::NotHere)
    }

    async fn remove(&self, _: AgentId, _: &WorkspacePath) -> Result<bool, WorkspaceError> {
        Err(WorkspaceError::NotHere)
    }

    async fn turn(&self, _: AgentId) -> Box<dyn Send> {
        Box::new(())
    }
}
