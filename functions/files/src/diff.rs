//! `GET /v1/agents/{agentId}/snapshots/{snapshotId}/diff`

use api::{Failure, Found, Ids, Params, handler};
use app::Grant;
use app::files::Against;
use axum::extract::State;
use domain::{AgentId, SnapshotId};
use gate::{Caller, Gate, Route};
use schemars::JsonSchema;
use serde::Deserialize;
use wire::files::DiffView;
use wire::{Problem, ProblemKind, Scope};

const PATH: &str = "/v1/agents/{agentId}/snapshots/{snapshotId}/diff";

/// Say how a snapshot differs.
pub(crate) const ROUTE: Route = Route::get("files.diff", PATH, handler!(diff))
    .summary("Say how a snapshot differs from the one before, from another, or from now")
    .scope(Scope::AgentsRead)
    .grants(&[Grant::TableRead, Grant::BlobRead, Grant::WorkspaceRead])
    .problems(&[ProblemKind::AgentReclaimed, ProblemKind::WorkspaceTooLarge]);

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Path {
    agent_id: AgentId,
    snapshot_id: SnapshotId,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Wanted {
    /// `parent`, or nothing: what the snapshot brought. The id of another: what has come since that
    /// one. `now`: what has come since the snapshot.
    #[serde(default)]
    #[schemars(regex(pattern = r"^(parent|now|snp_[0-7][0-9A-HJKMNP-TV-Z]{25})$"))]
    against: Option<String>,
}

async fn diff(
    State(app): State<Gate>,
    api::Caller(caller): Caller,
    Ids(Path { agent_id, snapshot_id }): Ids<Path>,
    Params(Wanted { against }): Params<Wanted>,
) -> Result<Found<DiffView>, Failure> {
    let against = match against.as_deref() {
        None | Some("parent") => Against::Parent,
        Some("now") => Against::Now,
        Some(other) => Against::Snapshot(other.parse().map_err(|_| {
            let detail = "must be `parent`, `now` or the id of a snapshot";
            Problem::new(ProblemKind::InvalidParameter, detail).at("against", detail)
        })?),
    };
    Ok(Found(app.files().diff(&caller, agent_id, snapshot_id, against).await?))
}
