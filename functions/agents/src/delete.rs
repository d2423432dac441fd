//! `DELETE /v1/agents/{agentId}`

use api::{Failure, Ids, IfMatch, NoContent, handler};
use app::Grant;
use axum::extract::State;
use domain::AgentId;
use gate::{Caller, Gate, Route};
use schemars::JsonSchema;
use serde::Deserialize;
use wire::Scope;

/// Remove an agent, its workspace and its sessions for good.
pub(crate) const ROUTE: Route =
    Route::delete("agents.delete", "/v1/agents/{agentId}", handler!(delete))
        .summary("Remove an agent, its workspace and its sessions for good")
        .scope(Scope::AgentsWrite)
        .grants(&[Grant::TableRead, Grant::TableWrite]);

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Path {
    agent_id: AgentId,
}

async fn delete(
    State(app): State<Gate>,
    api::Caller(caller): Caller,
    Ids(Path { agent_id }): Ids<Path>,
    IfMatch(version): IfMatch,
) -> Result<NoContent, Failure> {
    app.agents().delete(&caller, agent_id, version).await?;
    Ok(NoContent)
}
