//! `POST /v1/runs/{runId}/cancel`

use api::{Accepted, Failure, Ids, handler};
use app::Grant;
use axum::extract::State;
use domain::RunId;
use gate::{Caller, Gate, Route};
use schemars::JsonSchema;
use serde::Deserialize;
use wire::session::RunView;
use wire::{ProblemKind, Scope};

/// Stop a run.
pub(crate) const ROUTE: Route =
    Route::post("runs.cancel", "/v1/runs/{runId}/cancel", handler!(cancel))
        .summary("Stop a run")
        .scope(Scope::SessionsWrite)
        .grants(&[Grant::TableRead, Grant::TableWrite])
        .problems(&[ProblemKind::StateRefused]);

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Path {
    run_id: RunId,
}

async fn cancel(
    State(app): State<Gate>,
    api::Caller(caller): Caller,
    Ids(Path { run_id }): Ids<Path>,
) -> Result<Accepted<RunView>, Failure> {
    Ok(Accepted(app.runs().cancel(&caller, run_id).await?))
}
