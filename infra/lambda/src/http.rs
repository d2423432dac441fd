//! A route behind the HTTP API.
//!
//! What holds here: whatever a handler does, a problem comes back: also where it takes longer than
//! the API waits, says more than Lambda passes on, or panics. A body arrives whole; what is longer
//! than the API or Lambda take was refused by them with a 413.

use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use api::Verb;
use app::App;
use axum::Router;
use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderValue, Response};
use bytes::Bytes;
use futures::FutureExt;
use gate::{Gate, Route};
use http_body_util::{BodyExt, Full};
use lambda_http::{Context, Request, RequestExt};
use tower::ServiceExt;
use tracing::Instrument;
use wire::{Problem, ProblemKind};

use crate::invocation::left;
use crate::ports::Wanted;
use crate::process::Process;
use crate::telemetry::millis;
use crate::{Error, ports};

/// The most bytes of an answer that Lambda passes on, less what an answer has beside its body.
const MAX_ANSWER: usize = 6 * 1024 * 1024 - 64 * 1024;

/// What to do about an answer that is larger.
const TOO_LARGE: &str = "Lambda passes on 6 MB, which are 4.5 MB of bytes: ask for parts of a file with \
     `Range`, and for less of anything else at a time";

/// What is kept back of an invocation's time, to say that it was not enough.
const RESERVE: Duration = Duration::from_millis(500);

/// Serves `route` for as long as the process lives.
pub(crate) async fn serve(process: Process, route: Route) -> Result<(), Error> {
    let app = ports::app(&process, &Wanted::of_route(&route)).await?;
    let gate = Gate::new(app.clone());
    let door = Door::new(process, app, &gate, route);
    let service = lambda_http::service_fn(move |request: Request| {
        let door = door.clone();
        async move { Ok::<_, Error>(door.answer_whole(request).await) }
    });
    lambda_http::runtime(service).run().await
}

/// What is served, and everything in front of it.
#[derive(Clone)]
pub(crate) struct Door {
    pub(crate) process: Process,
    app: App,
    /// What the log calls it.
    id: &'static str,
    /// Whether who asks may ask for less.
    reads: bool,
    router: Router,
}

impl Door {
    /// Exactly `route`, behind `gate`, which opens `app`.
    pub(crate) fn new(process: Process, app: App, gate: &Gate, route: Route) -> Self {
        let router = api::router(&[route], gate);
        Self { process, app, id: route.id, reads: route.verb == Verb::Get, router }
    }

    /// Whatever `router` takes.
    pub(crate) const fn before(
        process: Process,
        app: App,
        id: &'static str,
        router: Router,
    ) -> Self {
        Self { process, app, id, reads: false, router }
    }

    /// Lets a request through, within the time of its invocation.
    pub(crate) async fn pass(&self, request: Request, context: &Context) -> Response<Body> {
        let mut request = request.map(Body::new);
        *request.uri_mut() = api::canonical(std::mem::take(request.uri_mut()));
        let handled = AssertUnwindSafe(self.router.clone().oneshot(request)).catch_unwind();
        let late = self.process.clock.wait(left(&*self.process.clock, context, RESERVE));
        let mut response = tokio::select! {
            handled = handled => match handled {
                Ok(Ok(response)) => response,
                Ok(Err(never)) => match never {},
                Err(_) => self.problem(ProblemKind::Internal, "the handler panicked"),
            },
            () = late => {
                self.problem(ProblemKind::Unavailable, "it took longer than a request may; try again")
            }
        };
        let guess = HeaderValue::from_static("nosniff");
        response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, guess);
        response
    }

    /// Answers in one piece.
    pub(crate) async fn answer_whole(&self, request: Request) -> Response<Full<Bytes>> {
        let (context, started) = (request.lambda_context(), Instant::now());
        let span = self.process.telemetry.span(self.id, &context);
        let answered = async {
            let response = self.pass(request, &context).await;
            let response = self.whole(response).await;
            self.told(&response, started);
            response
        };
        let response = answered.instrument(span).await;
        self.process.telemetry.flush(&context);
        response
    }

    async fn whole(&self, response: Response<Body>) -> Response<Full<Bytes>> {
        let (kind, detail) = match gather(response).await {
            Ok(response) if sent(&response) <= MAX_ANSWER => {
                return response.map(Full::new);
            }
            Ok(_) if self.reads => (ProblemKind::TransferTooLarge, TOO_LARGE),
            Ok(_) => (ProblemKind::Internal, "the answer is too large"),
            Err(_) => (ProblemKind::Internal, "the answer ended before it was complete"),
        };
        gather(self.problem(kind, detail)).await.unwrap_or_default().map(Full::new)
    }

    fn problem(&self, kind: ProblemKind, detail: &str) -> Response<Body> {
        problem(&self.app, kind, detail)
    }

    /// The line that each request has in the log.
    pub(crate) fn told<B>(&self, response: &Response<B>, started: Instant) {
        let id = response.headers().get("x-request-id").and_then(|id| id.to_str().ok());
        tracing::info!(
            http.route = self.id,
            http.status = response.status().as_u16(),
            request.id = id,
            duration_ms = millis(started.elapsed()),
            "answered"
        );
    }
}

/// A problem that no handler has said.
pub(crate) fn problem(app: &App, kind: ProblemKind, detail: &str) -> Response<Body> {
    let id = app.request_id().to_string();
    tracing::error!(request.id = id, code = kind.code(), "{detail}");
    let mut problem = Problem::new(kind, detail.to_owned());
    problem.instance = Some(id.clone());
    let mut response = api::problem_response(&problem);
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert("x-request-id", id);
    }
    response
}

async fn gather(response: Response<Body>) -> Result<Response<Bytes>, axum::Error> {
    let (parts, body) = response.into_parts();
    Ok(Response::from_parts(parts, body.collect().await?.to_bytes()))
}

/// How many bytes a body has once it is in a JSON document: a text as a string, the rest in Base64.
fn sent(response: &Response<Bytes>) -> usize {
    let form = response.headers().get(CONTENT_TYPE).and_then(|form| form.to_str().ok());
    let text = form.is_none_or(|form| form.starts_with("text/") || form.contains("json"));
    if text { spelled(response.body()) } else { response.body().len().div_ceil(3) * 4 }
}

/// How many bytes a body has once it is a string in a JSON document.
fn spelled(body: &[u8]) -> usize {
    let more = body.iter().map(|byte| match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 8 | 12 => 1,
        0..=31 => 5,
        _ => 0,
    });
    body.len() + more.sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_measured_as_it_is_sent() {
        for body in ["", "{\"a\":\"\\\\\"}", "\u{1}\u{8}\n\r\t\u{c}\u{1f}", "é\u{7f}/"] {
            let sent = serde_json::to_string(body).unwrap();
            assert_eq!(spelled(body.as_bytes()), sent.len() - 2, "{sent}");
        }
    }
}
