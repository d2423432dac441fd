//! Make a workspace what it was.

use domain::container::Container;
use domain::workspace::{Cause, Entry, Manifest, Node, Snapshot, WorkspacePath};
use domain::{AgentId, SnapshotId};
use store::{Scope, document, keys};
use wire::files::SnapshotView;

use super::Files;
use super::pack::Unpacker;
use super::record::Recorded;
use super::snapshot::Taken;
use crate::commit::retry_conflict;
use crate::ports::Put;
use crate::{Caller, Error};

impl Files<'_> {
    /// Makes the workspace what a snapshot says, and adds that to the history. What has changed since the
    /// latest snapshot gets one of its own first. Refused while a run is in flight, and where the
    /// workspace is in its container, while that may run. Two reads, one commit; one more where there
    /// was something to keep.
    ///
    /// Killed half-way, the workspace is half of each: what was there before has a snapshot, and so has
    /// what it was to become.
    pub async fn rollback(
        &self,
        caller: &Caller,
        agent: AgentId,
        id: SnapshotId,
    ) -> Result<SnapshotView, Error> {
        let scope = caller.scope;
        let key = keys::snapshot(scope, agent, id);
        let target = document::get::<Snapshot>(self.0.table(), &key).await?;
        let target = target.ok_or(Error::NotFound("snapshot"))?.value;
        let target = self.manifest(scope, target.manifest).await?;
        let _turn = self.0.ports.workspaces.turn(agent).await;
        retry_conflict(self.0, || async {
            let taken = self.take(scope, agent).await?;
            let busy =
                |container: &document::Loaded<Container>| container.value.sessions_of(agent).len();
            let runs = taken.whole.container.as_ref().map_or(0, busy);
            if runs > 0 {
                return Err(Error::RunsInFlight(runs));
            }
            let taken = self.keep_first(scope, taken).await?;
            let after = settled(&target, &taken.now);
            if self.0.ports.workspaces.are_here() {
                self.apply(scope, &taken.now, &after).await?;
            }
            let states = (&taken.now, &after);
            let recorded =
                self.record(scope, &taken.whole, states, (Cause::Rollback, None)).await?;
            let Recorded { snapshot, mut writes } = recorded;
            writes.push(taken.whole.check_container(scope));
            let view = SnapshotView::from(&snapshot);
            self.0.commit(caller, "snapshot.rollback", snapshot.id, writes, &view).await?;
            Ok(view)
        })
        .await
    }

    /// Keeps what is there now, where no snapshot has it.
    async fn keep_first(&self, scope: Scope, mut taken: Taken) -> Result<Taken, Error> {
        if !taken.is_news() || taken.now.entries.is_empty() && taken.whole.history.is_none() {
            return Ok(taken);
        }
        let (snapshot, writes) = self.keep(scope, &taken, (Cause::BeforeRollback, None)).await?;
        self.0.commit_own("snapshot.before_rollback", writes).await?;
        let (realm, agent) = (snapshot.realm, snapshot.agent);
        let version = taken.whole.history.as_ref().map_or(1, |history| history.version + 1);
        let value =
            domain::workspace::History { realm, agent, latest: snapshot, home: taken.whole.home };
        taken.whole.history = Some(document::Loaded { value, version });
        Ok(taken)
    }

    /// Makes a directory that holds `now` hold `after`.
    async fn apply(&self, scope: Scope, now: &Manifest, after: &Manifest) -> Result<(), Error> {
        let (workspaces, agent) = (&self.0.ports.workspaces, now.agent);
        let mut removed: Option<&WorkspacePath> = None;
        for (path, entry) in &now.entries {
            if removed.is_some_and(|removed| path.is_below(removed)) {
                continue;
            }
            let stays = after
                .entries
                .get(path)
                .is_some_and(|other| other.is_directory() == entry.is_directory());
            if !stays {
                workspaces.remove(agent, path).await?;
                removed = Some(path);
            }
        }
        let unpacker = Unpacker::new(self.0, scope);
        for (path, entry) in &after.entries {
            if now.entries.get(path).is_some_and(|there| there.same(entry)) {
                continue;
            }
            let put = match &entry.node {
                Node::Directory => Put::Directory,
                Node::Link(target) => Put::Link(target.clone()),
                Node::File { size, executable, extents, .. } => {
                    let content = unpacker.content(extents, 0..*size);
                    Put::File { content, executable: *executable }
                }
            };
            workspaces.put(agent, path, put).await?;
        }
        Ok(())
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
