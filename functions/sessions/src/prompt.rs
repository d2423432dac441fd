//! `POST /v1/sessions/{sessionId}/prompt`

use api::{Accepted, Body, Failure, Ids, handler};
use app::Grant;
use axum::extract::State;
use domain::SessionId;
use gate::{Caller, Gate, Route};
use schemars::JsonSchema;
use serde::Deserialize;
use wire::session::{NewPrompt, RunView};
use wire::{ProblemKind, Scope};

/// Give a session a prompt.
pub(crate) const ROUTE: Route =
    Route::post("sessions.prompt", "/v1/sessions/{sessionId}/prompt", handler!(prompt))
        .summary("Give a session a prompt")
        .scope(Scope::SessionsWrite)
        .grants(&[Grant::TableRead, Grant::TableWrite])
        .problems(&[
            ProblemKind::InvalidOutputSchema,
            ProblemKind::PolicyRefused,
            ProblemKind::StateRefused,
            ProblemKind::QueueFull,
            ProblemKind::QuotaReached,
            ProblemKind::CapacityExhausted,
            ProblemKind::AgentReclaimed,
        ]);

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Path {
    session_id: SessionId,
}

async fn prompt(
    State(app): State<Gate>,
    api::Caller(caller): Caller,
    Ids(Path { session_id }): Ids<Path>,
    Body(new): Body<NewPrompt>,
) -> Result<Accepted<RunView>, Failure> {
    Ok(Accepted(app.sessions().prompt(&caller, session_id, new).await?))
}
