//! `POST /v1/realms/{realmId}/resume`

use api::{Failure, Found, Ids, handler};
use app::Grant;
use axum::extract::State;
use domain::RealmId;
use gate::{Caller, Gate, Route};
use schemars::JsonSchema;
use serde::Deserialize;
use wire::Scope;
use wire::realm::RealmView;

/// Let a suspended realm go on.
pub(crate) const ROUTE: Route =
    Route::post("realms.resume", "/v1/realms/{realmId}/resume", handler!(resume))
        .summary("Let a suspended realm go on")
        .scope(Scope::Operator)
        .grants(&[Grant::TableRead, Grant::TableWrite]);

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Path {
    realm_id: RealmId,
}

async fn resume(
    State(app): State<Gate>,
    api::Caller(caller): Caller,
    Ids(Path { realm_id }): Ids<Path>,
) -> Result<Found<RealmView>, Failure> {
    Ok(Found(app.realms().resume(&caller, realm_id).await?))
}
