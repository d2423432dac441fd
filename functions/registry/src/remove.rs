//! `DELETE /v1/registry/agents/{registryAgentId}`

use api::{Failure, Ids, NoContent, handler};
use app::Grant;
use axum::extract::State;
use domain::text::RegistryId;
use gate::{Caller, Gate, Route};
use schemars::JsonSchema;
use serde::Deserialize;
use wire::Scope;

/// Remove an agent that the realm added to its catalog.
pub(crate) const ROUTE: Route =
    Route::delete("registry.remove", "/v1/registry/agents/{registryAgentId}", handler!(remove))
        .summary("Remove an agent that the realm added to its catalog")
        .scope(Scope::AgentsWrite)
        .grants(&[Grant::TableRead, Grant::TableWrite]);

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Path {
    registry_agent_id: RegistryId,
}

async fn remove(
    State(app): State<Gate>,
    api::Caller(caller): Caller,
    Ids(Path { registry_agent_id }): Ids<Path>,
) -> Result<NoContent, Failure> {
    app.registry().remove(&caller, &registry_agent_id).await?;
    Ok(NoContent)
}
