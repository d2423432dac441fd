//! `DELETE /v1/agents/{agentId}/files/raw`

use api::{Failure, Ids, NoContent, Params, handler};
use app::Grant;
use axum::extract::State;
use domain::AgentId;
use domain::workspace::WorkspacePath;
use gate::{Caller, Gate, Route};
use schemars::JsonSchema;
use serde::Deserialize;
use wire::{ProblemKind, Scope};

/// Remove a file, or a directory with all that is in it.
pub(crate) const ROUTE: Route =
    Route::delete("files.remove", "/v1/agents/{agentId}/files/raw", handler!(remove))
        .summary("Remove a file of an agent, or a directory with all that is in it")
        .scope(Scope::AgentsWrite)
        .grants(&[
            Grant::TableRead,
            Grant::TableWrite,
            Grant::BlobRead,
            Grant::BlobWrite,
            Grant::WorkspaceWrite,
        ])
        .problems(&[ProblemKind::AgentBusy, ProblemKind::AgentReclaimed]);

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Path {
    agent_id: AgentId,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Place {
    path: WorkspacePath,
}

async fn remove(
    State(app): State<Gate>,
    api::Caller(caller): Caller,
    Ids(Path { agent_id }): Ids<Path>,
    Params(Place { path }): Params<Place>,
) -> Result<NoContent, Failure> {
    app.files().remove(&caller, agent_id, &path).await?;
    Ok(NoContent)
}
