//! Uploads in the table.

use domain::upload::Upload;

use crate::document::Document;
use crate::{Key, Scope, keys};

impl Document for Upload {
    fn key(&self) -> Key {
        keys::upload(Scope::of(self.realm), self.id)
    }
}
