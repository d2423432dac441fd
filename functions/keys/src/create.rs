//! `POST /v1/keys`

use api::{Body, Created, Failure, handler};
use app::Grant;
use axum::extract::State;
use gate::{Caller, Gate, Route};
use wire::key::{CreatedKey, NewKey};
use wire::{ProblemKind, Scope};

/// Make a key; it is shown this once.
pub(crate) const ROUTE: Route = Route::post("keys.create", "/v1/keys", handler!(create))
    .summary("Make a key; it is shown this once")
    .scope(Scope::KeysWrite)
    .grants(&[Grant::TableWrite])
    .problems(&[ProblemKind::InvalidValue]);

async fn create(
    State(app): State<Gate>,
    api::Caller(caller): Caller,
    Body(new): Body<NewKey>,
) -> Result<Created<CreatedKey>, Failure> {
    Ok(Created(app.keys().create(&caller, new).await?))
}
