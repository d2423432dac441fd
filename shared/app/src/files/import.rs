//! Import a tar archive.

use domain::AgentId;
use domain::workspace::MAX_TRANSFER;
use wire::files::Imported;

use super::edit::Edit;
use super::tar::{Planned, plan};
use super::{Files, Incoming};
use crate::{Caller, Error};

impl Files<'_> {
    /// Puts what an archive holds into the workspace, in place of what is there. An archive is refused as
    /// a whole before anything is written; what is already there may be in the way of one of its entries
    /// nonetheless, and then those before it have been written. One read, one commit.
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
        self.change(caller, agent, "file.import", &edits.collect(), imported).await
    }
}
