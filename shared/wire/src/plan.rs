//! Plans: what a run is executed by.

use domain::plan::ExecutionPlan;
use domain::{Digest, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A plan. It never changes.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlanView {
    /// Its name: the SHA-256 of its canonical JSON, which is `plan` with the fields in the order of
    /// their names and no white space.
    pub hash: Digest,
    /// When it was first compiled.
    pub created_at: Timestamp,
    /// What it says.
    pub plan: ExecutionPlan,
}
