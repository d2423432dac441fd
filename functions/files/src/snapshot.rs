//! `POST /v1/agents/{agentId}/snapshots`

use api::{Created, Failure, Ids, handler};
use app::Grant;
use axum::extract::State;
use domain::AgentId;
use gate::{Caller, Gate, Route};
use schemars::JsonSchema;
use serde::Deserialize;
use wire::files::SnapshotView;
use wire::{ProblemKind, Scope};

/// Make a snapshot of a workspace.
pub(crate) const ROUTE: Route =
    Route::post("files.snapshot", "/v1/agents/{agentId}/snapshots", handler!(snapshot))
        .summary("Make a snapshot of an agent's workspace")
        .scope(Scope::AgentsWrite)
        .grants(&[
            Grant::TableRead,
            Grant::TableWrite,
            Grant::BlobRead,
            Grant::BlobWrite,
            Grant::WorkspaceRead,
        ])
        .problems(&[
            ProblemKind::AgentBusy,
            ProblemKind::AgentReclaimed,
            ProblemKind::WorkspaceTooLarge,
        ]);

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Path {
    agent_id: AgentId,
}

async fn snapshot(
    State(app): State<Gate>,
    api::Caller(caller): Caller,
    Ids(Path { agent_id }): Ids<Path>,
) -> Result<Created<SnapshotView>, Failure> {
    Ok(Created(app.files().snapshot(&caller, agent_id).await?))
}
