//! `GET /v1/containers/{containerId}/agents/{instanceId}`

use api::{Failure, Found, Ids, handler};
use app::Grant;
use axum::extract::State;
use domain::{ContainerId, InstanceId};
use gate::{Caller, Gate, Route};
use schemars::JsonSchema;
use serde::Deserialize;
use wire::Scope;
use wire::container::InstanceView;

/// Read an instance.
pub(crate) const ROUTE: Route = Route::get(
    "containers.instance",
    "/v1/containers/{containerId}/agents/{instanceId}",
    handler!(instance),
)
.summary("Read an instance")
.scope(Scope::AgentsRead)
.grants(&[Grant::TableRead]);

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Path {
    container_id: ContainerId,
    instance_id: InstanceId,
}

async fn instance(
    State(app): State<Gate>,
    api::Caller(caller): Caller,
    Ids(Path { container_id, instance_id }): Ids<Path>,
) -> Result<Found<InstanceView>, Failure> {
    Ok(Found(app.containers().instance(&caller, container_id, instance_id).await?))
}
