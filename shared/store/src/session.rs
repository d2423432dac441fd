//! Sessions in the table.

use domain::session::Session;

use crate::document::Document;
use crate::{Index, Key, Scope, keys};

impl Document for Session {
    fn key(&self) -> Key {
        keys::session(Scope::of(self.realm), self.id)
    }

    fn index(&self) -> Option<Index> {
        Some(keys::session_index(Scope::of(self.realm), self.agent, self.id))
    }
}
