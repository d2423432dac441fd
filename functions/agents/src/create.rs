//! `POST /v1/agents`

use api::{Body, Created, Failure, handler};
use app::Grant;
use axum::extract::State;
use gate::{Caller, Gate, Route};
use wire::agent::{AgentView, NewAgent};
use wire::{ProblemKind, Scope};

/// Make an agent, from a template or from scratch.
pub(crate) const ROUTE: Route = Route::post("agents.create", "/v1/agents", handler!(create))
    .summary("Make an agent, from a template or from scratch")
    .scope(Scope::AgentsWrite)
    .grants(&[Grant::TableRead, Grant::TableWrite])
    .problems(&[
        ProblemKind::InvalidValue,
        ProblemKind::NotFound,
        ProblemKind::QuotaReached,
        ProblemKind::PolicyRefused,
    ]);

async fn create(
    State(app): State<Gate>,
    api::Caller(caller): Caller,
    Body(new): Body<NewAgent>,
) -> Result<Created<AgentView>, Failure> {
    Ok(Created(app.agents().create(&caller, new).await?))
}
