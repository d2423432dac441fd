//! `GET /v1/agents/{agentId}/files/export`

use api::{Failure, Ids, Params, handler};
use app::Grant;
use app::files::Export;
use axum::extract::State;
use domain::AgentId;
use gate::{Caller, Gate, Route};
use schemars::JsonSchema;
use serde::Deserialize;
use wire::{ProblemKind, Scope};

use crate::packed::Packed;

/// Take some of a workspace along.
pub(crate) const ROUTE: Route =
    Route::get("files.export", "/v1/agents/{agentId}/files/export", handler!(export))
        .summary("Take some files of an agent along, as a tar archive, or say which those would be")
        .scope(Scope::AgentsRead)
        .grants(&[Grant::TableRead, Grant::BlobRead, Grant::WorkspaceRead, Grant::Outgoing])
        .problems(&[
            ProblemKind::AgentReclaimed,
            ProblemKind::InvalidValue,
            ProblemKind::TransferTooLarge,
            ProblemKind::UnmatchedExports,
            ProblemKind::WorkspaceTooLarge,
        ]);

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Path {
    agent_id: AgentId,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Wanted {
    /// Globs with commas between them: `*` and `?` stay within a name, `**` does not. What matches a
    /// directory takes all that is in it.
    #[schemars(length(min = 1, max = 8192), extend("examples" = ["**"]))]
    paths: String,
    /// Whether only to say what it would be.
    #[serde(default, alias = "dry_run")]
    dry_run: Option<bool>,
}

async fn export(
    State(app): State<Gate>,
    api::Caller(caller): Caller,
    Ids(Path { agent_id }): Ids<Path>,
    Params(Wanted { paths, dry_run }): Params<Wanted>,
) -> Result<Packed, Failure> {
    let export = Export {
        paths: paths.split(',').filter(|path| !path.is_empty()).map(str::to_owned).collect(),
        dry_run: dry_run.unwrap_or_default(),
    };
    let exported = app.files().export(&caller, agent_id, &export).await?;
    Ok(Packed(format!("{agent_id}.tar"), exported))
}
