//! Take away what is too much of a workspace's history, and blobs that nobody names.
//!
//! What holds here
//! - What is kept is whole: a blob goes only where no snapshot that stays names it, nor the snapshot before
//!   the oldest of them, which that is compared with, nor the home.
//! - Rows go first, then blobs: who still has a row in hand finds in its commit that it is gone.
//! - A blob that nobody names and nobody ever named is left alone for [`UNNAMED`]: somebody may be about
//!   to. Where blobs are put beside us, the commit before the first one goes makes everybody who has put one
//!   and not yet said what for begin again, once the last one is gone.

use std::collections::BTreeSet;
use std::time::Duration;

use domain::due::Errand;
use domain::workspace::{History, Snapshot, UNNAMED, surplus};
use domain::{AgentId, Digest, Timestamp};
use store::document::{self, Loaded};
use store::{Direction, MAX_LIMIT, Query, Range, Scope, keys};

use super::Files;
use crate::Error;
use crate::ports::{BlobId, Shelf};

/// The most snapshots that go in one commit.
const AT_ONCE: usize = 80;

/// How long others wait at the most for a collector that does not come back, and how long each blob
/// may take.
const PATIENCE: Duration = Duration::from_secs(20);
const EACH: Duration = Duration::from_millis(50);

impl Files<'_> {
    /// Removes the snapshots of an agent that its realm does not keep, and the blobs that nobody names, and
    /// plans the next look where there is something to look for. For the worker. Costs as much as all
    /// snapshots weigh.
    pub(crate) async fn collect(&self, scope: Scope, agent: AgentId) -> Result<(), Error> {
        let app = self.0;
        let _turn = app.ports.workspaces.turn(agent).await;
        loop {
            let history = match self.load(scope, agent).await {
                Ok((_, Some(history))) => history,
                Ok((_, None)) | Err(Error::Reclaimed(_)) => return Ok(()),
                Err(error) => return Err(error),
            };
            // Another errand is to look instead.
            if history.value.collect_at.is_none_or(|at| app.now() < at) {
                return Ok(());
            }
            if history.value.restoring.is_some() {
                return Err(Error::BeingRenewed);
            }
            if self.collect_some(scope, &history).await? {
                return Ok(());
            }
        }
    }

    /// Whether nothing is left to go.
    async fn collect_some(&self, scope: Scope, before: &Loaded<History>) -> Result<bool, Error> {
        let (app, agent) = (self.0, before.value.agent);
        let (whose, limits) = (Shelf::of(scope, agent), self.limits(scope).await?);
        let all = self.all_snapshots(scope, agent).await?;
        let now = app.now();
        let made: Vec<Timestamp> = all.iter().map(|one| one.value.created_at).collect();
        let go = surplus(&made, limits.max_snapshots, limits.retention(), now);
        let (gone, stay) = all.split_at(go.min(AT_ONCE));
        let (unneeded, young) = self.unneeded(whose, &before.value, (gone, stay), now).await?;

        // From here on nobody names any of them without having put it anew.
        let mut writes: Vec<_> = gone.iter().map(document::delete).collect();
        let others = !app.ports.workspaces.are_here() && !unneeded.is_empty();
        let many = u32::try_from(unneeded.len()).unwrap_or(u32::MAX);
        let until = others.then(|| now.after(PATIENCE + EACH * many));
        let kept = u32::try_from(stay.len()).unwrap_or(u32::MAX);
        let mut history = History { kept, collecting_until: until, ..before.value.clone() };
        let mut version = before.version;
        if others || !gone.is_empty() {
            writes.push(document::put(&history, before.expect()));
            app.commit_own("workspace.collect", writes).await?;
            version += 1;
        }
        for some in unneeded.chunks(100) {
            if until.is_some_and(|until| until <= app.now().after(PATIENCE / 2)) {
                // Others may go on soon. What is left is nobody's, and found again.
                return Err(Error::Conflict);
            }
            self.remove_blobs(whose, some.to_vec()).await?;
        }
        history.collecting_until = None;
        let more = go > gone.len();
        let mut writes = Vec::new();
        if !more {
            // Beside the latest, what is kept grows too old one day.
            let oldest = stay.first().filter(|_| stay.len() > 1);
            let old = oldest.map(|one| one.value.created_at.after(limits.retention()));
            let soon = now.after(UNNAMED);
            let next = if young { Some(soon) } else { old.map(|at| at.max(soon)) };
            history.collect_at = next;
            let errand = |at| app.due(scope.realm(), Errand::Collect { agent }, at);
            writes.extend(next.map(|at| store::due::put(&errand(at))));
        }
        writes.push(document::put(&history, store::Expect::Version(version)));
        app.commit_own("workspace.collected", writes).await?;
        Ok(!more)
    }

    /// What nobody needs on a shelf once `gone` are gone and `stay` stay; and whether there is more that
    /// nobody names, and that somebody may still be about to.
    async fn unneeded(
        &self,
        whose: Shelf,
        history: &History,
        (gone, stay): (&[Loaded<Snapshot>], &[Loaded<Snapshot>]),
        now: Timestamp,
    ) -> Result<(Vec<BlobId>, bool), Error> {
        let manifests = |of: &[Loaded<Snapshot>]| -> BTreeSet<Digest> {
            of.iter().map(|one| one.value.manifest).collect()
        };
        let parent = stay.first().and_then(|oldest| oldest.value.parent);
        let kept = manifests(stay).into_iter().chain(history.home);
        let mut named = BTreeSet::new();
        for manifest in kept.chain(parent.map(|(_, manifest)| manifest)) {
            self.name(whose, manifest, &mut named).await?;
        }
        // The one before the oldest stayed for that.
        let before = gone.first().and_then(|oldest| oldest.value.parent);
        let mut theirs = BTreeSet::new();
        for manifest in manifests(gone).into_iter().chain(before.map(|(_, manifest)| manifest)) {
            self.name(whose, manifest, &mut theirs).await?;
        }
        let (mut unneeded, mut young) = (Vec::new(), false);
        for blob in self.shelved(whose).await? {
            let digest = Digest::from(blob.id);
            if named.contains(&digest) {
                continue;
            }
            if theirs.contains(&digest) || blob.put_at.after(UNNAMED) <= now {
                unneeded.push(blob.id);
            } else {
                young = true;
            }
        }
        Ok((unneeded, young))
    }

    /// Adds a manifest, where it is there, and all that it names.
    async fn name(
        &self,
        whose: Shelf,
        manifest: Digest,
        named: &mut BTreeSet<Digest>,
    ) -> Result<(), Error> {
        let there = self.0.ports.blobs.size(whose, manifest.into()).await?.is_some();
        if there && named.insert(manifest) {
            named.extend(self.manifest(whose, manifest).await?.blobs());
        }
        Ok(())
    }

    /// Every snapshot, oldest first.
    async fn all_snapshots(
        &self,
        scope: Scope,
        agent: AgentId,
    ) -> Result<Vec<Loaded<Snapshot>>, Error> {
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let query = Query {
                pk: keys::snapshots_of(scope, agent),
                on_index: false,
                range: Range::Prefix(String::new()),
                direction: Direction::Ascending,
                after,
                limit: MAX_LIMIT,
            };
            let page = document::list_versions::<Snapshot>(self.0.table(), query).await?;
            all.extend(page.items);
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(all),
            }
        }
    }
}
