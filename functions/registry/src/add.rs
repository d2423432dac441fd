//! `POST /v1/registry/agents`

use api::{Body, Created, Failure, handler};
use app::Grant;
use axum::extract::State;
use gate::{Caller, Gate, Route};
use wire::registry::{NewRegistryAgent, RegistryAgentView};
use wire::{ProblemKind, Scope};

/// Add an agent, or a version of one, to the realm's catalog.
pub(crate) const ROUTE: Route = Route::post("registry.add", "/v1/registry/agents", handler!(add))
    .summary("Add an agent, or a version of one, to the realm's catalog")
    .scope(Scope::AgentsWrite)
    .grants(&[Grant::TableRead, Grant::TableWrite])
    .problems(&[ProblemKind::InvalidValue, ProblemKind::PolicyRefused]);

async fn add(
    State(app): State<Gate>,
    api::Caller(caller): Caller,
    Body(new): Body<NewRegistryAgent>,
) -> Result<Created<RegistryAgentView>, Failure> {
    Ok(Created(app.registry().add(&caller, new).await?))
}
