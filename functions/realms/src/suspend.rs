//! `POST /v1/realms/{realmId}/suspend`

use api::{Failure, Found, Ids, handler};
use app::Grant;
use axum::extract::State;
use domain::RealmId;
use gate::{Caller, Gate, Route};
use schemars::JsonSchema;
use serde::Deserialize;
use wire::realm::RealmView;
use wire::{ProblemKind, Scope};

/// Stop a realm and whatever it runs.
pub(crate) const ROUTE: Route =
    Route::post("realms.suspend", "/v1/realms/{realmId}/suspend", handler!(suspend))
        .summary("Stop a realm and whatever it runs")
        .scope(Scope::Operator)
        .grants(&[Grant::TableRead, Grant::TableWrite])
        .problems(&[ProblemKind::InvalidValue]);

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Path {
    realm_id: RealmId,
}

async fn suspend(
    State(app): State<Gate>,
    api::Caller(caller): Caller,
    Ids(Path { realm_id }): Ids<Path>,
) -> Result<Found<RealmView>, Failure> {
    Ok(Found(app.realms().suspend(&caller, realm_id).await?))
}
