//! `GET /v1/registry/registry.json`

use api::{Failure, Input, Operation, Output, handler};
use app::Grant;
use axum::extract::{FromRequestParts, State};
use axum::http::header::{CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use gate::{Caller, Gate, Route};
use serde_json::json;
use wire::Scope;

/// The registry's document as it is known here, in the official form: another installation may sync
/// from it.
pub(crate) const ROUTE: Route =
    Route::get("registry.document", "/v1/registry/registry.json", handler!(document))
        .summary("The registry's document, for another installation to sync from")
        .scope(Scope::AgentsRead)
        .grants(&[Grant::TableRead]);

/// What the caller has already.
struct IfNoneMatch(Option<String>);

impl Input for IfNoneMatch {
    fn describe(operation: &mut Operation<'_>) {
        operation.header(
            "If-None-Match",
            "The `ETag` of the document that is had: while it is the same, the answer is 304.",
            &json!({ "type": "string", "maxLength": 512 }),
        );
    }
}

impl<S: Sync> FromRequestParts<S> for IfNoneMatch {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        let value = parts.headers.get(IF_NONE_MATCH).and_then(|value| value.to_str().ok());
        Ok(Self(value.map(str::to_owned)))
    }
}

/// The document, or that it is still the same.
struct Reply {
    etag: String,
    document: Option<String>,
}

impl Output for Reply {
    const STATUS: u16 = 200;

    fn describe(operation: &mut Operation<'_>) {
        operation.reply_as(200, "application/json", &json!({ "type": "object" }));
        operation.empty_reply(304);
    }
}

impl IntoResponse for Reply {
    fn into_response(self) -> Response {
        let mut response = match self.document {
            Some(document) => ([(CONTENT_TYPE, "application/json")], document).into_response(),
            None => StatusCode::NOT_MODIFIED.into_response(),
        };
        if let Ok(etag) = HeaderValue::from_str(&self.etag) {
            response.headers_mut().insert(ETAG, etag);
        }
        response
    }
}

async fn document(
    State(app): State<Gate>,
    api::Caller(_): Caller,
    IfNoneMatch(known): IfNoneMatch,
) -> Result<Reply, Failure> {
    let (etag, document) = app.registry().document().await?;
    let same = known.is_some_and(|known| known.split(',').any(|one| one.trim() == etag));
    Ok(Reply { etag, document: (!same).then_some(document) })
}
