//! `GET /v1/bundles/{digest}`

use api::{Failure, Found, Ids, handler};
use app::Grant;
use axum::extract::State;
use domain::Digest;
use gate::{Caller, Gate, Route};
use schemars::JsonSchema;
use serde::Deserialize;
use wire::Scope;
use wire::bundle::BundleView;

/// Get a bundle, by its id or the digest of its files.
pub(crate) const ROUTE: Route =
    Route::get("registry.bundle", "/v1/bundles/{digest}", handler!(bundle))
        .summary("Get a bundle, by its id or the digest of its files")
        .scope(Scope::AgentsRead)
        .grants(&[Grant::TableRead]);

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Path {
    digest: Digest,
}

async fn bundle(
    State(app): State<Gate>,
    api::Caller(caller): Caller,
    Ids(Path { digest }): Ids<Path>,
) -> Result<Found<BundleView>, Failure> {
    Ok(Found(app.bundles().get(&caller, digest).await?))
}
