//! API keys in the table.

use domain::key::ApiKey;

use crate::document::Document;
use crate::{Index, Key, Scope, keys};

impl Document for ApiKey {
    fn key(&self) -> Key {
        keys::api_key(self.id)
    }

    fn index(&self) -> Option<Index> {
        Some(keys::api_key_index(Scope::of(self.realm), self.id))
    }
}
