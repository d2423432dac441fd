//! `POST /v1/sessions/{sessionId}/cancel`

use api::{Accepted, Failure, Ids, OptionalBody, handler};
use app::Grant;
use axum::extract::State;
use domain::SessionId;
use gate::{Caller, Gate, Route};
use schemars::JsonSchema;
use serde::Deserialize;
use wire::session::{Cancel, RunView};
use wire::{ProblemKind, Scope};

/// Stop the run in flight, or one that waits.
pub(crate) const ROUTE: Route =
    Route::post("sessions.cancel", "/v1/sessions/{sessionId}/cancel", handler!(cancel))
        .summary("Stop the run in flight, or one that waits")
        .scope(Scope::SessionsWrite)
        .grants(&[Grant::TableRead, Grant::TableWrite])
        .problems(&[ProblemKind::StateRefused]);

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Path {
    session_id: SessionId,
}

async fn cancel(
    State(app): State<Gate>,
    api::Caller(caller): Caller,
    Ids(Path { session_id }): Ids<Path>,
    OptionalBody(cancel): OptionalBody<Cancel>,
) -> Result<Accepted<RunView>, Failure> {
    Ok(Accepted(app.sessions().cancel(&caller, session_id, cancel.run_id).await?))
}
