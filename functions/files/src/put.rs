//! `PUT /v1/agents/{agentId}/files/raw`

use api::{Failure, Ids, NoContent, Params, Upload, handler};
use axum::extract::State;
use domain::workspace::{MAX_FILE, WorkspacePath};
use domain::{AgentId, UploadId};
use gate::{Caller, Gate, Route, incoming};
use schemars::JsonSchema;
use serde::Deserialize;
use wire::{ProblemKind, Scope};

use crate::BRINGS;

/// Put a file.
pub(crate) const ROUTE: Route =
    Route::put("files.put", "/v1/agents/{agentId}/files/raw", handler!(put))
        .summary("Put a file into the workspace of an agent")
        .scope(Scope::AgentsWrite)
        .grants(BRINGS)
        .problems(&[
            ProblemKind::AgentBusy,
            ProblemKind::AgentReclaimed,
            ProblemKind::InTheWay,
            ProblemKind::NoSuchUpload,
            ProblemKind::TransferTooLarge,
            ProblemKind::UploadIncomplete,
            ProblemKind::WorkspaceTooLarge,
        ])
        .upload(MAX_FILE);

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Path {
    agent_id: AgentId,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Place {
    path: WorkspacePath,
    /// Whether it may be executed; not, where it is left out.
    #[serde(default)]
    executable: Option<bool>,
    /// The upload that is taken in place of a body.
    #[serde(default)]
    upload: Option<UploadId>,
}

async fn put(
    State(app): State<Gate>,
    api::Caller(caller): Caller,
    Ids(Path { agent_id }): Ids<Path>,
    Params(Place { path, executable, upload }): Params<Place>,
    content: Upload,
) -> Result<NoContent, Failure> {
    let executable = executable.unwrap_or_default();
    let (caller, content) = app.uploads().content(caller, upload, incoming(content)).await?;
    app.files().put(&caller, agent_id, &path, executable, &content).await?;
    app.uploads().taken(&caller).await;
    Ok(NoContent)
}
