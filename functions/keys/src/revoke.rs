//! `DELETE /v1/keys/{keyId}`

use api::{Failure, Ids, NoContent, handler};
use app::Grant;
use axum::extract::State;
use domain::KeyId;
use gate::{Caller, Gate, Route};
use schemars::JsonSchema;
use serde::Deserialize;
use wire::Scope;

/// Stop a key at once and for good.
pub(crate) const ROUTE: Route = Route::delete("keys.revoke", "/v1/keys/{keyId}", handler!(revoke))
    .summary("Stop a key at once and for good")
    .scope(Scope::KeysWrite)
    .grants(&[Grant::TableRead, Grant::TableWrite]);

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Path {
    key_id: KeyId,
}

async fn revoke(
    State(app): State<Gate>,
    api::Caller(caller): Caller,
    Ids(Path { key_id }): Ids<Path>,
) -> Result<NoContent, Failure> {
    app.keys().revoke(&caller, key_id).await?;
    Ok(NoContent)
}
