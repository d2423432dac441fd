//! `GET /v1/templates/{templateId}`

use api::{Failure, Found, Ids, handler};
use app::Grant;
use axum::extract::State;
use domain::TemplateId;
use gate::{Caller, Gate, Route};
use schemars::JsonSchema;
use serde::Deserialize;
use wire::Scope;
use wire::template::TemplateView;

/// Get a template.
pub(crate) const ROUTE: Route =
    Route::get("templates.get", "/v1/templates/{templateId}", handler!(get))
        .summary("Get a template")
        .scope(Scope::AgentsRead)
        .grants(&[Grant::TableRead]);

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Path {
    template_id: TemplateId,
}

async fn get(
    State(app): State<Gate>,
    api::Caller(caller): Caller,
    Ids(Path { template_id }): Ids<Path>,
) -> Result<Found<TemplateView>, Failure> {
    Ok(Found(app.templates().get(&caller, template_id).await?))
}
