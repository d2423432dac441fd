//! Bundles in the table: each under what was asked for, and once it is made under its content, too.

use domain::bundle::Bundle;
use serde::{Deserialize, Serialize};

use crate::document::Document;
use crate::{Key, Scope, keys};

impl Document for Bundle {
    fn key(&self) -> Key {
        keys::bundle(Scope::of(self.realm), self.id)
    }
}

/// A bundle that is made, where its content's digest finds it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Made(pub Bundle);

impl Document for Made {
    fn key(&self) -> Key {
        let Bundle { realm, id, content, .. } = &self.0;
        // What is not made is not put here; its id finds it.
        let digest = content.as_ref().map_or(*id, |content| content.digest);
        keys::made_bundle(Scope::of(*realm), digest)
    }
}
