//! `GET /v1/registry/agents`

use api::{Failure, Found, Params, handler};
use app::Grant;
use axum::extract::State;
use gate::{Caller, Gate, Listing, Route};
use schemars::JsonSchema;
use serde::Deserialize;
use wire::registry::RegistryAgentView;
use wire::{Page, Scope};

/// List the catalog, the realm's own agents first.
pub(crate) const ROUTE: Route =
    Route::get("registry.agents", "/v1/registry/agents", handler!(agents))
        .summary("List the catalog, the realm's own agents first")
        .scope(Scope::AgentsRead)
        .grants(&[Grant::TableRead]);

/// A list by id has one order only.
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

async fn agents(
    State(app): State<Gate>,
    api::Caller(caller): Caller,
    Params(Query { limit, cursor }): Params<Query>,
) -> Result<Found<Page<RegistryAgentView>>, Failure> {
    let listing = Listing { limit, cursor, order: None };
    Ok(Found(app.registry().list(&caller, listing.paging()?).await?))
}
