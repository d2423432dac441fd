//! Write a snapshot down.

use domain::due::Errand;
use domain::realm::RealmLimits;
use domain::workspace::{
    Cause, Changed, History, MAX_BYTES, MAX_ENTRIES, Manifest, Restoring, Snapshot, changes,
};
use domain::{RunId, SnapshotId};
use store::document::{self, Loaded};
use store::{Expect, Scope, Write};

use super::Files;
use super::edit::Whole;
use crate::Error;
use crate::ports::{MAX_BLOB, Shelf};

/// A snapshot that is to be, and the writes that make it so.
pub(super) struct Recorded {
    pub(super) snapshot: Snapshot,
    pub(super) writes: Vec<Write>,
}

impl Files<'_> {
    /// Puts the manifest `after` into a blob, and prepares the rows that make it the end of the history.
    /// Its packs are there already. An agent that is deleted at that moment gets none.
    pub(super) async fn record(
        &self,
        scope: Scope,
        of: &Whole,
        states: (&Manifest, &Manifest),
        why: (Cause, Option<RunId>),
        limits: &RealmLimits,
    ) -> Result<Recorded, Error> {
        let parent = of.history.as_ref().map(|history| &history.value.latest);
        let snapshot = self.picture(scope, parent, states, why, limits).await?;
        let writes = self.ends_with(scope, of, &[&snapshot], None, limits);
        Ok(Recorded { snapshot, writes })
    }

    /// Puts the manifest `after` into a blob. The snapshot of it, which follows `parent`.
    pub(super) async fn picture(
        &self,
        scope: Scope,
        parent: Option<&Snapshot>,
        (before, after): (&Manifest, &Manifest),
        (cause, run): (Cause, Option<RunId>),
        limits: &RealmLimits,
    ) -> Result<Snapshot, Error> {
        let app = self.0;
        let (files, bytes) = after.weight();
        let json = serde_json::to_vec(after).map_err(|_| Error::Bug("a manifest serialises"))?;
        let entries = after.entries.len();
        let fits = entries <= MAX_ENTRIES && bytes <= MAX_BYTES && json.len() <= MAX_BLOB;
        if !fits || !limits.keeps(entries, bytes) {
            return Err(Error::WorkspaceTooLarge);
        }
        let manifest = app.ports.blobs.put(Shelf::of(scope, after.agent), json).await?.into();
        let now = app.now();
        Ok(Snapshot {
            id: SnapshotId::new(app.ulid(now)),
            realm: scope.realm(),
            agent: after.agent,
            cause,
            run,
            parent: parent.map(|parent| (parent.id, parent.manifest)),
            manifest,
            files,
            bytes,
            changed: Changed::of(&changes(before, after)),
            left_out: after.left_out_count,
            created_at: now,
        })
    }

    /// The writes by which the history goes on with `added`, the last of which is its end, while the agent
    /// is what it was; with somebody who looks what is too much, where nobody is about to.
    pub(super) fn ends_with(
        self,
        scope: Scope,
        of: &Whole,
        added: &[&Snapshot],
        restoring: Option<Restoring>,
        limits: &RealmLimits,
    ) -> Vec<Write> {
        let (app, agent) = (self.0, of.agent.value.id);
        let mut writes: Vec<Write> =
            added.iter().map(|snapshot| document::put(*snapshot, Expect::Absent)).collect();
        if let Some(&latest) = added.last() {
            let before = of.history.as_ref().map(|history| &history.value);
            let mut history = History {
                realm: scope.realm(),
                agent,
                latest: latest.clone(),
                home: of.home,
                restoring,
                kept: before.map_or(0, |before| before.kept),
                collect_at: before.and_then(|before| before.collect_at),
                collecting_until: None,
            };
            let added = u32::try_from(added.len()).unwrap_or(u32::MAX);
            if let Some(at) = history.grow(added, limits.max_snapshots, app.now()) {
                let errand = app.due(scope.realm(), Errand::Collect { agent }, at);
                writes.push(store::due::put(&errand));
            }
            let expect = of.history.as_ref().map_or(Expect::Absent, Loaded::expect);
            writes.push(document::put(&history, expect));
        }
        writes.push(document::check(&of.agent));
        writes
    }
}
