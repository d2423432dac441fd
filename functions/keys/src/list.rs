//! `GET /v1/keys`

use api::{Failure, Found, Params, handler};
use app::Grant;
use axum::extract::State;
use gate::{Caller, Gate, Listing, Route};
use wire::key::KeyView;
use wire::{Page, Scope};

/// List keys.
pub(crate) const ROUTE: Route = Route::get("keys.list", "/v1/keys", handler!(list))
    .summary("List keys")
    .scope(Scope::KeysRead)
    .grants(&[Grant::TableRead]);

async fn list(
    State(app): State<Gate>,
    api::Caller(caller): Caller,
    Params(listing): Params<Listing>,
) -> Result<Found<Page<KeyView>>, Failure> {
    Ok(Found(app.keys().list(&caller, listing.paging()?).await?))
}
