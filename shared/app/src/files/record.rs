//! Write a snapshot down.

use domain::workspace::{
    Cause, Changed, History, MAX_BYTES, MAX_ENTRIES, Manifest, Snapshot, changes,
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
        (before, after): (&Manifest, &Manifest),
        (cause, run): (Cause, Option<RunId>),
    ) -> Result<Recorded, Error> {
        let app = self.0;
        let (agent, history) = (&of.agent, of.history.as_ref());
        let (files, bytes) = after.weight();
        let json = serde_json::to_vec(after).map_err(|_| Error::Bug("a manifest serialises"))?;
        if after.entries.len() > MAX_ENTRIES || bytes > MAX_BYTES || json.len() > MAX_BLOB {
            return Err(Error::WorkspaceTooLarge);
        }
        let manifest = app.ports.blobs.put(scope, json).await?.into();
        let now = app.now();
        let snapshot = Snapshot {
            id: SnapshotId::new(app.ulid(now)),
            realm: scope.realm(),
            agent: agent.value.id,
            cause,
            run,
            parent: history.map(|history| {
                let latest = &history.value.latest;
                (latest.id, latest.manifest)
            }),
            manifest,
            files,
            bytes,
            changed: Changed::of(&changes(before, after)),
            left_out: after.left_out_count,
            created_at: now,
        };
        let latest = History {
            realm: scope.realm(),
            agent: agent.value.id,
            latest: snapshot.clone(),
            home: of.home,
        };
        let writes = vec![
            document::put(&snapshot, Expect::Absent),
            document::put(&latest, history.map_or(Expect::Absent, Loaded::expect)),
            document::check(agent),
        ];
        Ok(Recorded { snapshot, writes })
    }
}
