//! `POST /v1/sessions/{sessionId}/close`

use api::{Failure, Found, Ids, handler};
use app::Grant;
use axum::extract::State;
use domain::SessionId;
use gate::{Caller, Gate, Route};
use schemars::JsonSchema;
use serde::Deserialize;
use wire::session::SessionView;
use wire::{ProblemKind, Scope};

/// Close a session that has nothing in flight.
pub(crate) const ROUTE: Route =
    Route::post("sessions.close", "/v1/sessions/{sessionId}/close", handler!(close))
        .summary("Close a session that has nothing in flight")
        .scope(Scope::SessionsWrite)
        .grants(&[Grant::TableRead, Grant::TableWrite])
        .problems(&[ProblemKind::StateRefused]);

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Path {
    session_id: SessionId,
}

async fn close(
    State(app): State<Gate>,
    api::Caller(caller): Caller,
    Ids(Path { session_id }): Ids<Path>,
) -> Result<Found<SessionView>, Failure> {
    Ok(Found(app.sessions().close(&caller, session_id).await?))
}
