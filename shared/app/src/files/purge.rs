//! Remove what the workspace of an agent that is gone, or was reclaimed, has left.

use std::time::Duration;

use domain::AgentId;
use domain::agent::Agent;
use domain::due::Errand;
use domain::workspace::{History, Snapshot};
use futures::{StreamExt, TryStreamExt, stream};
use store::document;
use store::{Direction, Query, Range, Scope, Write, keys};

use super::Files;
use crate::Error;
use crate::ports::{BlobId, Shelf};

/// How many snapshots are removed in one commit.
const AT_ONCE: usize = 50;

/// How many blobs are removed at once.
const BLOBS_AT_ONCE: usize = 16;

/// How many blobs are listed at once.
const LISTED: usize = 1000;

/// How long a request may last that began before its agent was gone, many times over.
const LATE: Duration = Duration::from_hours(1);

impl Files<'_> {
    /// Removes every snapshot of an agent and every blob on its shelf, whoever put it there for what.
    /// What is left after a crash is found again. Costs what is there.
    pub(crate) async fn purge(&self, scope: Scope, agent: AgentId) -> Result<(), Error> {
        let app = self.0;
        loop {
            let query = Query {
                pk: keys::snapshots_of(scope, agent),
                on_index: false,
                range: Range::Prefix(String::new()),
                direction: Direction::Ascending,
                after: None,
                limit: AT_ONCE,
            };
            let some = document::list_versions::<Snapshot>(app.table(), query).await?.items;
            if some.is_empty() {
                break;
            }
            let writes: Vec<Write> = some.iter().map(document::delete).collect();
            app.commit_own("agent.purge_snapshots", writes).await?;
        }
        self.clear(Shelf::of(scope, agent)).await?;
        let key = keys::history(scope, agent);
        if let Some(history) = document::get::<History>(app.table(), &key).await? {
            app.commit_own("agent.purge_history", vec![document::delete(&history)]).await?;
        }
        Ok(())
    }

    /// The errand that looks once more whether a blob was put for an agent while it went. None where
    /// all that puts blobs takes turns with who removes them.
    pub(crate) fn late(self, scope: Scope, agent: AgentId) -> Option<Write> {
        let app = self.0;
        let at = app.now().after(LATE);
        let errand = || app.due(scope.realm(), Errand::Clear { agent }, at);
        (!app.ports.workspaces.are_here()).then(|| store::due::put(&errand()))
    }

    /// Removes what blobs there are of an agent that is gone or reclaimed. For the worker.
    pub(crate) async fn clear_late(&self, scope: Scope, id: AgentId) -> Result<(), Error> {
        let agent = document::get::<Agent>(self.0.table(), &keys::agent(scope, id)).await?;
        match agent {
            Some(agent) if agent.value.reclaimed_at.is_none() => Ok(()),
            Some(_) | None => self.clear(Shelf::of(scope, id)).await,
        }
    }

    async fn clear(&self, whose: Shelf) -> Result<(), Error> {
        loop {
            let some = self.0.ports.blobs.list(whose, None, LISTED).await?;
            self.remove_blobs(whose, some.iter().map(|one| one.id).collect()).await?;
            if some.len() < LISTED {
                return Ok(());
            }
        }
    }

    pub(super) async fn remove_blobs(&self, whose: Shelf, ids: Vec<BlobId>) -> Result<(), Error> {
        let blobs = &self.0.ports.blobs;
        let removed = stream::iter(ids).map(|id| blobs.delete(whose, id));
        Ok(removed.buffer_unordered(BLOBS_AT_ONCE).try_collect::<()>().await?)
    }

    /// Every blob on a shelf.
    pub(super) async fn shelved(&self, whose: Shelf) -> Result<Vec<crate::ports::Shelved>, Error> {
        let mut all = Vec::new();
        loop {
            let after = all.last().map(|last: &crate::ports::Shelved| last.id);
            let some = self.0.ports.blobs.list(whose, after, LISTED).await?;
            let last = some.len() < LISTED;
            all.extend(some);
            if last {
                return Ok(all);
            }
        }
    }
}
