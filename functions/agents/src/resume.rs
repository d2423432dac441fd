//! `POST /v1/agents/{agentId}/resume`

use api::{Failure, Found, Ids, handler};
use app::Grant;
use axum::extract::State;
use domain::AgentId;
use gate::{Caller, Gate, Route};
use schemars::JsonSchema;
use serde::Deserialize;
use wire::agent::AgentView;
use wire::{ProblemKind, Scope};

/// Let a paused agent go on.
pub(crate) const ROUTE: Route =
    Route::post("agents.resume", "/v1/agents/{agentId}/resume", handler!(resume))
        .summary("Let a paused agent go on")
        .scope(Scope::AgentsWrite)
        .grants(&[Grant::TableRead, Grant::TableWrite])
        .problems(&[ProblemKind::StateRefused]);

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Path {
    agent_id: AgentId,
}

async fn resume(
    State(app): State<Gate>,
    api::Caller(caller): Caller,
    Ids(Path { agent_id }): Ids<Path>,
) -> Result<Found<AgentView>, Failure> {
    Ok(Found(app.agents().resume(&caller, agent_id).await?))
}
