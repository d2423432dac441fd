//! `GET /v1/registry/agents/{registryAgentId}`

use api::{Failure, Found, Ids, Params, handler};
use app::Grant;
use axum::extract::State;
use domain::text::{RegistryId, Version};
use gate::{Caller, Gate, Route};
use schemars::JsonSchema;
use serde::Deserialize;
use wire::Scope;
use wire::registry::RegistryAgentView;

/// Get an agent of the catalog, at one version or the present one.
pub(crate) const ROUTE: Route =
    Route::get("registry.agent", "/v1/registry/agents/{registryAgentId}", handler!(agent))
        .summary("Get an agent of the catalog, at one version or the present one")
        .scope(Scope::AgentsRead)
        .grants(&[Grant::TableRead]);

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Path {
    registry_agent_id: RegistryId,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Query {
    /// The version; the present one where it is left out.
    #[serde(default)]
    version: Option<Version>,
}

async fn agent(
    State(app): State<Gate>,
    api::Caller(caller): Caller,
    Ids(Path { registry_agent_id }): Ids<Path>,
    Params(Query { version }): Params<Query>,
) -> Result<Found<RegistryAgentView>, Failure> {
    Ok(Found(app.registry().get(&caller, &registry_agent_id, version.as_ref()).await?))
}
