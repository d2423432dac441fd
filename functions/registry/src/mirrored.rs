//! The registry's document as an answer: whole, or that the caller has it already (RFC 9110, 13.1.2).

use api::{Failure, Input, Operation, Output};
use axum::extract::FromRequestParts;
use axum::http::header::{CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// The `ETag`s of what the caller has already.
pub(crate) struct IfNoneMatch(pub(crate) Option<String>);

impl Input for IfNoneMatch {
    fn describe(operation: &mut Operation<'_>) {
        operation.header(
            "If-None-Match",
            "The `ETag` of the document that is had: while it is the same, the answer is 304.",
            &json!({ "type": "string" }),
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
pub(crate) struct Mirrored {
    pub(crate) etag: String,
    pub(crate) document: Option<String>,
}

impl Output for Mirrored {
    const STATUS: u16 = 200;

    fn describe(operation: &mut Operation<'_>) {
        operation.reply_as(200, "application/json", &json!({ "type": "object" }));
        operation.empty_reply(304);
    }
}

impl IntoResponse for Mirrored {
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
