//! `DELETE /v1/containers/{containerId}`

use api::{Failure, Ids, NoContent, handler};
use app::Grant;
use axum::extract::State;
use domain::ContainerId;
use gate::{Caller, Gate, Route};
use schemars::JsonSchema;
use serde::Deserialize;
use wire::{ProblemKind, Scope};

/// Remove a container and all agents in it for good.
pub(crate) const ROUTE: Route =
    Route::delete("containers.delete", "/v1/containers/{containerId}", handler!(delete))
        .summary("Remove a container and all agents in it for good")
        .scope(Scope::AgentsWrite)
        .grants(&[Grant::TableRead, Grant::TableWrite])
        .problems(&[ProblemKind::StateRefused]);

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Path {
    container_id: ContainerId,
}

async fn delete(
    State(app): State<Gate>,
    api::Caller(caller): Caller,
    Ids(Path { container_id }): Ids<Path>,
) -> Result<NoContent, Failure> {
    app.containers().delete(&caller, container_id).await?;
    Ok(NoContent)
}
