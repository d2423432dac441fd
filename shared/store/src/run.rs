//! Runs in the table.

use domain::run::Run;

use crate::document::Document;
use crate::{Index, Key, Scope, keys};

impl Document for Run {
    fn key(&self) -> Key {
        keys::run(Scope::of(self.realm), self.id)
    }

    fn index(&self) -> Option<Index> {
        Some(keys::run_index(Scope::of(self.realm), self.session, self.id))
    }
}
