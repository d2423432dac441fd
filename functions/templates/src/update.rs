//! `PATCH /v1/templates/{templateId}`

use api::{Body, Failure, Found, Ids, IfMatch, handler};
use app::Grant;
use axum::extract::State;
use domain::TemplateId;
use gate::{Caller, Gate, Route};
use schemars::JsonSchema;
use serde::Deserialize;
use wire::template::{TemplatePatch, TemplateView};
use wire::{ProblemKind, Scope};

/// Change a template.
pub(crate) const ROUTE: Route =
    Route::patch("templates.update", "/v1/templates/{templateId}", handler!(update))
        .summary("Change a template")
        .scope(Scope::AgentsWrite)
        .grants(&[Grant::TableRead, Grant::TableWrite])
        .problems(&[ProblemKind::InvalidValue, ProblemKind::BuiltIn, ProblemKind::PolicyRefused]);

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Path {
    template_id: TemplateId,
}

async fn update(
    State(app): State<Gate>,
    api::Caller(caller): Caller,
    Ids(Path { template_id }): Ids<Path>,
    IfMatch(version): IfMatch,
    Body(patch): Body<TemplatePatch>,
) -> Result<Found<TemplateView>, Failure> {
    Ok(Found(app.templates().update(&caller, template_id, version, patch).await?))
}
