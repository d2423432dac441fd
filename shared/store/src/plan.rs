//! Plans in the table, under their own hash. One that is there is never written again.

use domain::plan::ExecutionPlan;
use domain::{Digest, Timestamp};
use serde::{Deserialize, Serialize};

use crate::document::Document;
use crate::{Key, Scope, keys};

/// A plan as it is stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stored {
    /// Its name.
    pub hash: Digest,
    /// When it was first compiled.
    pub created_at: Timestamp,
    /// What it says.
    pub plan: ExecutionPlan,
}

impl Document for Stored {
    fn key(&self) -> Key {
        keys::plan(Scope::of(self.plan.realm), self.hash)
    }
}
