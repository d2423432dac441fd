//! `GET /v1/agents/{agentId}/files/raw`

use api::{Asked, Download, Failure, Ids, Params, handler};
use app::Grant;
use axum::extract::State;
use domain::AgentId;
use domain::workspace::WorkspacePath;
use gate::{Caller, Gate, Route};
use schemars::JsonSchema;
use serde::Deserialize;
use wire::{ProblemKind, Scope};

/// Get a file, or a part of it.
pub(crate) const ROUTE: Route =
    Route::get("files.get", "/v1/agents/{agentId}/files/raw", handler!(get))
        .summary("Get a file of an agent, or a part of it")
        .scope(Scope::AgentsRead)
        .grants(&[Grant::TableRead, Grant::BlobRead, Grant::WorkspaceRead, Grant::Outgoing])
        .problems(&[ProblemKind::AgentReclaimed, ProblemKind::NotAFile]);

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

async fn get(
    State(app): State<Gate>,
    api::Caller(caller): Caller,
    Ids(Path { agent_id }): Ids<Path>,
    Params(Place { path }): Params<Place>,
    asked: Asked,
) -> Result<Download, Failure> {
    let file = app.files().read(&caller, agent_id, &path).await?;
    Ok(Download {
        asked,
        size: file.size,
        tag: format!("{:016x}", file.stamp),
        certain: file.settled,
        name: path.name().to_owned(),
        content: Box::new(move |range| file.content(range)),
    })
}
