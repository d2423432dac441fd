//! `GET /v1/registry`

use api::{Failure, Found, handler};
use app::Grant;
use axum::extract::State;
use gate::{Caller, Gate, Route};
use wire::Scope;
use wire::registry::RegistryView;

/// Get how far the registry is synced, and which of its entries do not read.
pub(crate) const ROUTE: Route = Route::get("registry.get", "/v1/registry", handler!(get))
    .summary("Get how far the registry is synced, and which of its entries do not read")
    .scope(Scope::AgentsRead)
    .grants(&[Grant::TableRead]);

async fn get(
    State(app): State<Gate>,
    api::Caller(_): Caller,
) -> Result<Found<RegistryView>, Failure> {
    Ok(Found(app.registry().state().await?))
}
