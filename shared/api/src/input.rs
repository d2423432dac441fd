//! What a handler asks of a request: extractors that describe themselves and fail as problems.

use axum::extract::{FromRequest, FromRequestParts, Path, Request, State};
use axum::http::HeaderMap;
use axum::http::header::{ACCEPT, CONTENT_TYPE, IF_MATCH, USER_AGENT};
use axum::http::request::Parts;
use bytes::Bytes;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::json;
use wire::{Problem, ProblemKind};

use crate::{Failure, Operation};

/// An extractor that knows what it asks of the request.
pub trait Input {
    /// Says what it asks.
    fn describe(_: &mut Operation<'_>) {}
}

impl<S> Input for State<S> {}

/// Who is asking: put into the request by the pipeline, before anything else is looked at.
#[derive(Clone, Debug)]
pub struct Caller<C>(pub C);

impl<C> Input for Caller<C> {}

impl<S: Sync, C: Clone + Send + Sync + 'static> FromRequestParts<S> for Caller<C> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        // Taken out, because nobody else asks. Absent only where a public route asks for its caller:
        // a mistake in the table.
        parts.extensions.remove::<Self>().ok_or_else(|| {
            Failure(Problem::new(ProblemKind::Internal, "the route knows no caller"))
        })
    }
}

/// The ids in the path. What is not an id is the id of nothing: 404.
#[derive(Clone, Copy, Debug)]
pub struct Ids<T>(pub T);

impl<T: JsonSchema> Input for Ids<T> {
    fn describe(operation: &mut Operation<'_>) {
        operation.parameters::<T>("path");
        operation.problem(ProblemKind::NotFound);
    }
}

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Ids<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        match Path::<T>::from_request_parts(parts, state).await {
            Ok(Path(ids)) => Ok(Self(ids)),
            Err(rejection) => {
                Err(Failure(Problem::new(ProblemKind::NotFound, rejection.body_text())))
            }
        }
    }
}

/// The query parameters. What is not UTF-8 is refused: it would be read as something else.
#[derive(Clone, Copy, Debug)]
pub struct Params<T>(pub T);

impl<T: JsonSchema> Input for Params<T> {
    fn describe(operation: &mut Operation<'_>) {
        operation.parameters::<T>("query");
        operation.problem(ProblemKind::InvalidParameter);
    }
}

impl<S: Sync, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        let query = parts.uri.query().unwrap_or_default();
        if percent_encoding::percent_decode_str(query).decode_utf8().is_err() {
            let detail = "the query is not UTF-8";
            return Err(Failure(Problem::new(ProblemKind::InvalidParameter, detail)));
        }
        axum::extract::Query::<T>::try_from_uri(&parts.uri)
            .map(|axum::extract::Query(params)| Self(params))
            .map_err(|rejection| {
                Failure(Problem::new(ProblemKind::InvalidParameter, rejection.body_text()))
            })
    }
}

/// The body, as JSON of one shape.
#[derive(Clone, Copy, Debug)]
pub struct Body<T>(pub T);

impl<T: JsonSchema> Input for Body<T> {
    fn describe(operation: &mut Operation<'_>) {
        operation.body::<T>(true);
    }
}

impl<S: Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, _: &S) -> Result<Self, Failure> {
        let (headers, bytes) = whole(request).await?;
        is_json(&headers)?;
        parse(&bytes).map(Self)
    }
}

/// The body, as JSON of one shape; an empty body is the shape's default.
#[derive(Clone, Copy, Debug)]
pub struct OptionalBody<T>(pub T);

impl<T: JsonSchema> Input for OptionalBody<T> {
    fn describe(operation: &mut Operation<'_>) {
        operation.body::<T>(false);
    }
}

impl<S: Sync, T: DeserializeOwned + Default> FromRequest<S> for OptionalBody<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, _: &S) -> Result<Self, Failure> {
        let (headers, bytes) = whole(request).await?;
        if bytes.is_empty() {
            return Ok(Self(T::default()));
        }
        is_json(&headers)?;
        parse(&bytes).map(Self)
    }
}

/// The version that `If-Match` names; none where the header is absent or `*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IfMatch(pub Option<u64>);

