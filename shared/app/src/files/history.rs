//! Look at the history of a workspace.

use domain::workspace::Snapshot;
use domain::{AgentId, SnapshotId};
use store::{document, keys};
use wire::Page;
use wire::files::SnapshotView;

use super::Files;
use crate::agents::{Paging, page};
use crate::{Caller, Error};

impl Files<'_> {
    /// A page of an agent's snapshots. One read; where there are none, another for whether there is
    /// such an agent.
    pub async fn history(
        &self,
        caller: &Caller,
        agent: AgentId,
        paging: Paging,
    ) -> Result<Page<SnapshotView>, Error> {
        let query = paging.query(keys::snapshots_of(caller.scope, agent))?;
        let listed = document::list::<Snapshot>(self.0.table(), query).await?;
        if listed.items.is_empty() {
            self.0.agents().load(caller, agent).await?.value.has_workspace()?;
        }
        Ok(page(listed.items.iter().map(SnapshotView::from), listed.next.as_ref()))
    }

    /// One snapshot. One read.
    pub async fn snapshot_of(
        &self,
        caller: &Caller,
        agent: AgentId,
        id: SnapshotId,
    ) -> Result<SnapshotView, Error> {
        let key = keys::snapshot(caller.scope, agent, id);
        let snapshot = document::get::<Snapshot>(self.0.table(), &key).await?;
        let snapshot = snapshot.ok_or(Error::NotFound("snapshot"))?;
        Ok(SnapshotView::from(&snapshot.value))
    }
}
