//! `POST /v1/agents/{agentId}/files/import`

use api::{Failure, Found, Ids, Upload, handler};
use app::Grant;
use axum::extract::State;
use domain::AgentId;
use domain::workspace::MAX_TRANSFER;
use gate::{Caller, Gate, Route, incoming};
use schemars::JsonSchema;
use serde::Deserialize;
use wire::files::Imported;
use wire::{ProblemKind, Scope};

/// Import a tar archive.
pub(crate) const ROUTE: Route =
    Route::post("files.import", "/v1/agents/{agentId}/files/import", handler!(import))
        .summary("Import an uncompressed tar archive into the workspace of an agent")
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
            ProblemKind::InvalidArchive,
            ProblemKind::TransferTooLarge,
            ProblemKind::WorkspaceTooLarge,
        ])
        .upload(MAX_TRANSFER);

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Path {
    agent_id: AgentId,
}

async fn import(
    State(app): State<Gate>,
    api::Caller(caller): Caller,
    Ids(Path { agent_id }): Ids<Path>,
    archive: Upload,
) -> Result<Found<Imported>, Failure> {
    Ok(Found(app.files().import(&caller, agent_id, &incoming(archive)).await?))
}
