//! `POST /v1/sessions/{sessionId}/fork`

use api::{Created, Failure, Ids, OptionalBody, handler};
use app::Grant;
use axum::extract::State;
use domain::SessionId;
use gate::{Caller, Gate, Route};
use schemars::JsonSchema;
use serde::Deserialize;
use wire::session::{NewFork, SessionView};
use wire::{ProblemKind, Scope};

/// Open a session that goes on from where another is.
pub(crate) const ROUTE: Route =
    Route::post("sessions.fork", "/v1/sessions/{sessionId}/fork", handler!(fork))
        .summary("Open a session that goes on from where another is")
        .scope(Scope::SessionsWrite)
        .grants(&[Grant::TableRead, Grant::TableWrite])
        .problems(&[
            ProblemKind::StateRefused,
            ProblemKind::ForkUnsupported,
            ProblemKind::QuotaReached,
            ProblemKind::AgentReclaimed,
        ]);

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Path {
    session_id: SessionId,
}

async fn fork(
    State(app): State<Gate>,
    api::Caller(caller): Caller,
    Ids(Path { session_id }): Ids<Path>,
    OptionalBody(new): OptionalBody<NewFork>,
) -> Result<Created<SessionView>, Failure> {
    Ok(Created(app.sessions().fork(&caller, session_id, &new).await?))
}
