//! `POST /v1/sessions/{sessionId}/configure`

use api::{Accepted, Body, Failure, Ids, handler};
use app::Grant;
use axum::extract::State;
use domain::SessionId;
use gate::{Caller, Gate, Route};
use schemars::JsonSchema;
use serde::Deserialize;
use wire::session::{Configure, SessionView};
use wire::{ProblemKind, Scope};

/// Set the agent's mode, model and options.
pub(crate) const ROUTE: Route =
    Route::post("sessions.configure", "/v1/sessions/{sessionId}/configure", handler!(configure))
        .summary("Set the agent's mode, model and options in a session")
        .scope(Scope::SessionsWrite)
        .grants(&[Grant::TableRead, Grant::TableWrite])
        .problems(&[ProblemKind::StateRefused, ProblemKind::InvalidValue]);

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Path {
    session_id: SessionId,
}

async fn configure(
    State(app): State<Gate>,
    api::Caller(caller): Caller,
    Ids(Path { session_id }): Ids<Path>,
    Body(new): Body<Configure>,
) -> Result<Accepted<SessionView>, Failure> {
    Ok(Accepted(app.sessions().configure(&caller, session_id, &new).await?))
}
