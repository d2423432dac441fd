//! `GET /v1/containers`

use api::{Failure, Found, Params, handler};
use app::Grant;
use axum::extract::State;
use gate::{Caller, Gate, Listing, Route};
use wire::container::ContainerView;
use wire::{Page, ProblemKind, Scope};

/// List the realm's containers.
pub(crate) const ROUTE: Route = Route::get("containers.list", "/v1/containers", handler!(list))
    .summary("List the realm's containers")
    .scope(Scope::AgentsRead)
    .grants(&[Grant::TableRead])
    .problems(&[ProblemKind::InvalidCursor]);

async fn list(
    State(app): State<Gate>,
    api::Caller(caller): Caller,
    Params(listing): Params<Listing>,
) -> Result<Found<Page<ContainerView>>, Failure> {
    Ok(Found(app.containers().list(&caller, listing.paging()?).await?))
}
