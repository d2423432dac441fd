//! What is wrong, as the API says it too: RFC 9457 details with a stable code. The codes are those
//! of failed runs and of egress, not of the API.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// Every way these endpoints fail on their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Not one of the routes.
    EgressDenied,
    /// No provider is set up for it.
    ModelUnavailable,
    /// The provider was not reached or did not answer properly.
    ModelError,
    /// The endpoint of an agent was not reached or did not answer properly.
    HttpError,
    /// The body is not JSON that names a model.
    InvalidBody,
    /// The body is too large.
    BodyTooLarge,
    /// The control plane does not know who connects.
    Unauthenticated,
    /// The control plane was not reached or did not take the connection.
    ControlUnavailable,
}

impl Kind {
    const fn is(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::EgressDenied => {
                (StatusCode::FORBIDDEN, "egress_denied", "A container may not reach this")
            }
            Self::ModelUnavailable => {
                (StatusCode::NOT_FOUND, "model_unavailable", "No provider serves the model")
            }
            Self::ModelError => {
                (StatusCode::BAD_GATEWAY, "model_error", "The model's provider failed")
            }
            Self::HttpError => (StatusCode::BAD_GATEWAY, "http_error", "The endpoint failed"),
            Self::InvalidBody => {
                (StatusCode::BAD_REQUEST, "invalid_body", "The body is not a model request")
            }
            Self::BodyTooLarge => {
                (StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", "The body is too large")
            }
            Self::Unauthenticated => {
                (StatusCode::UNAUTHORIZED, "unauthenticated", "The control plane refused it")
            }
            Self::ControlUnavailable => (
                StatusCode::BAD_GATEWAY,
                "control_unavailable",
                "The control plane did not take the connection",
            ),
        }
    }
}

/// One failure.
#[derive(Debug)]
pub(crate) struct Problem {
    kind: Kind,
    detail: String,
}

impl Problem {
    pub(crate) fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into() }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        #[derive(Serialize)]
        struct Details<'a> {
            r#type: String,
            title: &'a str,
            status: u16,
            detail: &'a str,
            code: &'a str,
        }
        let (status, code, title) = self.kind.is();
        let details = Details {
            r#type: format!("urn:reeve:problem:{code}"),
            title,
            status: status.as_u16(),
            detail: &self.detail,
            code,
        };
        let json = [(header::CONTENT_TYPE, "application/problem+json")];
        (status, json, axum::Json(details)).into_response()
    }
}
