//! `GET /v1/agents/{agentId}/snapshots/{snapshotId}`

use api::{Failure, Found, Ids, handler};
use app::Grant;
use axum::extract::State;
use domain::{AgentId, SnapshotId};
use gate::{Caller, Gate, Route};
use schemars::JsonSchema;
use serde::Deserialize;
use wire::Scope;
use wire::files::SnapshotView;

/// Get a snapshot.
pub(crate) const ROUTE: Route =
    Route::get("files.show", "/v1/agents/{agentId}/snapshots/{snapshotId}", handler!(show))
        .summary("Get a snapshot of an agent's workspace")
        .scope(Scope::AgentsRead)
        .grants(&[Grant::TableRead]);

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Path {
    agent_id: AgentId,
    snapshot_id: SnapshotId,
}

async fn show(
    State(app): State<Gate>,
    api::Caller(caller): Caller,
    Ids(Path { agent_id, snapshot_id }): Ids<Path>,
) -> Result<Found<SnapshotView>, Failure> {
    Ok(Found(app.files().snapshot_of(&caller, agent_id, snapshot_id).await?))
}
