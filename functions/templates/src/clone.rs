//! `POST /v1/templates/{templateId}/clone`

use api::{Created, Failure, Ids, OptionalBody, handler};
use app::Grant;
use axum::extract::State;
use domain::TemplateId;
use gate::{Caller, Gate, Route};
use schemars::JsonSchema;
use serde::Deserialize;
use wire::template::{CloneTemplate, TemplateView};
use wire::{ProblemKind, Scope};

/// Copy a template.
pub(crate) const ROUTE: Route =
    Route::post("templates.clone", "/v1/templates/{templateId}/clone", handler!(clone))
        .summary("Copy a template")
        .scope(Scope::AgentsWrite)
        .grants(&[Grant::TableRead, Grant::TableWrite])
        .problems(&[ProblemKind::PolicyRefused]);

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Path {
    template_id: TemplateId,
}

async fn clone(
    State(app): State<Gate>,
    api::Caller(caller): Caller,
    Ids(Path { template_id }): Ids<Path>,
    OptionalBody(clone): OptionalBody<CloneTemplate>,
) -> Result<Created<TemplateView>, Failure> {
    Ok(Created(app.templates().clone(&caller, template_id, clone).await?))
}
