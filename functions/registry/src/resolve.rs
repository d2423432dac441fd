//! `POST /v1/bundles`

use api::{Accepted, Body, Failure, handler};
use app::Grant;
use axum::extract::State;
use gate::{Caller, Gate, Route};
use wire::bundle::{BundleView, NewBundle};
use wire::{ProblemKind, Scope};

/// Resolve an agent of the catalog to a verified bundle.
pub(crate) const ROUTE: Route = Route::post("registry.resolve", "/v1/bundles", handler!(resolve))
    .summary("Resolve an agent of the catalog to a verified bundle")
    .scope(Scope::AgentsWrite)
    .grants(&[Grant::TableRead, Grant::TableWrite])
    .problems(&[ProblemKind::InvalidValue, ProblemKind::PolicyRefused, ProblemKind::NotFound]);

async fn resolve(
    State(app): State<Gate>,
    api::Caller(caller): Caller,
    Body(new): Body<NewBundle>,
) -> Result<Accepted<BundleView>, Failure> {
    Ok(Accepted(app.bundles().ask(&caller, new).await?))
}
