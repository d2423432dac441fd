//! `GET /v1/runs`

use api::{Failure, Found, Params, handler};
use app::Grant;
use axum::extract::State;
use gate::{Caller, Gate, Listing, Route};
use wire::session::RunView;
use wire::{Page, Scope};

/// List the runs of the realm.
pub(crate) const ROUTE: Route = Route::get("runs.list", "/v1/runs", handler!(list))
    .summary("List the runs of the realm")
    .scope(Scope::SessionsRead)
    .grants(&[Grant::TableRead]);

async fn list(
    State(app): State<Gate>,
    api::Caller(caller): Caller,
    Params(listing): Params<Listing>,
) -> Result<Found<Page<RunView>>, Failure> {
    Ok(Found(app.runs().list(&caller, None, listing.paging()?).await?))
}
