//! `POST /v1/agents/{agentId}/snapshots/{snapshotId}/rollback`

use api::{Created, Failure, Ids, handler};
use app::Grant;
use axum::extract::State;
use domain::{AgentId, SnapshotId};
use gate::{Caller, Gate, Route};
use schemars::JsonSchema;
use serde::Deserialize;
use wire::files::SnapshotView;
use wire::{ProblemKind, Scope};

const PATH: &str = "/v1/agents/{agentId}/snapshots/{snapshotId}/rollback";

/// Make a workspace what it was.
pub(crate) const ROUTE: Route = Route::post("files.rollback", PATH, handler!(rollback))
    .summary("Make an agent's workspace what a snapshot says")
    .scope(Scope::AgentsWrite)
    .grants(&[
        Grant::TableRead,
        Grant::TableWrite,
        Grant::BlobRead,
        Grant::BlobWrite,
        Grant::WorkspaceRead,
        Grant::WorkspaceWrite,
    ])
    .problems(&[
        ProblemKind::AgentBusy,
        ProblemKind::AgentReclaimed,
        ProblemKind::InTheWay,
        ProblemKind::WorkspaceTooLarge,
    ]);

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Path {
    agent_id: AgentId,
    snapshot_id: SnapshotId,
}

async fn rollback(
    State(app): State<Gate>,
    api::Caller(caller): Caller,
    Ids(Path { agent_id, snapshot_id }): Ids<Path>,
) -> Result<Created<SnapshotView>, Failure> {
    Ok(Created(app.files().rollback(&caller, agent_id, snapshot_id).await?))
}
