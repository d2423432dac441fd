//! `POST /v1/sessions`

use api::{Body, Created, Failure, handler};
use app::Grant;
use axum::extract::State;
use gate::{Caller, Gate, Route};
use wire::session::{NewSession, SessionView};
use wire::{ProblemKind, Scope};

/// Open a session with an agent.
pub(crate) const ROUTE: Route = Route::post("sessions.create", "/v1/sessions", handler!(create))
    .summary("Open a session with an agent")
    .scope(Scope::SessionsWrite)
    .grants(&[Grant::TableRead, Grant::TableWrite])
    .problems(&[
        ProblemKind::NotFound,
        ProblemKind::StateRefused,
        ProblemKind::QuotaReached,
        ProblemKind::PolicyRefused,
        ProblemKind::AgentReclaimed,
    ]);

async fn create(
    State(app): State<Gate>,
    api::Caller(caller): Caller,
    Body(new): Body<NewSession>,
) -> Result<Created<SessionView>, Failure> {
    Ok(Created(app.sessions().create(&caller, new).await?))
}
