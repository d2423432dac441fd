//! `GET /v1/containers/{containerId}`

use api::{Failure, Found, Ids, handler};
use app::Grant;
use axum::extract::State;
use domain::ContainerId;
use gate::{Caller, Gate, Route};
use schemars::JsonSchema;
use serde::Deserialize;
use wire::Scope;
use wire::container::ContainerDetail;

/// Read a container, its instances and the sessions that run in it.
pub(crate) const ROUTE: Route =
    Route::get("containers.get", "/v1/containers/{containerId}", handler!(get))
        .summary("Read a container, its instances and the sessions that run in it")
        .scope(Scope::AgentsRead)
        .grants(&[Grant::TableRead]);

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Path {
    container_id: ContainerId,
}

async fn get(
    State(app): State<Gate>,
    api::Caller(caller): Caller,
    Ids(Path { container_id }): Ids<Path>,
) -> Result<Found<ContainerDetail>, Failure> {
    Ok(Found(app.containers().get(&caller, container_id).await?))
}
