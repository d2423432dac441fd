//! `POST /v1/templates`

use api::{Body, Created, Failure, handler};
use app::Grant;
use axum::extract::State;
use gate::{Caller, Gate, Route};
use wire::template::{NewTemplate, TemplateView};
use wire::{ProblemKind, Scope};

/// Make a template.
pub(crate) const ROUTE: Route = Route::post("templates.create", "/v1/templates", handler!(create))
    .summary("Make a template")
    .scope(Scope::AgentsWrite)
    .grants(&[Grant::TableWrite])
    .problems(&[ProblemKind::InvalidValue, ProblemKind::PolicyRefused]);

async fn create(
    State(app): State<Gate>,
    api::Caller(caller): Caller,
    Body(new): Body<NewTemplate>,
) -> Result<Created<TemplateView>, Failure> {
    Ok(Created(app.templates().create(&caller, new).await?))
}
