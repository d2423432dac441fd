//! `POST /v1/containers/{containerId}/hibernate`

use api::{Failure, Found, Ids, OptionalBody, handler};
use app::Grant;
use axum::extract::State;
use domain::ContainerId;
use gate::{Caller, Gate, Route};
use schemars::JsonSchema;
use serde::Deserialize;
use wire::agent::Rest;
use wire::container::ContainerView;
use wire::{ProblemKind, Scope};

/// Stop what runs in a container and keep the rest.
pub(crate) const ROUTE: Route = Route::post(
    "containers.hibernate",
    "/v1/containers/{containerId}/hibernate",
    handler!(hibernate),
)
.summary("Stop what runs in a container and keep the rest")
.scope(Scope::AgentsWrite)
.grants(&[Grant::TableRead, Grant::TableWrite])
.problems(&[ProblemKind::AgentBusy, ProblemKind::StateRefused]);

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Path {
    container_id: ContainerId,
}

async fn hibernate(
    State(app): State<Gate>,
    api::Caller(caller): Caller,
    Ids(Path { container_id }): Ids<Path>,
    OptionalBody(rest): OptionalBody<Rest>,
) -> Result<Found<ContainerView>, Failure> {
    Ok(Found(app.containers().hibernate(&caller, container_id, rest.force).await?))
}
