//! `GET /v1/me`

use api::{Failure, Found, handler};
use gate::{Caller, Route};
use wire::key::Me;

/// Who is asking.
pub(crate) const ROUTE: Route =
    Route::get("keys.me", "/v1/me", handler!(me)).summary("Who is asking");

async fn me(api::Caller(caller): Caller) -> Result<Found<Me>, Failure> {
    Ok(Found(app::App::me(&caller)))
}
