//! Make a workspace what it was.

use domain::workspace::{Entry, Manifest, Renewal, Snapshot};
use domain::{AgentId, SnapshotId};
use store::{document, keys};
use wire::files::SnapshotView;

use super::Files;
use super::renew::Decided;
use crate::commit::retry_conflict;
use crate::ports::Shelf;
use crate::{Caller, Error};

impl Files<'_> {
    /// Makes the workspace what a snapshot says, and adds that to the history. What has changed since the
    /// latest snapshot gets one of its own first. Refused while a run is in flight, and where the
    /// workspace is in its container, while that may run. Two reads, one commit; where the workspace is
    /// a directory, a read and a commit more.
    ///
    /// Once it is decided it is carried out, whatever fails or is killed; who begins another meanwhile
    /// waits for the end of the first.
    pub async fn rollback(
        &self,
        caller: &Caller,
        agent: AgentId,
        id: SnapshotId,
    ) -> Result<SnapshotView, Error> {
        let (app, scope) = (self.0, caller.scope);
        let _turn = app.ports.workspaces.turn(agent).await;
        let decide = || async {
            let key = keys::snapshot(scope, agent, id);
            let target = document::get::<Snapshot>(app.table(), &key).await?;
            let target = target.ok_or(Error::NotFound("snapshot"))?;
            // Who removes it meanwhile removes its row first, and what is in it next.
            let still = document::check(&target);
            let target = self.manifest(Shelf::of(scope, agent), target.value.manifest).await?;
            let taken = self.grasp(scope, agent).await?;
            let after = settled(&target, &taken.now);
            let (snapshot, mut writes) =
                self.decide(caller, &taken, &after, Renewal::Rollback).await?;
            writes.push(still);
            let view = SnapshotView::from(&snapshot);
            app.commit(caller, "snapshot.rollback", view.id, writes, &view).await?;
            Ok((Decided { agent: taken.whole.agent.value, now: taken.now, after }, view))
        };
        let (decided, view) = retry_conflict(app, decide).await?;
        self.fulfil(caller, &decided).await?;
        Ok(view)
    }
}

/// What the workspace will be: as `target`, seen as it is `now` where it stays.
fn settled(target: &Manifest, now: &Manifest) -> Manifest {
    let entries = target.entries.iter().map(|(path, entry)| {
        let entry = match now.entries.get(path) {
            Some(there) if there.same(entry) => there.clone(),
            Some(_) | None => Entry { stamp: None, ..entry.clone() },
        };
        (path.clone(), entry)
    });
    Manifest {
        agent: target.agent,
        entries: entries.collect(),
        left_out: now.left_out.clone(),
        left_out_count: now.left_out_count,
    }
}
