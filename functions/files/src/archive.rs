//! `GET /v1/agents/{agentId}/files/archive`

use api::{Failure, Ids, Operation, Output, Pieces, attachment, handler};
use app::Grant;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use domain::AgentId;
use gate::{Caller, Gate, Route};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;
use wire::{ProblemKind, Scope};

/// Take a whole workspace along.
pub(crate) const ROUTE: Route =
    Route::get("files.archive", "/v1/agents/{agentId}/files/archive", handler!(archive))
        .summary("Take the files of an agent along, as a zip archive")
        .scope(Scope::AgentsRead)
        .grants(&[Grant::TableRead, Grant::BlobRead, Grant::WorkspaceRead, Grant::Outgoing])
        .problems(&[
            ProblemKind::AgentReclaimed,
            ProblemKind::TransferTooLarge,
            ProblemKind::WorkspaceTooLarge,
        ]);

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Path {
    agent_id: AgentId,
}

struct Zip {
    name: String,
    content: Pieces,
}

impl Output for Zip {
    const STATUS: u16 = 200;

    fn describe(operation: &mut Operation<'_>) {
        let bytes = json!({ "type": "string", "format": "binary" });
        operation.reply_as(200, "application/zip", &bytes);
        operation.elsewhere();
    }
}

impl IntoResponse for Zip {
    fn into_response(self) -> Response {
        attachment("application/zip", &self.name, self.content)
    }
}

async fn archive(
    State(app): State<Gate>,
    api::Caller(caller): Caller,
    Ids(Path { agent_id }): Ids<Path>,
) -> Result<Zip, Failure> {
    let content = app.files().archive(&caller, agent_id).await?;
    Ok(Zip { name: format!("{agent_id}.zip"), content })
}
