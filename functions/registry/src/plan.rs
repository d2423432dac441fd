//! `GET /v1/plans/{hash}`

use api::{Failure, Found, Ids, handler};
use app::Grant;
use axum::extract::State;
use domain::Digest;
use gate::{Caller, Gate, Route};
use schemars::JsonSchema;
use serde::Deserialize;
use wire::Scope;
use wire::plan::PlanView;

/// Get the plan that runs are executed by.
pub(crate) const ROUTE: Route = Route::get("registry.plan", "/v1/plans/{hash}", handler!(plan))
    .summary("Get the plan that runs are executed by")
    .scope(Scope::AgentsRead)
    .grants(&[Grant::TableRead]);

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Path {
    hash: Digest,
}

async fn plan(
    State(app): State<Gate>,
    api::Caller(caller): Caller,
    Ids(Path { hash }): Ids<Path>,
) -> Result<Found<PlanView>, Failure> {
    Ok(Found(app.plans().get(&caller, hash).await?))
}
