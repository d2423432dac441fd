//! `GET /v1/realms/{realmId}`

use api::{Failure, Found, Ids, handler};
use app::Grant;
use axum::extract::State;
use domain::RealmId;
use gate::{Caller, Gate, Route};
use schemars::JsonSchema;
use serde::Deserialize;
use wire::Scope;
use wire::realm::RealmView;

/// Get a realm.
pub(crate) const ROUTE: Route = Route::get("realms.get", "/v1/realms/{realmId}", handler!(get))
    .summary("Get a realm")
    .scope(Scope::RealmRead)
    .grants(&[Grant::TableRead]);

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Path {
    realm_id: RealmId,
}

async fn get(
    State(app): State<Gate>,
    api::Caller(caller): Caller,
    Ids(Path { realm_id }): Ids<Path>,
) -> Result<Found<RealmView>, Failure> {
    Ok(Found(app.realms().get(&caller, realm_id).await?))
}
