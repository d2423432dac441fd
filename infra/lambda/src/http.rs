//! A route behind the HTTP API.
//!
//! What holds here: whatever a handler does, a problem comes back: also where it takes longer than
//! the API waits, says more than Lambda passes on, or panics. A body arrives whole; what is longer
//! than the API or Lambda take was refused by them with a 413.
//!
//! Of a route that may say more than Lambda passes on ([`Grant::Outgoing`]), such an answer is left in
//! the bucket, and who asked is sent there. Not so where a part was asked for: whoever is sent on asks
//! for the same part again, of what would be that part only.

use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use api::Verb;
use app::{App, Grant};
use aws::outgoing::{Label, Outgoing, OutgoingError};
use axum::Router;
use axum::body::{Body, BodyDataStream};
use axum::http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_TYPE, ETAG,
    HeaderName, LOCATION, RANGE, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::response::Parts;
use axum::http::{HeaderValue, Response, StatusCode};
use bytes::{Bytes, BytesMut};
use futures::FutureExt;
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use gate::{Gate, Route};
use http_body_util::{BodyExt, Collected, Full};
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
const TOO_LARGE: &str = "Lambda passes on 6 MB, which are 4.5 MB of bytes: ask for smaller parts of a file \
     or for the whole of it, and for less of anything else at a time";

/// What to do about one that takes too long to be made.
const TOO_LONG: &str = "it takes longer than a request may: ask for parts of a file with `Range`, and for \
     less of anything else at a time";

/// Why there is no answer.
type Refusal = (ProblemKind, &'static str);

const CUT_OFF: Refusal = (ProblemKind::Internal, "the answer ended before it was complete");

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
    /// Whether what is too large is left where who asks is sent to.
    leaves: bool,
    router: Router,
}

impl Door {
    /// Exactly `route`, behind `gate`, which opens `app`.
    pub(crate) fn new(process: Process, app: App, gate: &Gate, route: Route) -> Self {
        let router = api::router(&[route], gate);
        let reads = route.verb == Verb::Get;
        let leaves = reads && route.grants.contains(&Grant::Outgoing);
        Self { process, app, id: route.id, reads, leaves, router }
    }

    /// Whatever `router` takes.
    pub(crate) const fn before(
        process: Process,
        app: App,
        id: &'static str,
        router: Router,
    ) -> Self {
        Self { process, app, id, reads: false, leaves: false, router }
    }

