//! `GET /v1/agents/{agentId}/snapshots`

use api::{Failure, Found, Ids, Params, handler};
use app::Grant;
use axum::extract::State;
use domain::AgentId;
use gate::{Caller, Gate, Listing, Route};
use schemars::JsonSchema;
use serde::Deserialize;
use wire::files::SnapshotView;
use wire::{Page, ProblemKind, Scope};

/// List the snapshots of a workspace.
pub(crate) const ROUTE: Route =
    Route::get("files.history", "/v1/agents/{agentId}/snapshots", handler!(history))
        .summary("List the snapshots of an agent's workspace")
        .scope(Scope::AgentsRead)
        .grants(&[Grant::TableRead])
        .problems(&[ProblemKind::AgentReclaimed, ProblemKind::InvalidCursor]);

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Path {
    agent_id: AgentId,
}

async fn history(
    State(app): State<Gate>,
    api::Caller(caller): Caller,
    Ids(Path { agent_id }): Ids<Path>,
    Params(listing): Params<Listing>,
) -> Result<Found<Page<SnapshotView>>, Failure> {
    Ok(Found(app.files().history(&caller, agent_id, listing.paging()?).await?))
}
