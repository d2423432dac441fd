//! `GET /v1/runs/{runId}`

use api::{Failure, Found, Ids, handler};
use app::Grant;
use axum::extract::State;
use domain::RunId;
use gate::{Caller, Gate, Route};
use schemars::JsonSchema;
use serde::Deserialize;
use wire::Scope;
use wire::session::RunView;

/// Get a run.
pub(crate) const ROUTE: Route = Route::get("runs.get", "/v1/runs/{runId}", handler!(get))
    .summary("Get a run")
    .scope(Scope::SessionsRead)
    .grants(&[Grant::TableRead]);

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Path {
    run_id: RunId,
}

async fn get(
    State(app): State<Gate>,
    api::Caller(caller): Caller,
    Ids(Path { run_id }): Ids<Path>,
) -> Result<Found<RunView>, Failure> {
    Ok(Found(app.runs().get(&caller, run_id).await?))
}
