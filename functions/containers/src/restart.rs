//! `POST /v1/containers/{containerId}/agents/{instanceId}/restart`

use api::{Accepted, Failure, Ids, OptionalBody, handler};
use app::Grant;
use axum::extract::State;
use domain::instance::Wish;
use domain::{ContainerId, InstanceId};
use gate::{Caller, Gate, Route};
use schemars::JsonSchema;
use serde::Deserialize;
use wire::agent::Rest;
use wire::container::InstanceView;
use wire::{ProblemKind, Scope};

/// End the process of an instance and start another.
pub(crate) const ROUTE: Route = Route::post(
    "containers.restart",
    "/v1/containers/{containerId}/agents/{instanceId}/restart",
    handler!(restart),
)
.summary("End the process of an instance and start another")
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

async fn restart(
    State(app): State<Gate>,
    api::Caller(caller): Caller,
    Ids(Path { container_id, instance_id }): Ids<Path>,
    OptionalBody(rest): OptionalBody<Rest>,
) -> Result<Accepted<InstanceView>, Failure> {
    let at = (container_id, instance_id);
    Ok(Accepted(app.containers().direct(&caller, at, Wish::Restart, rest.force).await?))
}
