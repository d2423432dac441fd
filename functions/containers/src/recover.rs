//! `POST /v1/containers/{containerId}/recover`

use api::{Accepted, Failure, Ids, handler};
use app::Grant;
use axum::extract::State;
use domain::ContainerId;
use gate::{Caller, Gate, Route};
use schemars::JsonSchema;
use serde::Deserialize;
use wire::container::ContainerView;
use wire::{ProblemKind, Scope};

/// Start a container again that failed.
pub(crate) const ROUTE: Route =
    Route::post("containers.recover", "/v1/containers/{containerId}/recover", handler!(recover))
        .summary("Start a container again that failed")
        .scope(Scope::AgentsWrite)
        .grants(&[Grant::TableRead, Grant::TableWrite])
        .problems(&[ProblemKind::StateRefused, ProblemKind::CapacityExhausted]);

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Path {
    container_id: ContainerId,
}

async fn recover(
    State(app): State<Gate>,
    api::Caller(caller): Caller,
    Ids(Path { container_id }): Ids<Path>,
) -> Result<Accepted<ContainerView>, Failure> {
    Ok(Accepted(app.containers().recover(&caller, container_id).await?))
}
