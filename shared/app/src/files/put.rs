//! Put a file.

use std::collections::BTreeMap;

use domain::AgentId;
use domain::workspace::{MAX_FILE, WorkspacePath};

use super::edit::Edit;
use super::{Files, Incoming};
use crate::{Caller, Error};

impl Files<'_> {
    /// Puts a file there, and the directories of its path, in place of a file or link that is there.
    /// It is there whole or not at all. One read, one commit.
    pub async fn put(
        &self,
        caller: &Caller,
        agent: AgentId,
        path: &WorkspacePath,
        executable: bool,
        content: &Incoming,
    ) -> Result<(), Error> {
        if content.size() > MAX_FILE {
            return Err(Error::TransferTooLarge);
        }
        let file = Edit::File { content: content.clone(), range: 0..content.size(), executable };
        let edits = BTreeMap::from([(path.clone(), file)]);
        self.change(caller, agent, "file.put", &edits, ()).await
    }
}
