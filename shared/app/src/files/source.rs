//! What a workspace holds now: its directory, or its latest snapshot.

use std::sync::Arc;

use domain::agent::Agent;
use domain::workspace::{Entry, History, Manifest, Node, WorkspacePath};
use domain::{AgentId, Digest};
use store::document::{self, Loaded};
use store::{Scope, keys};

use super::Files;
use super::pack::Unpacker;
use crate::ports::{Found, Kind, Opened, Part, Shelf, Walk, WorkspaceError, Workspaces};
use crate::{App, Caller, Error};

/// What a workspace holds.
pub(super) enum Source {
    /// A directory that this process can reach.
    Here(Arc<dyn Workspaces>, AgentId),
    /// What a manifest says.
    Stored(Box<Manifest>, Unpacker),
}

impl Files<'_> {
    /// What the workspace of an agent holds now. One read.
    pub(super) async fn now(&self, caller: &Caller, agent: AgentId) -> Result<Source, Error> {
        let app = self.0;
        if app.ports.workspaces.are_here() {
            app.agents().load(caller, agent).await?.value.has_workspace()?;
            return Ok(Source::Here(Arc::clone(&app.ports.workspaces), agent));
        }
        let (_, history) = self.load(caller.scope, agent).await?;
        let manifest = self.latest(caller.scope, agent, history.as_ref()).await?;
        Ok(Source::stored(app, caller.scope, manifest))
    }

    /// An agent that is there, and the history of its workspace where it has one. One read.
    pub(super) async fn load(
        &self,
        scope: Scope,
        id: AgentId,
    ) -> Result<(Loaded<Agent>, Option<Loaded<History>>), Error> {
        let (agent, history) = document::get_both::<Agent, History>(
            self.0.table(),
            &keys::agent(scope, id),
            &keys::history(scope, id),
        )
        .await?;
        let agent = agent.filter(|agent| crate::agents::is_there(&agent.value));
        let agent = agent.ok_or(Error::NotFound("agent"))?;
        agent.value.has_workspace()?;
        Ok((agent, history))
    }

    /// What the latest snapshot says; an empty workspace where there is none.
    pub(super) async fn latest(
        &self,
        scope: Scope,
        agent: AgentId,
        history: Option<&Loaded<History>>,
    ) -> Result<Manifest, Error> {
        match history {
            Some(history) => {
                let whose = Shelf::of(scope, agent);
                self.manifest(whose, history.value.latest.manifest).await
            }
            None => Ok(Manifest::empty(agent)),
        }
    }

    /// The manifest that this blob holds.
    pub(super) async fn manifest(&self, whose: Shelf, blob: Digest) -> Result<Manifest, Error> {
        let bytes = self.0.ports.blobs.get(whose, blob.into()).await?;
        let bytes = bytes.ok_or(Error::Bug("a snapshot's manifest is gone"))?;
        serde_json::from_slice(&bytes).map_err(|_| Error::Bug("a manifest does not read"))
    }
}

impl Source {
    pub(super) fn stored(app: &App, scope: Scope, manifest: Manifest) -> Self {
        let unpacker = Unpacker::new(app, Shelf::of(scope, manifest.agent));
        Self::Stored(Box::new(manifest), unpacker)
    }

    /// A part of it, in order.
    pub(super) async fn walk(&self, part: Part) -> Result<Walk, WorkspaceError> {
        match self {
            Self::Here(here, agent) => here.walk(*agent, part).await,
            Self::Stored(manifest, _) => {
                use std::ops::Bound;
                let after = part.after.map_or(Bound::Unbounded, Bound::Excluded);
                let mut rest = manifest
                    .entries
                    .range((after, Bound::Unbounded))
                    .filter(|(path, _)| path.as_str().starts_with(&part.prefix));
                let found = rest.by_ref().take(part.limit).map(found).collect();
                Ok(Walk {
                    found,
                    more: rest.next().is_some(),
                    left_out: manifest.left_out.clone(),
                    left_out_count: manifest.left_out_count,
                })
            }
        }
    }

    /// Opens a file, if there is one.
    pub(super) async fn open(
        &self,
        path: &WorkspacePath,
    ) -> Result<Option<Opened>, WorkspaceError> {
        let (manifest, unpacker) = match self {
            Self::Here(here, agent) => return here.open(*agent, path).await,
            Self::Stored(manifest, unpacker) => (manifest, unpacker),
        };
        let Some(entry) = manifest.entries.get(path) else { return Ok(None) };
        let Node::File { extents, .. } = &entry.node else {
            return Err(WorkspaceError::NotAFile(path.clone()));
        };
        let (extents, unpacker) = (extents.clone(), unpacker.clone());
        Ok(Some(Opened {
            found: found((path, entry)),
            content: Box::new(move |range| unpacker.content(&extents, range)),
        }))
    }
}

/// What a manifest says of a path, as a directory would.
fn found((path, entry): (&WorkspacePath, &Entry)) -> Found {
    let kind = match &entry.node {
        Node::File { size, executable, modified, .. } => {
            Kind::File { size: *size, executable: *executable, modified: *modified }
        }
        Node::Directory => Kind::Directory,
        Node::Link(target) => Kind::Link(target.clone()),
    };
    let stamp = entry.digest().map_or(0, |digest| {
        digest.as_bytes().iter().take(8).fold(0, |stamp, byte| stamp << 8 | u64::from(*byte))
    });
    let taken = match kind {
        Kind::File { size, .. } => size,
        Kind::Directory | Kind::Link(_) => 0,
    };
    Found { path: path.clone(), kind, taken, stamp, settled: true }
}
