//! `GET /v1/audit`

use api::{Failure, Found, Params, handler};
use app::Grant;
use axum::extract::State;
use gate::{Caller, Gate, Listing, Route};
use wire::audit::AuditView;
use wire::{Page, Scope};

/// List the audit log of the caller's realm.
pub(crate) const ROUTE: Route = Route::get("realms.audit", "/v1/audit", handler!(audit))
    .summary("List the audit log of the caller's realm")
    .scope(Scope::RealmRead)
    .grants(&[Grant::TableRead]);

async fn audit(
    State(app): State<Gate>,
    api::Caller(caller): Caller,
    Params(listing): Params<Listing>,
) -> Result<Found<Page<AuditView>>, Failure> {
    Ok(Found(app.audit(&caller, listing.paging()?).await?))
}
