//! `GET /v1/docs`

use std::sync::OnceLock;

use api::{Failure, Operation, Output, handler};
use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use gate::Route;

use crate::{openapi, page};

/// The OpenAPI document, to be read.
pub(crate) const ROUTE: Route = Route::get("system.docs", "/v1/docs", handler!(docs))
    .summary("The OpenAPI document, to be read")
    .public();

struct Page(&'static str);

impl IntoResponse for Page {
    fn into_response(self) -> Response {
        let policy = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'";
        let headers =
            [(CONTENT_TYPE, "text/html; charset=utf-8"), (CONTENT_SECURITY_POLICY, policy)];
        (headers, self.0).into_response()
    }
}

impl Output for Page {
    const STATUS: u16 = 200;

    fn describe(operation: &mut Operation<'_>) {
        operation.reply_as(200, "text/html", &serde_json::json!({ "type": "string" }));
    }
}

async fn docs() -> Result<Page, Failure> {
    static PAGE: OnceLock<String> = OnceLock::new();
    Ok(Page(PAGE.get_or_init(|| page::render(openapi::DOCUMENT))))
}
