//! `POST /v1/containers/{containerId}/agents/{instanceId}/stop`

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

/// End the process of an instance.
pub(crate) const ROUTE: Route = Route::post(
    "containers.stop",
    "/v1/containers/{containerId}/agents/{instanceId}/stop",
    handler!(stop),
)
.summary("End the process of an instance")
.scope(Scope::AgentsWrite)
.grants(&[Grant::TableRead, Grant::TableWrite])
.problems(&[ProblemKind::AgentBusy, ProblemKind::StateRefused, ProblemKind::CapacityExhausted]);

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Path {
    container_id: ContainerId,
    instance_id: InstanceId,
}

async fn stop(
    State(app): State<Gate>,
    api::Caller(caller): Caller,
    Ids(Path { container_id, instance_id }): Ids<Path>,
    OptionalBody(rest): OptionalBody<Rest>,
) -> Result<Accepted<InstanceView>, Failure> {
    let at = (container_id, instance_id);
    Ok(Accepted(app.containers().direct(&caller, at, Wish::Stop, rest.force).await?))
}
