//! The workspaces of agents as directories of this machine.
//!
//! What holds here
//! - An agent may change its workspace at any moment, to harm us. So every path is opened by [`disk`].
//! - What is put somewhere is made aside, out of the agent's sight, and renamed there: it is there whole
//!   or not at all. What is removed is renamed away first.
//! - What we make belongs to whoever the workspace's directory belongs to.
//!
//! Deliberately absent: waiting for the disk. What is put is as durable as what an agent writes.

mod change;

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use app::ports::{Clock, Opened, Part, Pieces, Put, Walk, WorkspaceError, Workspaces};
use bytes::Bytes;
use disk::{NotOpened, Root};
use domain::AgentId;
use domain::workspace::WorkspacePath;
use futures::StreamExt;
use futures::stream;

use crate::{faults, sandbox};
use change::Made;

/// How many bytes are read at once.
const PIECE: u64 = 256 * 1024;

/// The Workspaces port on this machine. Cheap to clone.
#[derive(Clone, Debug)]
pub struct FileWorkspaces(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    data: PathBuf,
    clock: Arc<dyn Clock>,
    turns: Mutex<BTreeMap<AgentId, Arc<tokio::sync::Mutex<()>>>>,
}

impl FileWorkspaces {
    /// The workspaces below the data directory of an installation.
    pub fn new(data: impl Into<PathBuf>, clock: Arc<dyn Clock>) -> Self {
        Self(Arc::new(Inner { data: data.into(), clock, turns: Mutex::default() }))
    }

    /// The directory that everything of an agent is in: its workspace, and what we have aside.
    fn directory(&self, agent: AgentId) -> PathBuf {
        sandbox::directory_of(&self.0.data, agent)
    }

    fn root(&self, agent: AgentId) -> io::Result<Option<Root>> {
        Root::open(&self.directory(agent).join(sandbox::WORKSPACE_NAME))
    }

    /// Before when a change must lie to be told apart from one now: file systems count in ticks.
    fn settled_before(&self) -> u64 {
        self.0.clock.now().as_millis().saturating_sub(100)
    }
}

#[async_trait::async_trait]
impl Workspaces for FileWorkspaces {
    fn are_here(&self) -> bool {
        true
    }

    async fn walk(&self, agent: AgentId, part: Part) -> Result<Walk, WorkspaceError> {
        let this = self.clone();
        apart(move || {
            let Some(root) = this.root(agent)? else { return Ok(Walk::default()) };
            Ok(disk::walk(&root, &part, this.settled_before())?)
        })
        .await
    }

    async fn open(
        &self,
        agent: AgentId,
        path: &WorkspacePath,
    ) -> Result<Option<Opened>, WorkspaceError> {
        let (this, path) = (self.clone(), path.clone());
        apart(move || {
            let Some(root) = this.root(agent)? else { return Ok(None) };
            let opened = root.open_file(&path).map_err(|why| match why {
                NotOpened::NotAFile => WorkspaceError::NotAFile(path.clone()),
                NotOpened::Failed(error) => error.into(),
            })?;
            let Some((file, stat)) = opened else { return Ok(None) };
            let found = disk::found_file(path, &stat, this.settled_before());
            let file = Arc::new(file);
            Ok(Some(Opened { found, content: Box::new(move |range| pieces(file, range)) }))
        })
        .await
    }

    async fn put(
        &self,
        agent: AgentId,
        path: &WorkspacePath,
        what: Put,
    ) -> Result<(), WorkspaceError> {
        let (directory, path) = (self.directory(agent), path.clone());
        let begin = directory.clone();
        let (mut made, what) = apart(move || Ok((Made::begin(&begin, &what)?, what))).await?;
        if let Put::File { mut content, .. } = what {
            while let Some(piece) = content.next().await {
                let piece = piece?;
                made = apart(move || made.write(&piece)).await?;
            }
        }
        apart(move || made.put(&directory, &path)).await?;
        faults::point("workspace.put", "after");
        Ok(())
    }

    async fn remove(&self, agent: AgentId, path: &WorkspacePath) -> Result<bool, WorkspaceError> {
        let (directory, path) = (self.directory(agent), path.clone());
        let removed = apart(move || change::remove(&directory, &path)).await?;
        faults::point("workspace.remove", "after");
        Ok(removed)
    }

    async fn turn(&self, agent: AgentId) -> Box<dyn Send> {
        let turn = {
            let mut turns = self.0.turns.lock().unwrap_or_else(PoisonError::into_inner);
            turns.retain(|of, turn| *of == agent || Arc::strong_count(turn) > 1);
            Arc::clone(turns.entry(agent).or_default())
        };
        Box::new(turn.lock_owned().await)
    }
}

/// The bytes of a range of a file, as far as it has them.
fn pieces(file: Arc<File>, range: Range<u64>) -> Pieces {
    stream::try_unfold((file, range), |(file, range)| async move {
        if range.is_empty() {
            return Ok(None);
        }
        let read = tokio::task::spawn_blocking(move || {
            let length = (range.end - range.start).min(PIECE);
            let mut piece = vec![0; usize::try_from(length).map_err(io::Error::other)?];
            let read = file.read_at(&mut piece, range.start)?;
            piece.truncate(read);
            Ok::<_, io::Error>((Bytes::from(piece), file, range))
        });
        let (piece, file, range) = read.await.map_err(io::Error::other)??;
        if piece.is_empty() {
            return Ok(None);
        }
        let rest = range.start + piece.len() as u64..range.end;
        Ok(Some((piece, (file, rest))))
    })
    .boxed()
}

async fn apart<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, WorkspaceError> + Send + 'static,
) -> Result<T, WorkspaceError> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}
