//! `POST /v1/containers/{containerId}/agents/{instanceId}/start`

use api::{Accepted, Failure, Ids, handler};
use app::Grant;
use axum::extract::State;
use domain::instance::Wish;
use domain::{ContainerId, InstanceId};
use gate::{Caller, Gate, Route};
use schemars::JsonSchema;
use serde::Deserialize;
use wire::container::InstanceView;
use wire::{ProblemKind, Scope};

/// Start the process of an instance.
pub(crate) const ROUTE: Route = Route::post(
    "containers.start",
    "/v1/containers/{containerId}/agents/{instanceId}/start",
    handler!(start),
)
.summary("Start the process of an instance")
.scope(Scope::AgentsWrite)
.grants(&[Grant::TableRead, Grant::TableWrite])
.problems(&[
    ProblemKind::AgentBusy,
    ProblemKind::StateRefused,
    ProblemKind::PolicyRefused,
    ProblemKind::CapacityExhausted,
]);

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Path {
    container_id: ContainerId,
    instance_id: InstanceId,
}

async fn start(
    State(app): State<Gate>,
    api::Caller(caller): Caller,
    Ids(Path { container_id, instance_id }): Ids<Path>,
) -> Result<Accepted<InstanceView>, Failure> {
    let at = (container_id, instance_id);
    Ok(Accepted(app.containers().direct(&caller, at, Wish::Start, false).await?))
}
