//! What a handler answers: replies whose type fixes their status, and failures.

use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Serialize;
use wire::{Problem, ProblemKind};

use crate::Operation;

/// A reply whose type fixes its status.
pub trait Output: IntoResponse {
    /// The status.
    const STATUS: u16;

    /// Says what it answers.
    fn describe(operation: &mut Operation<'_>);
}

macro_rules! replies {
    ($($(#[$doc:meta])* $name:ident = $status:literal),*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub struct $name<T>(pub T);

        impl<T: JsonSchema + Serialize> Output for $name<T> {
            const STATUS: u16 = $status;

            fn describe(operation: &mut Operation<'_>) {
                operation.reply::<T>($status);
            }
        }

        impl<T: Serialize> IntoResponse for $name<T> {
            fn into_response(self) -> Response {
                json($status, &self.0)
            }
        }
    )*};
}

replies! {
    /// 200: here it is.
    Found = 200,
    /// 201: it was made.
    Created = 201,
    /// 202: it will be done.
    Accepted = 202
}

/// 204: it was done, and there is nothing to say.
#[derive(Clone, Copy, Debug)]
pub struct NoContent;

impl Output for NoContent {
    const STATUS: u16 = 204;

    fn describe(operation: &mut Operation<'_>) {
        operation.empty_reply(204);
    }
}

impl IntoResponse for NoContent {
    fn into_response(self) -> Response {
        StatusCode::NO_CONTENT.into_response()
    }
}

fn json(status: u16, value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(body) => json_bytes(status, body),
        Err(error) => {
            tracing::error!(%error, "a reply does not serialise");
            Failure(Problem::new(ProblemKind::Internal, "the reply could not be written"))
                .into_response()
        }
    }
}

pub(crate) fn json_bytes(status: u16, body: Vec<u8>) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let form = HeaderValue::from_static("application/json");
    (status, [(CONTENT_TYPE, form)], body).into_response()
}

/// A problem on its way out. The pipeline writes it down with the request's id.
#[derive(Clone, Debug)]
pub struct Failure(pub Problem);

impl<E: Into<Problem>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status =
            StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// The response that shows `problem`.
pub fn problem_response(problem: &Problem) -> Response {
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = serde_json::to_vec(problem).unwrap_or_default();
    let form = HeaderValue::from_static("application/problem+json");
    let mut response = (
        status,
        [(CONTENT_TYPE, form), (CACHE_CONTROL, HeaderValue::from_static("no-store"))],
        body,
    )
        .into_response();
    if status == StatusCode::UNAUTHORIZED {
        let scheme = HeaderValue::from_static("Bearer");
        response.headers_mut().insert(axum::http::header::WWW_AUTHENTICATE, scheme);
    }
    let again = if problem.code == ProblemKind::Unavailable {
        // It has been tried again for a while already: that soon is soon enough.
        Some("1")
    } else if problem.code == ProblemKind::CapacityExhausted {
        // Some run has to end.
        Some("5")
    } else {
        None
    };
    if let Some(seconds) = again.map(HeaderValue::from_static) {
        response.headers_mut().insert(axum::http::header::RETRY_AFTER, seconds);
    }
    response
}
