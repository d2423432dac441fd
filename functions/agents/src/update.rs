//! `PATCH /v1/agents/{agentId}`

use api::{Body, Failure, Found, Ids, IfMatch, handler};
use app::Grant;
use axum::extract::State;
use domain::AgentId;
use gate::{Caller, Gate, Route};
use schemars::JsonSchema;
use serde::Deserialize;
use wire::agent::{AgentPatch, AgentView};
use wire::{ProblemKind, Scope};

/// Change an agent.
pub(crate) const ROUTE: Route =
    Route::patch("agents.update", "/v1/agents/{agentId}", handler!(update))
        .summary("Change an agent")
        .scope(Scope::AgentsWrite)
        .grants(&[Grant::TableRead, Grant::TableWrite])
        .problems(&[ProblemKind::InvalidValue, ProblemKind::PolicyRefused]);

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Path {
    agent_id: AgentId,
}

async fn update(
    State(app): State<Gate>,
    api::Caller(caller): Caller,
    Ids(Path { agent_id }): Ids<Path>,
    IfMatch(version): IfMatch,
    Body(patch): Body<AgentPatch>,
) -> Result<Found<AgentView>, Failure> {
    Ok(Found(app.agents().update(&caller, agent_id, version, patch).await?))
}
