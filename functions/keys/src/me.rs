//! `GET /v1/me`

use api::{Failure, Found, handler};
use axum::extract::State;
use gate::{Caller, Gate, Route};
use wire::key::Me;

/// Who is asking.
pub(crate) const ROUTE: Route = Route::get("keys.me", "/v1/me", handler!(me)).summary("Who is asking");

async fn me(State(app): State<Gate>, api::Caller(caller): Caller) -> Result<Found<Me>, Failure> {
    Ok(Found(app.me(&caller)))
}
