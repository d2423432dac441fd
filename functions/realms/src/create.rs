//! `POST /v1/realms`

use api::{Body, Created, Failure, handler};
use app::Grant;
use axum::extract::State;
use gate::{Caller, Gate, Route};
use wire::Scope;
use wire::realm::{CreatedRealm, NewRealm};

/// Make a realm with its first key.
pub(crate) const ROUTE: Route = Route::post("realms.create", "/v1/realms", handler!(create))
    .summary("Make a realm with its first key")
    .scope(Scope::Operator)
    .grants(&[Grant::TableWrite]);

async fn create(
    State(app): State<Gate>,
    api::Caller(caller): Caller,
    Body(new): Body<NewRealm>,
) -> Result<Created<CreatedRealm>, Failure> {
    Ok(Created(app.realms().create(&caller, new).await?))
}
