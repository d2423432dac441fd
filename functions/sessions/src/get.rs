//! `GET /v1/sessions/{sessionId}`

use api::{Failure, Found, Ids, handler};
use app::Grant;
use axum::extract::State;
use domain::SessionId;
use gate::{Caller, Gate, Route};
use schemars::JsonSchema;
use serde::Deserialize;
use wire::Scope;
use wire::session::SessionView;

/// Get a session.
pub(crate) const ROUTE: Route =
    Route::get("sessions.get", "/v1/sessions/{sessionId}", handler!(get))
        .summary("Get a session")
        .scope(Scope::SessionsRead)
        .grants(&[Grant::TableRead]);

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Path {
    session_id: SessionId,
}

async fn get(
    State(app): State<Gate>,
    api::Caller(caller): Caller,
    Ids(Path { session_id }): Ids<Path>,
) -> Result<Found<SessionView>, Failure> {
    Ok(Found(app.sessions().get(&caller, session_id).await?))
}
