//! `GET /v1/agents/{agentId}`

use api::{Failure, Found, Ids, handler};
use app::Grant;
use axum::extract::State;
use domain::AgentId;
use gate::{Caller, Gate, Route};
use schemars::JsonSchema;
use serde::Deserialize;
use wire::Scope;
use wire::agent::AgentView;

/// Get an agent.
pub(crate) const ROUTE: Route = Route::get("agents.get", "/v1/agents/{agentId}", handler!(get))
    .summary("Get an agent")
    .scope(Scope::AgentsRead)
    .grants(&[Grant::TableRead]);

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Path {
    agent_id: AgentId,
}

async fn get(
    State(app): State<Gate>,
    api::Caller(caller): Caller,
    Ids(Path { agent_id }): Ids<Path>,
) -> Result<Found<AgentView>, Failure> {
    Ok(Found(app.agents().get(&caller, agent_id).await?))
}
