//! `POST /v1/agents/{agentId}/archive`

use api::{Failure, Found, Ids, OptionalBody, handler};
use app::Grant;
use axum::extract::State;
use domain::AgentId;
use gate::{Caller, Gate, Route};
use schemars::JsonSchema;
use serde::Deserialize;
use wire::agent::{AgentView, Rest};
use wire::{ProblemKind, Scope};

/// Put an agent away and keep all of it.
pub(crate) const ROUTE: Route =
    Route::post("agents.archive", "/v1/agents/{agentId}/archive", handler!(archive))
        .summary("Put an agent away and keep all of it")
        .scope(Scope::AgentsWrite)
        .grants(&[Grant::TableRead, Grant::TableWrite])
        .problems(&[ProblemKind::AgentBusy, ProblemKind::StateRefused]);

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Path {
    agent_id: AgentId,
}

async fn archive(
    State(app): State<Gate>,
    api::Caller(caller): Caller,
    Ids(Path { agent_id }): Ids<Path>,
    OptionalBody(rest): OptionalBody<Rest>,
) -> Result<Found<AgentView>, Failure> {
    Ok(Found(app.agents().archive(&caller, agent_id, rest.force).await?))
}
