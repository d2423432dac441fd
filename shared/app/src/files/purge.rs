//! Remove what a deleted agent's workspace has left.

use std::collections::BTreeSet;

use domain::AgentId;
use domain::workspace::{History, Snapshot};
use store::document;
use store::{Direction, Query, Range, Scope, Write, keys};

use super::Files;
use crate::Error;
use crate::ports::BlobError;

/// How many snapshots are removed in one commit.
const AT_ONCE: usize = 50;

impl Files<'_> {
    /// Removes every snapshot of an agent, its blobs first: what is left after a crash is found again.
    /// No other agent has them. Costs what is there.
    pub(crate) async fn purge(&self, scope: Scope, agent: AgentId) -> Result<(), Error> {
        let app = self.0;
        let mut gone = BTreeSet::new();
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
            for snapshot in &some {
                let manifest = snapshot.value.manifest;
                match app.ports.blobs.get(scope, manifest.into()).await {
                    Ok(Some(_)) => {
                        for blob in self.manifest(scope, manifest).await?.blobs() {
                            if gone.insert(blob) {
                                app.ports.blobs.delete(scope, blob.into()).await?;
                            }
                        }
                        app.ports.blobs.delete(scope, manifest.into()).await?;
                    }
                    // Two snapshots may have one manifest: this was the second.
                    Ok(None) | Err(BlobError::Damaged(_)) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            let writes: Vec<Write> = some.iter().map(document::delete).collect();
            app.commit_own("agent.purge_snapshots", writes).await?;
        }
        let key = keys::history(scope, agent);
        if let Some(history) = document::get::<History>(app.table(), &key).await? {
            if let Some(home) = history.value.home
                && app.ports.blobs.size(scope, home.into()).await?.is_some()
            {
                for blob in self.manifest(scope, home).await?.blobs() {
                    app.ports.blobs.delete(scope, blob.into()).await?;
                }
                app.ports.blobs.delete(scope, home.into()).await?;
            }
            app.commit_own("agent.purge_history", vec![document::delete(&history)]).await?;
        }
        Ok(())
    }
}