    /// Lets a request through, within the time of its invocation.
    pub(crate) async fn pass(&self, request: Request, context: &Context) -> Response<Body> {
        let mut request = request.map(Body::new);
        *request.uri_mut() = api::canonical(std::mem::take(request.uri_mut()));
        let handled = AssertUnwindSafe(self.router.clone().oneshot(request)).catch_unwind();
        let mut response = tokio::select! {
            handled = handled => match handled {
                Ok(Ok(response)) => response,
                Ok(Err(never)) => match never {},
                Err(_) => self.problem(ProblemKind::Internal, "the handler panicked"),
            },
            () = self.late(context) => {
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
        let part = request.headers().contains_key(RANGE);
        let answered = async {
            let response = self.pass(request, &context).await;
            let whole = tokio::select! {
                // What is ready is answered, also at the last moment.
                biased;
                whole = self.whole(response, part) => whole,
                () = self.late(&context) => Err((ProblemKind::TransferTooLarge, TOO_LONG)),
            };
            let response = match whole {
                Ok(response) => response,
                Err((kind, detail)) => small(self.problem(kind, detail)).await,
            };
            self.told(&response, started);
            response
        };
        let response = answered.instrument(span).await;
        self.process.telemetry.flush(&context);
        response
    }

    /// Returns when the time of an invocation is all but over.
    async fn late(&self, context: &Context) {
        self.process.clock.wait(left(&*self.process.clock, context, RESERVE)).await;
    }

    /// The answer in one piece: itself, or where it is. `part`: only some of what there is was asked for.
    async fn whole(
        &self,
        response: Response<Body>,
        part: bool,
    ) -> Result<Response<Full<Bytes>>, Refusal> {
        let (head, body) = response.into_parts();
        let mut content = body.into_data_stream();
        let gathered = gather(&mut content).await.map_err(|_| CUT_OFF)?;
        match gathered {
            Gathered::All(body) if sent(&head, &body) <= MAX_ANSWER => {
                Ok(Response::from_parts(head, Full::new(body)))
            }
            Gathered::All(body) | Gathered::Some(body)
                if self.leaves && !part && head.status == StatusCode::OK =>
            {
                let content = stream::once(async { Ok(body) }).chain(content).boxed();
                let label = Label {
                    form: text(&head, &CONTENT_TYPE),
                    disposition: text(&head, &CONTENT_DISPOSITION),
                };
                let address = self.leave(label, content).await?;
                sent_on(head, &address)
            }
            Gathered::All(_) | Gathered::Some(_) if self.reads => {
                Err((ProblemKind::TransferTooLarge, TOO_LARGE))
            }
            Gathered::All(_) | Gathered::Some(_) => {
                Err((ProblemKind::Internal, "the answer is too large"))
            }
        }
    }

    /// Leaves an answer where its client can fetch it, and says where.
    async fn leave(
        &self,
        label: Label,
        content: BoxStream<'_, Result<Bytes, axum::Error>>,
    ) -> Result<String, Refusal> {
        let outgoing =
            self.process.sdk().and_then(|sdk| Outgoing::new(sdk, &self.process.environment));
        let outgoing = outgoing.map_err(|error| {
            tracing::error!(%error, "there is no place for an answer");
            (ProblemKind::Internal, "there is no place for the answer")
        })?;
        outgoing.leave(label, content).await.map_err(|error| {
            tracing::error!(%error, "an answer could not be left");
            match error {
                OutgoingError::CutOff(_) => CUT_OFF,
                OutgoingError::Unavailable(_) => {
                    (ProblemKind::Unavailable, "the answer found no place; try again")
                }
            }
        })
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

/// What an answer has, as far as it was gathered.
enum Gathered {
    All(Bytes),
    /// More than Lambda passes on, and there is more.
    Some(Bytes),
}

async fn gather(content: &mut BodyDataStream) -> Result<Gathered, axum::Error> {
    let mut gathered = BytesMut::new();
    while gathered.len() <= MAX_ANSWER {
        let Some(piece) = content.try_next().await? else {
            return Ok(Gathered::All(gathered.freeze()));
        };
        gathered.extend_from_slice(&piece);
    }
    Ok(Gathered::Some(gathered.freeze()))
}

/// A response that is known to be small.
async fn small(response: Response<Body>) -> Response<Full<Bytes>> {
    let (head, body) = response.into_parts();
    let body = body.collect().await.map(Collected::to_bytes).unwrap_or_default();
    Response::from_parts(head, Full::new(body))
}

/// Sends who asked to where the answer is. The address opens it to whoever has it: nobody is to keep it.
fn sent_on(head: Parts, address: &str) -> Result<Response<Full<Bytes>>, Refusal> {
    let address = HeaderValue::from_str(address)
        .map_err(|_| (ProblemKind::Internal, "the address of the answer is none"))?;
    let mut response = Response::from_parts(head, Full::default());
    *response.status_mut() = StatusCode::SEE_OTHER;
    let headers = response.headers_mut();
    for name in [ACCEPT_RANGES, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_TYPE, ETAG] {
        headers.remove(name);
    }
    headers.insert(LOCATION, address);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

fn text(head: &Parts, name: &HeaderName) -> Option<String> {
    Some(head.headers.get(name)?.to_str().ok()?.to_owned())
}

/// How many bytes a body has once it is in a JSON document: a text as a string, the rest in Base64.
fn sent(head: &Parts, body: &[u8]) -> usize {
    let form = head.headers.get(CONTENT_TYPE).and_then(|form| form.to_str().ok());
    let text = form.is_none_or(|form| form.starts_with("text/") || form.contains("json"));
    if text { spelled(body) } else { body.len().div_ceil(3) * 4 }
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
