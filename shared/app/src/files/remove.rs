//! Remove a file, or a directory with all that is in it.

use std::collections::BTreeMap;

use domain::AgentId;
use domain::workspace::WorkspacePath;

use super::Files;
use super::edit::Edit;
use crate::{Caller, Error};

impl Files<'_> {
    /// Removes what is there; of a link the link, of a directory all below it. One read, one commit.
    pub async fn remove(
        &self,
        caller: &Caller,
        agent: AgentId,
        path: &WorkspacePath,
    ) -> Result<(), Error> {
        let edits = BTreeMap::from([(path.clone(), Edit::Gone)]);
        self.change(caller, agent, "file.remove", &edits, ()).await
    }
}
