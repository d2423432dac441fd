//! `POST /v1/agents/{agentId}/restore`

use api::{Failure, Found, Ids, handler};
use app::Grant;
use axum::extract::State;
use domain::AgentId;
use gate::{Caller, Gate, Route};
use schemars::JsonSchema;
use serde::Deserialize;
use wire::agent::AgentView;
use wire::{ProblemKind, Scope};

/// Take an archived agent out again.
pub(crate) const ROUTE: Route =
    Route::post("agents.restore", "/v1/agents/{agentId}/restore", handler!(restore))
        .summary("Take an archived agent out again")
        .scope(Scope::AgentsWrite)
        .grants(&[Grant::TableRead, Grant::TableWrite])
        .problems(&[ProblemKind::StateRefused]);

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Path {
    agent_id: AgentId,
}

async fn restore(
    State(app): State<Gate>,
    api::Caller(caller): Caller,
    Ids(Path { agent_id }): Ids<Path>,
) -> Result<Found<AgentView>, Failure> {
    Ok(Found(app.agents().restore(&caller, agent_id).await?))
}
