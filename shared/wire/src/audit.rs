//! The audit log.

use domain::{AuditId, KeyId, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Who did what to what, and when.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuditView {
    /// Its id.
    pub id: AuditId,
    /// The key that did it; null for the control plane itself.
    pub actor: Option<KeyId>,
    /// What was done, as `noun.verb`.
    pub action: String,
    /// The id of what it was done to.
    pub target: String,
    /// When.
    pub time: Timestamp,
}
