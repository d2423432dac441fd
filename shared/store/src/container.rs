//! Containers in the table.

use domain::container::Container;

use crate::document::Document;
use crate::{Key, Scope, keys};

impl Document for Container {
    fn key(&self) -> Key {
        keys::container(Scope::of(self.realm), self.id)
    }
}
