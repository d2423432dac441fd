//! `GET /v1/realms`

use api::{Failure, Found, Params, handler};
use app::Grant;
use axum::extract::State;
use gate::{Caller, Gate, Listing, Route};
use wire::realm::RealmView;
use wire::{Page, Scope};

/// List realms: all for an operator, one's own for anybody else.
pub(crate) const ROUTE: Route = Route::get("realms.list", "/v1/realms", handler!(list))
    .summary("List realms: all for an operator, one's own for anybody else")
    .scope(Scope::RealmRead)
    .grants(&[Grant::TableRead]);

async fn list(
    State(app): State<Gate>,
    api::Caller(caller): Caller,
    Params(listing): Params<Listing>,
) -> Result<Found<Page<RealmView>>, Failure> {
    Ok(Found(app.realms().list(&caller, listing.paging()?).await?))
}
