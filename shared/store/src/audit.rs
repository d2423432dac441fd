//! The audit log in the table: one line for each accepted command, in the same commit.
//!
//! Deliberately absent: the hash chain and signed checkpoints, which come with money and verdicts.

use domain::{AuditId, KeyId, RealmId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::document::Document;
use crate::{Key, Scope, keys};

/// Who did what to what, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// Its id, ordered by time.
    pub id: AuditId,
    /// The realm it happened in.
    pub realm: RealmId,
    /// The key that did it; none for the control plane itself.
    pub actor: Option<KeyId>,
    /// What was done, as `noun.verb`.
    pub action: String,
    /// The id of what it was done to.
    pub target: String,
    /// When.
    pub time: Timestamp,
}

impl Document for Entry {
    fn key(&self) -> Key {
        keys::audit(Scope::of(self.realm), self.id)
    }
}
