//! `POST /v1/agents/{agentId}/pause`

use api::{Failure, Found, Ids, OptionalBody, handler};
use app::Grant;
use axum::extract::State;
use domain::AgentId;
use gate::{Caller, Gate, Route};
use schemars::JsonSchema;
use serde::Deserialize;
use wire::agent::{AgentView, Rest};
use wire::{ProblemKind, Scope};

/// Stop an agent's container and keep the rest.
pub(crate) const ROUTE: Route =
    Route::post("agents.pause", "/v1/agents/{agentId}/pause", handler!(pause))
        .summary("Stop an agent's container and keep the rest")
        .scope(Scope::AgentsWrite)
        .grants(&[Grant::TableRead, Grant::TableWrite])
        .problems(&[ProblemKind::AgentBusy, ProblemKind::StateRefused]);

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Path {
    agent_id: AgentId,
}

async fn pause(
    State(app): State<Gate>,
    api::Caller(caller): Caller,
    Ids(Path { agent_id }): Ids<Path>,
    OptionalBody(rest): OptionalBody<Rest>,
) -> Result<Found<AgentView>, Failure> {
    Ok(Found(app.agents().pause(&caller, agent_id, rest.force).await?))
}
