//! `POST /v1/containers/{containerId}/agents`

use api::{Body, Created, Failure, Ids, handler};
use app::Grant;
use axum::extract::State;
use domain::ContainerId;
use gate::{Caller, Gate, Route};
use schemars::JsonSchema;
use serde::Deserialize;
use wire::container::{InstallAgent, InstanceView};
use wire::{ProblemKind, Scope};

/// Put an agent into a container.
pub(crate) const ROUTE: Route =
    Route::post("containers.install", "/v1/containers/{containerId}/agents", handler!(install))
        .summary("Put an agent into a container")
        .scope(Scope::AgentsWrite)
        .grants(&[Grant::TableRead, Grant::TableWrite])
        .problems(&[
            ProblemKind::StateRefused,
            ProblemKind::QuotaReached,
            ProblemKind::PolicyRefused,
        ]);

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Path {
    container_id: ContainerId,
}

async fn install(
    State(app): State<Gate>,
    api::Caller(caller): Caller,
    Ids(Path { container_id }): Ids<Path>,
    Body(new): Body<InstallAgent>,
) -> Result<Created<InstanceView>, Failure> {
    Ok(Created(app.containers().install(&caller, container_id, &new).await?))
}
