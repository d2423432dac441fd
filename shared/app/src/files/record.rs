//! Write a snapshot down.

use domain::workspace::{
    Cause, Changed, History, MAX_BYTES, MAX_ENTRIES, Manifest, Restoring, Snapshot, changes,
};
use domain::{RunId, SnapshotId};
use store::document::{self, Loaded};
use store::{Expect, Scope, Write};

use super::Files;
use super::edit::Whole;
use crate::Error;
use crate::ports::MAX_BLOB;

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
    ) -> Result<Recorded, Error> {
        let parent = of.history.as_ref().map(|history| &history.value.latest);
        let snapshot = self.picture(scope, parent, states, why).await?;
        let mut writes = vec![document::put(&snapshot, Expect::Absent)];
        writes.extend(of.ends_with(scope, snapshot.clone(), None));
        Ok(Recorded { snapshot, writes })
    }

    /// Puts the manifest `after` into a blob. The snapshot of it, which follows `parent`.
    pub(super) async fn picture(
        &self,
        scope: Scope,
        parent: Option<&Snapshot>,
        (before, after): (&Manifest, &Manifest),
        (cause, run): (Cause, Option<RunId>),
    ) -> Result<Snapshot, Error> {
        let app = self.0;
        let (files, bytes) = after.weight();
        let json = serde_json::to_vec(after).map_err(|_| Error::Bug("a manifest serialises"))?;
        if after.entries.len() > MAX_ENTRIES || bytes > MAX_BYTES || json.len() > MAX_BLOB {
            return Err(Error::WorkspaceTooLarge);
        }
        let manifest = app.ports.blobs.put(scope, json).await?.into();
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
}

impl Whole {
    /// The writes after which the history ends with `latest`, while the agent is what it was.
    pub(super) fn ends_with(
        &self,
        scope: Scope,
        latest: Snapshot,
        restoring: Option<Restoring>,
    ) -> [Write; 2] {
        let agent = self.agent.value.id;
        let history = History { realm: scope.realm(), agent, latest, home: self.home, restoring };
        let expect = self.history.as_ref().map_or(Expect::Absent, Loaded::expect);
        [document::put(&history, expect), document::check(&self.agent)]
    }
}
