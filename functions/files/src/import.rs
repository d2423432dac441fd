//! `POST /v1/agents/{agentId}/files/import`

use api::{Failure, Found, Ids, Params, Upload, handler};
use axum::extract::State;
use domain::workspace::MAX_TRANSFER;
use domain::{AgentId, UploadId};
use gate::{Caller, Gate, Route, incoming};
use schemars::JsonSchema;
use serde::Deserialize;
use wire::files::Imported;
use wire::{ProblemKind, Scope};

use crate::BRINGS;

/// Import a tar archive.
pub(crate) const ROUTE: Route =
    Route::post("files.import", "/v1/agents/{agentId}/files/import", handler!(import))
        .summary("Import an uncompressed tar archive into the workspace of an agent")
        .scope(Scope::AgentsWrite)
        .grants(BRINGS)
        .problems(&[
            ProblemKind::AgentBusy,
            ProblemKind::AgentReclaimed,
            ProblemKind::InTheWay,
            ProblemKind::InvalidArchive,
            ProblemKind::NoSuchUpload,
            ProblemKind::TransferTooLarge,
            ProblemKind::UploadIncomplete,
            ProblemKind::WorkspaceTooLarge,
        ])
        .upload(MAX_TRANSFER);

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Path {
    agent_id: AgentId,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Wanted {
    /// The upload that is taken in place of a body.
    #[serde(default)]
    upload: Option<UploadId>,
}

async fn import(
    State(app): State<Gate>,
    api::Caller(caller): Caller,
    Ids(Path { agent_id }): Ids<Path>,
    Params(Wanted { upload }): Params<Wanted>,
    archive: Upload,
) -> Result<Found<Imported>, Failure> {
    let (caller, archive) = app.uploads().content(caller, upload, incoming(archive)).await?;
    let imported = app.files().import(&caller, agent_id, &archive).await?;
    app.uploads().taken(&caller).await;
    Ok(Found(imported))
}
