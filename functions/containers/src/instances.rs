//! `GET /v1/containers/{containerId}/agents`

use api::{Failure, Found, Ids, handler};
use app::Grant;
use axum::extract::State;
use domain::ContainerId;
use gate::{Caller, Gate, Route};
use schemars::JsonSchema;
use serde::Deserialize;
use wire::Scope;
use wire::container::Instances;

/// List the instances of a container.
pub(crate) const ROUTE: Route =
    Route::get("containers.instances", "/v1/containers/{containerId}/agents", handler!(instances))
        .summary("List the instances of a container")
        .scope(Scope::AgentsRead)
        .grants(&[Grant::TableRead]);

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Path {
    container_id: ContainerId,
}

async fn instances(
    State(app): State<Gate>,
    api::Caller(caller): Caller,
    Ids(Path { container_id }): Ids<Path>,
) -> Result<Found<Instances>, Failure> {
    Ok(Found(app.containers().instances(&caller, container_id).await?))
}
