//! `GET /v1/openapi.json`

use api::{Failure, Operation, Output, handler};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use gate::Route;

/// The document, as `cargo xtask synth` wrote it. A test holds it against the route table.
pub const DOCUMENT: &str = include_str!("../../../infra/aws/generated/openapi.json");

/// The OpenAPI document.
pub(crate) const ROUTE: Route = Route::get("system.openapi", "/v1/openapi.json", handler!(openapi))
    .summary("The OpenAPI document")
    .public();

struct Document;

impl IntoResponse for Document {
    fn into_response(self) -> Response {
        ([(CONTENT_TYPE, "application/json")], DOCUMENT).into_response()
    }
}

impl Output for Document {
    const STATUS: u16 = 200;

    fn describe(operation: &mut Operation<'_>) {
        operation.reply_as(200, "application/json", &serde_json::json!({ "type": "object" }));
    }
}

async fn openapi() -> Result<Document, Failure> {
    Ok(Document)
}
