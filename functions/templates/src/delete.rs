//! `DELETE /v1/templates/{templateId}`

use api::{Failure, Ids, IfMatch, NoContent, handler};
use app::Grant;
use axum::extract::State;
use domain::TemplateId;
use gate::{Caller, Gate, Route};
use schemars::JsonSchema;
use serde::Deserialize;
use wire::{ProblemKind, Scope};

/// Remove a template.
pub(crate) const ROUTE: Route =
    Route::delete("templates.delete", "/v1/templates/{templateId}", handler!(delete))
        .summary("Remove a template")
        .scope(Scope::AgentsWrite)
        .grants(&[Grant::TableRead, Grant::TableWrite])
        .problems(&[ProblemKind::BuiltIn]);

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Path {
    template_id: TemplateId,
}

async fn delete(
    State(app): State<Gate>,
    api::Caller(caller): Caller,
    Ids(Path { template_id }): Ids<Path>,
    IfMatch(version): IfMatch,
) -> Result<NoContent, Failure> {
    app.templates().delete(&caller, template_id, version).await?;
    Ok(NoContent)
}