impl Input for IfMatch {
    fn describe(operation: &mut Operation<'_>) {
        operation.header(
            "If-Match",
            "The version the change is meant for: a number, quoted or not, or `*`.",
            &json!({ "type": "string", "pattern": "^(\\*|\"?[0-9]{1,19}\"?)$" }),
        );
        operation.problem(ProblemKind::VersionMismatch);
        operation.problem(ProblemKind::InvalidParameter);
    }
}

impl<S: Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        let Some(value) = parts.headers.get(IF_MATCH) else { return Ok(Self(None)) };
        let text = value.to_str().unwrap_or_default().trim();
        if text == "*" {
            return Ok(Self(None));
        }
        match text.trim_matches('"').parse() {
            Ok(version) => Ok(Self(Some(version))),
            Err(_) => Err(Failure(
                Problem::new(ProblemKind::InvalidParameter, "If-Match must be one version")
                    .at("If-Match", "must be a number, quoted or not, or *"),
            )),
        }
    }
}

/// Whether the caller wants the answer as a stream of server-sent events or as one document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wants {
    /// `application/json`, and whoever does not say.
    Json,
    /// `text/event-stream`, and `*/*` of curl.
    Stream,
}

impl Input for Wants {
    fn describe(operation: &mut Operation<'_>) {
        operation.problem(ProblemKind::NotAcceptable);
    }
}

impl<S: Sync> FromRequestParts<S> for Wants {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        let Some(accept) = parts.headers.get(ACCEPT) else { return Ok(Self::Json) };
        let accept = accept.to_str().unwrap_or_default();
        // Who watches with curl and says nothing of forms wants to see what happens.
        let agent = parts.headers.get(USER_AGENT).and_then(|agent| agent.to_str().ok());
        if accept == "*/*" && agent.is_some_and(|agent| agent.starts_with("curl/")) {
            return Ok(Self::Stream);
        }
        // The first form that both sides know; quality values are not weighed.
        accept
            .split(',')
            .find_map(|form| match form.split(';').next().unwrap_or_default().trim() {
                "text/event-stream" | "text/*" => Some(Self::Stream),
                "application/json" | "application/*" | "*/*" | "" => Some(Self::Json),
                _ => None,
            })
            .ok_or_else(|| {
                Failure(Problem::new(
                    ProblemKind::NotAcceptable,
                    "accept application/json or text/event-stream",
                ))
            })
    }
}

async fn whole(request: Request) -> Result<(HeaderMap, Bytes), Failure> {
    let (parts, body) = request.into_parts();
    // The pipeline has bounded the body before it got here.
    let bytes = axum::body::to_bytes(body, usize::MAX).await.map_err(|_| {
        Failure(Problem::new(ProblemKind::InvalidBody, "the body ended before it was complete"))
    })?;
    Ok((parts.headers, bytes))
}

fn is_json(headers: &HeaderMap) -> Result<(), Failure> {
    let form = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = form.split(';').next().unwrap_or_default().trim();
    let json = essence.eq_ignore_ascii_case("application/json")
        || (essence.len() > 17
            && essence[..12].eq_ignore_ascii_case("application/")
            && essence.to_ascii_lowercase().ends_with("+json"));
    if json {
        Ok(())
    } else {
        Err(Failure(Problem::new(
            ProblemKind::UnsupportedMediaType,
            "send the body as application/json",
        )))
    }
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Failure> {
    // A derived shape takes an array for an object, its fields by position. No client means that.
    if bytes.trim_ascii_start().first() == Some(&b'[') {
        let detail = "the body is an object, not an array";
        return Err(Failure(Problem::new(ProblemKind::InvalidBody, detail)));
    }
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let refuse = |field: String, error: &serde_json::Error| {
        let detail = if error.is_data() {
            "a value is not of the shape this operation takes"
        } else {
            "the body is not JSON"
        };
        Failure(Problem::new(ProblemKind::InvalidBody, detail).at(field, error.to_string()))
    };
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        refuse(if path == "." { String::new() } else { path }, error.inner())
    })?;
    deserializer.end().map_err(|error| refuse(String::new(), &error))?;
    Ok(value)
}
