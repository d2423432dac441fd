//! `POST /v1/runs/{runId}/answer`

use api::{Accepted, Body, Failure, Ids, handler};
use app::Grant;
use axum::extract::State;
use domain::RunId;
use gate::{Caller, Gate, Route};
use schemars::JsonSchema;
use serde::Deserialize;
use wire::session::{NewAnswer, RunView};
use wire::{ProblemKind, Scope};

/// Answer what a run waits for.
pub(crate) const ROUTE: Route =
    Route::post("runs.answer", "/v1/runs/{runId}/answer", handler!(answer))
        .summary("Answer what a run waits for")
        .scope(Scope::SessionsWrite)
        .grants(&[Grant::TableRead, Grant::TableWrite])
        .problems(&[ProblemKind::StateRefused, ProblemKind::InvalidValue]);

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Path {
    run_id: RunId,
}

async fn answer(
    State(app): State<Gate>,
    api::Caller(caller): Caller,
    Ids(Path { run_id }): Ids<Path>,
    Body(new): Body<NewAnswer>,
) -> Result<Accepted<RunView>, Failure> {
    Ok(Accepted(app.runs().answer(&caller, run_id, &new).await?))
}
