//! The catalog in the table: what the installation's registry lists, which is everybody's to read,
//! and what a realm added by hand.

use domain::registry::{Listed, Sync};

use crate::document::Document;
use crate::{Key, Scope, keys};

impl Document for Listed {
    fn key(&self) -> Key {
        // Without a version there is no id, and who makes one gives it a version.
        let id = &self.latest().unwrap_or_else(|| unreachable!("a listed agent has a version")).id;
        match self.realm {
            Some(realm) => keys::own_registry_agent(Scope::of(realm), id),
            None => keys::registry_agent(id),
        }
    }
}

impl Document for Sync {
    fn key(&self) -> Key {
        keys::registry()
    }
}
