//! Make a workspace what it was.
//!
//! A rollback is decided by one commit: what was there before has a snapshot, the history ends with the
//! rollback's own, and where the workspace is a directory, it is [`Restoring`]. The directory follows: at
//! once, and where that fails or nobody lives to do it, by an errand, which looks at the directory as it
//! is and does the rest. Until it is done no prompt reaches the agent and nobody else changes files; a
//! prompt that came before is a run in flight, which that commit rests on there being none of.

use std::time::Duration;

use domain::agent::Agent;
use domain::container::Container;
use domain::due::Errand;
use domain::workspace::{
    Cause, Entry, History, Manifest, Node, Restoring, Snapshot, WorkspacePath,
};
use domain::{AgentId, SnapshotId};
use store::document::{self, Loaded};
use store::{Scope, keys};
use wire::files::SnapshotView;

use super::Files;
use super::edit::Whole;
use super::pack::Unpacker;
use crate::commit::retry_conflict;
use crate::ports::{Put, Shelf};
use crate::{Caller, Error};

/// How long a directory may refuse to become what it is to be before it is left as it is.
const PATIENCE: Duration = Duration::from_mins(10);

/// The most sessions that are told at once that their prompt may go on. The others look for themselves.
const TOLD: usize = 80;

/// A rollback that was decided.
struct Decided {
    agent: Agent,
    view: SnapshotView,
    now: Manifest,
    after: Manifest,
}

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
        let (scope, workspaces) = (caller.scope, &self.0.ports.workspaces);
        let _turn = workspaces.turn(agent).await;
        let Decided { agent: of, view, now, after } =
            retry_conflict(self.0, || self.decide(caller, agent, id)).await?;
        self.wake(caller, &of).await?;
        if workspaces.are_here() {
            self.apply(scope, &now, &after).await?;
            self.settle(scope, agent).await?;
        }
        Ok(view)
    }

    async fn decide(
        &self,
        caller: &Caller,
        agent: AgentId,
        id: SnapshotId,
    ) -> Result<Decided, Error> {
        let (app, scope, limits) = (self.0, caller.scope, &caller.realm.limits);
        let key = keys::snapshot(scope, agent, id);
        let target = document::get::<Snapshot>(app.table(), &key).await?;
        let target = target.ok_or(Error::NotFound("snapshot"))?;
        // Who removes it meanwhile removes its row first, and what is in it next.
        let still = document::check(&target);
        let target = self.manifest(Shelf::of(scope, agent), target.value.manifest).await?;
        let mut taken = self.take(scope, agent).await?;
        match taken.whole.is_settled(app.now()) {
            Err(Error::BeingRolledBack) => {
                // What cannot be done must not be in the way of what can.
                if let Err(error) = self.carry_on(scope, &taken.whole).await {
                    tracing::warn!(agent.id = %agent, %error, "a rollback gives way to another");
                }
                taken = self.take(scope, agent).await?;
            }
            settled => settled?,
        }
        let busy = |container: &Loaded<Container>| container.value.sessions_of(agent).len();
        let runs = taken.whole.container.as_ref().map_or(0, busy);
        if runs > 0 {
            return Err(Error::RunsInFlight(runs));
        }
        let latest = taken.whole.history.as_ref().map(|history| &history.value.latest);
        let mut before = None;
        if taken.is_news() && !(taken.now.entries.is_empty() && latest.is_none()) {
            let (states, why) = ((&taken.before, &taken.now), (Cause::BeforeRollback, None));
            before = Some(self.picture(scope, latest, states, why, limits).await?);
        }
        let after = settled(&target, &taken.now);
        let (states, why) = ((&taken.now, &after), (Cause::Rollback, None));
        let parent = before.as_ref().or(latest);
        let snapshot = self.picture(scope, parent, states, why, limits).await?;
        let view = SnapshotView::from(&snapshot);
        let (now, mut writes) = (app.now(), vec![still]);
        let restoring = app.ports.workspaces.are_here().then(|| {
            writes.push(store::due::put(&app.due(scope.realm(), Errand::Restore { agent }, now)));
            Restoring { by: caller.key, since: now, until: now.after(PATIENCE) }
        });
        let added: Vec<_> = before.iter().chain([&snapshot]).collect();
        writes.extend(self.ends_with(scope, &taken.whole, &added, restoring, limits));
        writes.push(taken.whole.check_container(scope));
        app.commit(caller, "snapshot.rollback", view.id, writes, &view).await?;
        Ok(Decided { agent: taken.whole.agent.value, view, now: taken.now, after })
    }

    /// Carries on a rollback that was decided, where one is not done yet; gives it up where it has failed
    /// for too long. For the worker. One read.
    pub(crate) async fn restore(&self, scope: Scope, agent: AgentId) -> Result<(), Error> {
        let _turn = self.0.ports.workspaces.turn(agent).await;
        let whole = match self.whole(scope, agent).await {
            Err(Error::Reclaimed(_)) => return Ok(()),
            whole => whole?,
        };
        let restoring = |history: &Loaded<History>| history.value.restoring;
        let Some(Restoring { until, .. }) = whole.history.as_ref().and_then(restoring) else {
            return Ok(());
        };
        match self.carry_on(scope, &whole).await {
            Err(error) if self.0.now() >= until => {
                tracing::error!(agent.id = %agent, %error, "a rollback is given up half-way");
                self.settle(scope, agent).await
            }
            done => done,
        }
    }

    /// Makes the directory what the history says that it is to be, as far as it is not.
    async fn carry_on(&self, scope: Scope, whole: &Whole) -> Result<(), Error> {
        let agent = whole.agent.value.id;
        let after = self.latest(scope, agent, whole.history.as_ref()).await?;
        let now = self.look_at_all(agent, &after).await?;
        self.apply(scope, &now, &after).await?;
        self.settle(scope, agent).await
    }

    /// Writes down that the workspace is nobody's any more, and has the prompts go on that waited.
    async fn settle(&self, scope: Scope, agent: AgentId) -> Result<(), Error> {
        retry_conflict(self.0, || async {
            let (app, whole) = (self.0, self.whole(scope, agent).await?);
            let Some(history) = whole.history.as_ref() else { return Ok(()) };
            if history.value.restoring.is_none() {
                return Ok(());
            }
            let settled = History { restoring: None, ..history.value.clone() };
            let mut writes = vec![document::put(&settled, history.expect())];
            // Who prompts from now on finds it settled; who did before is in the container.
            writes.push(whole.check_container(scope));
            let busy = whole.container.iter().flat_map(|container| &container.value.busy);
            for (&session, _) in busy.filter(|&(_, &of)| of == agent).take(TOLD) {
                let errand = app.due(scope.realm(), Errand::Dispatch { session }, app.now());
                writes.push(store::due::put(&errand));
            }
            app.commit_own("snapshot.restored", writes).await
        })
        .await
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
        let unpacker = Unpacker::new(self.0, Shelf::of(scope, agent));
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
