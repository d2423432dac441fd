//! `POST /v1/registry/sync`

use api::{Accepted, Failure, handler};
use app::Grant;
use axum::extract::State;
use gate::{Caller, Gate, Route};
use wire::Scope;
use wire::registry::RegistryView;

/// Ask the registry whether it lists something new, now and then again as often as configured.
pub(crate) const ROUTE: Route = Route::post("registry.sync", "/v1/registry/sync", handler!(sync))
    .summary("Ask the registry whether it lists something new")
    .scope(Scope::Operator)
    .grants(&[Grant::TableRead, Grant::TableWrite]);

async fn sync(
    State(app): State<Gate>,
    api::Caller(caller): Caller,
) -> Result<Accepted<RegistryView>, Failure> {
    Ok(Accepted(app.registry().request(&caller).await?))
}
