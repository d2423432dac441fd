//! Import a tar archive.

use std::collections::BTreeMap;

use domain::AgentId;
use domain::workspace::{MAX_TRANSFER, Manifest, Renewal, WorkspacePath};
use wire::files::Imported;

use super::edit::Edit;
use super::renew::Decided;
use super::tar::{Planned, plan};
use super::{Files, Incoming};
use crate::commit::retry_conflict;
use crate::{Caller, Error};

impl Files<'_> {
    /// Puts what an archive holds into the workspace, in place of what is there: all of it or nothing, and
    /// that is a snapshot. Refused while a run is in flight; a prompt that comes meanwhile waits. Refused,
    /// too, where the workspace is larger than a snapshot may be. One read, one commit; where the workspace
    /// is a directory, a read and a commit more.
    ///
    /// Once it is decided it is carried out, whatever fails or is killed.
    pub async fn import(
        &self,
        caller: &Caller,
        agent: AgentId,
        archive: &Incoming,
    ) -> Result<Imported, Error> {
        if archive.size() > MAX_TRANSFER {
            return Err(Error::TransferTooLarge);
        }
        let plan = plan(archive)?;
        let imported =
            plan.values().fold(Imported { files_written: 0, bytes_written: 0 }, |sum, what| {
                let (files, bytes) = match what {
                    Planned::File { size, .. } => (1, *size),
                    Planned::Link(_) => (1, 0),
                    Planned::Directory => (0, 0),
                };
                Imported {
                    files_written: sum.files_written + files,
                    bytes_written: sum.bytes_written + bytes,
                }
            });
        let edits = plan.into_iter().map(|(path, what)| {
            let edit = match what {
                Planned::Directory => Edit::Directory,
                Planned::Link(target) => Edit::Link(target),
                Planned::File { offset, size, executable } => {
                    let (content, range) = (archive.clone(), offset..offset + size);
                    Edit::File { content, range, executable }
                }
            };
            (path, edit)
        });
        let edits: BTreeMap<_, _> = edits.collect();
        if !self.0.ports.workspaces.are_here() {
            return self.change(caller, agent, "file.import", &edits, imported).await;
        }
        let _turn = self.0.ports.workspaces.turn(agent).await;
        let decide = || async {
            let taken = self.grasp(caller.scope, agent).await?;
            self.has_room(agent, &edits).await?;
            no_way_through(&taken.now, &edits)?;
            let after = self.edited(caller.scope, &taken.now, &edits).await?;
            let mut writes = Vec::new();
            if !after.same(&taken.now) {
                (_, writes) = self.decide(caller, &taken, &after, Renewal::Import).await?;
            }
            self.0.commit(caller, "file.import", agent, writes, &imported).await?;
            Ok(Decided { agent: taken.whole.agent.value, now: taken.now, after })
        };
        let decided = retry_conflict(self.0, decide).await?;
        self.fulfil(caller, &decided).await?;
        Ok(imported)
    }
}

/// Fails where something that is in no manifest is where an entry, or a directory of its path, would be.
fn no_way_through(now: &Manifest, edits: &BTreeMap<WorkspacePath, Edit>) -> Result<(), Error> {
    for left in &now.left_out {
        let Ok(odd) = WorkspacePath::new(left.path.as_str()) else { continue };
        if edits.keys().any(|path| *path == odd || path.is_below(&odd)) {
            return Err(Error::InTheWay(left.path.clone()));
        }
    }
    Ok(())
}
