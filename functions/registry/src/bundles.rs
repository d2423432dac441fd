//! `GET /v1/bundles`

use api::{Failure, Found, Params, handler};
use app::Grant;
use axum::extract::State;
use gate::{Caller, Gate, Listing, Route};
use schemars::JsonSchema;
use serde::Deserialize;
use wire::bundle::BundleView;
use wire::{Page, Scope};

/// List the realm's bundles.
pub(crate) const ROUTE: Route = Route::get("registry.bundles", "/v1/bundles", handler!(bundles))
    .summary("List the realm's bundles")
    .scope(Scope::AgentsRead)
    .grants(&[Grant::TableRead]);

/// A list by digest has one order only.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Query {
    /// The most items of the page; 50 where it is left out.
    #[serde(default)]
    #[schemars(range(min = 1, max = 100))]
    limit: Option<u32>,
    /// The `nextCursor` of the page before.
    #[serde(default)]
    #[schemars(length(max = 512))]
    cursor: Option<String>,
}

async fn bundles(
    State(app): State<Gate>,
    api::Caller(caller): Caller,
    Params(Query { limit, cursor }): Params<Query>,
) -> Result<Found<Page<BundleView>>, Failure> {
    let listing = Listing { limit, cursor, order: None };
    Ok(Found(app.bundles().list(&caller, listing.paging()?).await?))
}
