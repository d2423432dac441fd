//! `POST /v1/agents/{agentId}/recover`

use api::{Accepted, Failure, Ids, handler};
use app::Grant;
use axum::extract::State;
use domain::AgentId;
use gate::{Caller, Gate, Route};
use schemars::JsonSchema;
use serde::Deserialize;
use wire::agent::AgentView;
use wire::{ProblemKind, Scope};

/// Start an agent's container again that failed.
pub(crate) const ROUTE: Route =
    Route::post("agents.recover", "/v1/agents/{agentId}/recover", handler!(recover))
        .summary("Start an agent's container again that failed")
        .scope(Scope::AgentsWrite)
        .grants(&[Grant::TableRead, Grant::TableWrite])
        .problems(&[ProblemKind::StateRefused, ProblemKind::CapacityExhausted]);

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Path {
    agent_id: AgentId,
}

async fn recover(
    State(app): State<Gate>,
    api::Caller(caller): Caller,
    Ids(Path { agent_id }): Ids<Path>,
) -> Result<Accepted<AgentView>, Failure> {
    Ok(Accepted(app.agents().recover(&caller, agent_id).await?))
}
