//! `POST /v1/containers/{containerId}/wake`

use api::{Accepted, Failure, Ids, handler};
use app::Grant;
use axum::extract::State;
use domain::ContainerId;
use gate::{Caller, Gate, Route};
use schemars::JsonSchema;
use serde::Deserialize;
use wire::container::ContainerView;
use wire::{ProblemKind, Scope};

/// Start a container that rests.
pub(crate) const ROUTE: Route =
    Route::post("containers.wake", "/v1/containers/{containerId}/wake", handler!(wake))
        .summary("Start a container that rests")
        .scope(Scope::AgentsWrite)
        .grants(&[Grant::TableRead, Grant::TableWrite])
        .problems(&[ProblemKind::StateRefused, ProblemKind::CapacityExhausted]);

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Path {
    container_id: ContainerId,
}

async fn wake(
    State(app): State<Gate>,
    api::Caller(caller): Caller,
    Ids(Path { container_id }): Ids<Path>,
) -> Result<Accepted<ContainerView>, Failure> {
    Ok(Accepted(app.containers().wake(&caller, container_id).await?))
}
