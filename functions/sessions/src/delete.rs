//! `DELETE /v1/sessions/{sessionId}`

use api::{Failure, Ids, NoContent, handler};
use app::Grant;
use axum::extract::State;
use domain::SessionId;
use gate::{Caller, Gate, Route};
use schemars::JsonSchema;
use serde::Deserialize;
use wire::Scope;

/// Remove a session, its runs and its events for good. What it has in flight is cancelled.
pub(crate) const ROUTE: Route =
    Route::delete("sessions.delete", "/v1/sessions/{sessionId}", handler!(delete))
        .summary("Remove a session, its runs and its events for good")
        .scope(Scope::SessionsWrite)
        .grants(&[Grant::TableRead, Grant::TableWrite]);

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Path {
    session_id: SessionId,
}

async fn delete(
    State(app): State<Gate>,
    api::Caller(caller): Caller,
    Ids(Path { session_id }): Ids<Path>,
) -> Result<NoContent, Failure> {
    app.sessions().delete(&caller, session_id).await?;
    Ok(NoContent)
}
