//! `PATCH /v1/realms/{realmId}`

use api::{Body, Failure, Found, Ids, handler};
use app::Grant;
use axum::extract::State;
use domain::RealmId;
use gate::{Caller, Gate, Route};
use schemars::JsonSchema;
use serde::Deserialize;
use wire::realm::{RealmPatch, RealmView};
use wire::{ProblemKind, Scope};

/// Change a realm.
pub(crate) const ROUTE: Route =
    Route::patch("realms.update", "/v1/realms/{realmId}", handler!(update))
        .summary("Change a realm")
        .scope(Scope::RealmWrite)
        .grants(&[Grant::TableRead, Grant::TableWrite])
        .problems(&[ProblemKind::InvalidValue]);

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Path {
    realm_id: RealmId,
}

async fn update(
    State(app): State<Gate>,
    api::Caller(caller): Caller,
    Ids(Path { realm_id }): Ids<Path>,
    Body(patch): Body<RealmPatch>,
) -> Result<Found<RealmView>, Failure> {
    Ok(Found(app.realms().update(&caller, realm_id, patch).await?))
}
