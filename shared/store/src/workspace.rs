//! Workspaces in the table: their snapshots, and where each history ends.

use domain::workspace::{History, Snapshot};

use crate::document::Document;
use crate::{Key, Scope, keys};

impl Document for Snapshot {
    fn key(&self) -> Key {
        keys::snapshot(Scope::of(self.realm), self.agent, self.id)
    }
}

impl Document for History {
    fn key(&self) -> Key {
        keys::history(Scope::of(self.realm), self.agent)
    }
}
