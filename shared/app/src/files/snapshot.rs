//! Make a snapshot.

use domain::event::Draft;
use domain::realm::{Realm, RealmLimits};
use domain::workspace::{Cause, Manifest, Snapshot};
use domain::{AgentId, RunId, SnapshotId};
use store::{Scope, document, keys};
use wire::files::SnapshotView;

use super::Files;
use super::edit::Whole;
use super::record::Recorded;
use crate::commit::retry_conflict;
use crate::turn::{Turn, load_run};
use crate::{Caller, Error};

/// What a workspace holds now, beside what its history ends with.
pub(super) struct Taken {
    pub(super) whole: Whole,
    pub(super) before: Manifest,
    pub(super) now: Manifest,
}

impl Taken {
    /// Whether the history ends with something else.
    pub(super) fn is_news(&self) -> bool {
        self.whole.history.is_none() || !self.now.same(&self.before)
    }
}

impl Files<'_> {
    /// Makes a snapshot of the workspace as it is. Where nothing has changed since the latest, that one
    /// is the answer. Refused while the workspace is being rolled back or imported into. One read, one
    /// commit.
    pub async fn snapshot(&self, caller: &Caller, agent: AgentId) -> Result<SnapshotView, Error> {
        let _turn = self.0.ports.workspaces.turn(agent).await;
        retry_conflict(self.0, || async {
            let taken = self.take(caller.scope, agent).await?;
            taken.whole.is_settled(self.0.now())?;
            let (why, limits) = ((Cause::Asked, None), &caller.realm.limits);
            let (snapshot, writes) = self.keep(caller.scope, &taken, why, limits).await?;
            let view = SnapshotView::from(&snapshot);
            self.0.commit(caller, "snapshot.create", snapshot.id, writes, &view).await?;
            Ok(view)
        })
        .await
    }

    /// Makes a snapshot of how a run has left the workspace, where it has changed it. The latest, then.
    pub(super) async fn after_run(
        &self,
        scope: Scope,
        agent: AgentId,
        run: RunId,
    ) -> Result<Option<SnapshotId>, Error> {
        let _turn = self.0.ports.workspaces.turn(agent).await;
        retry_conflict(self.0, || async {
            let taken = self.take(scope, agent).await?;
            taken.whole.is_settled(self.0.now())?;
            if !taken.is_news() {
                return Ok(taken.whole.history.map(|history| history.value.latest.id));
            }
            let (why, limits) = ((Cause::Run, Some(run)), self.limits(scope).await?);
            let (snapshot, writes) = self.keep(scope, &taken, why, &limits).await?;
            self.0.commit_own("snapshot.after_run", writes).await?;
            Ok(Some(snapshot.id))
        })
        .await
    }

    /// Makes a snapshot of how a run has left the workspace whose shim has not lived to ask for it. For
    /// the worker.
    pub(crate) async fn after_loss(
        &self,
        scope: Scope,
        agent: AgentId,
        run: RunId,
    ) -> Result<(), Error> {
        match self.after_run(scope, agent, run).await {
            // Another try would find as much.
            Err(error @ Error::WorkspaceTooLarge) => self.tell_not_kept(scope, run, &error).await,
            // It had one more run than time.
            Err(Error::Reclaimed(_)) => Ok(()),
            done => done.map(drop),
        }
    }

    /// Tells whoever follows the run that it has no snapshot, and why. A run whose session is gone has
    /// nobody to be told to.
    async fn tell_not_kept(&self, scope: Scope, run: RunId, why: &Error) -> Result<(), Error> {
        let app = self.0;
        let told = retry_conflict(app, || async {
            let session = load_run(app, scope, run).await?.value.session;
            let mut turn = Turn::of(app, scope, session).await?;
            turn.draft(Draft::workspace_not_kept(run, &why.to_string()));
            let writes = turn.into_writes(app).await?;
            app.commit_own("snapshot.refuse", writes).await
        });
        match told.await {
            Err(Error::NotFound(_)) => Ok(()),
            told => told,
        }
    }

    /// Looks at the workspace as it is. One read.
    pub(super) async fn take(&self, scope: Scope, agent: AgentId) -> Result<Taken, Error> {
        let whole = self.whole(scope, agent).await?;
        let before = self.latest(scope, agent, whole.history.as_ref()).await?;
        let now = if self.0.ports.workspaces.are_here() {
            self.pack_all(scope, agent, &before).await?
        } else if whole.container.as_ref().is_some_and(|container| container.value.state.may_run())
        {
            return Err(Error::WorkspaceInUse);
        } else {
            before.clone()
        };
        Ok(Taken { whole, before, now })
    }

    /// What the realm may hold. One read.
    pub(super) async fn limits(&self, scope: Scope) -> Result<RealmLimits, Error> {
        let realm = document::get::<Realm>(self.0.table(), &keys::realm(scope)).await?;
        realm.map(|realm| realm.value.limits).ok_or(Error::NotFound("realm"))
    }

    /// The snapshot of what was taken, and the writes that make it so: none where it is there already.
    pub(super) async fn keep(
        &self,
        scope: Scope,
        taken: &Taken,
        why: (Cause, Option<RunId>),
        limits: &RealmLimits,
    ) -> Result<(Snapshot, Vec<store::Write>), Error> {
        match &taken.whole.history {
            Some(history) if !taken.is_news() => Ok((history.value.latest.clone(), Vec::new())),
            Some(_) | None => {
                let states = (&taken.before, &taken.now);
                let recorded = self.record(scope, &taken.whole, states, why, limits).await?;
                let Recorded { snapshot, writes } = recorded;
                Ok((snapshot, writes))
            }
        }
    }
}
