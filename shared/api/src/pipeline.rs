//! What every request goes through: an id, authentication, authorisation, a bounded body, the first
//! answer again where there is one; then the handler; then problems written down and figures kept.

use std::fmt::Debug;
use std::future::Future;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{ALLOW, AUTHORIZATION, CONTENT_RANGE};
use axum::http::{HeaderMap, HeaderValue, Method};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http_body_util::BodyExt;
use sha2::{Digest, Sha256};
use wire::{Problem, ProblemKind};

use crate::output::json_bytes;
use crate::upload::{self, Unreceived};
use crate::{Access, Caller, Failure, Route, Upload, problem_response};

/// The most bytes a body may have.
pub(crate) const MAX_BODY: usize = 1024 * 1024;

/// What the routes ask of the system behind them.
pub trait Service: Clone + Send + Sync + 'static {
    /// Who calls, once known.
    type Caller: Clone + Debug + Send + Sync + 'static;

    /// What a route may be allowed to touch.
    type Grant: Copy + Debug + Send + Sync + 'static;

    /// The same service, refusing whatever `grants` does not name.
    #[must_use]
    fn narrow(&self, grants: &'static [Self::Grant]) -> Self;

    /// A fresh id for a request.
    fn request_id(&self) -> String;

    /// Finds out who presents `bearer` and whether they may do what `access` names.
    fn admit(
        &self,
        bearer: Option<&str>,
        access: Access,
        request: &str,
    ) -> impl Future<Output = Result<Self::Caller, Problem>> + Send;

    /// The body of the first answer to this request, if it was answered before.
    fn replay(
        &self,
        caller: &Self::Caller,
        idempotency: &Idempotency,
    ) -> impl Future<Output = Result<Option<Vec<u8>>, Problem>> + Send;

    /// The caller, whose next commit keeps its answer for [`Service::replay`].
    fn remember(&self, caller: Self::Caller, idempotency: Idempotency) -> Self::Caller;
}

/// What makes two requests the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idempotency {
    /// The `Idempotency-Key` header: 1 to 128 visible ASCII characters.
    pub key: String,
    /// SHA-256 of method, path, query and body, in hexadecimal.
    pub fingerprint: String,
}

struct Entry<S: Service> {
    route: Route<S>,
    service: S,
    /// Where the durations of answers with the route's own status are kept: looked up once.
    durations: OnceLock<metrics::Histogram>,
}

impl<S: Service> Entry<S> {
    fn durations(&self, status: u16) -> metrics::Histogram {
        let find = || {
            metrics::histogram!(
                "http_server_request_duration_seconds",
                "http_route" => self.route.id, "http_response_status_code" => status.to_string()
            )
        };
        if status == self.route.status() {
            self.durations.get_or_init(find).clone()
        } else {
            find()
        }
    }
}

/// Mounts routes on one router: all of them on one machine, exactly one of them in a Lambda.
/// Paths are matched in their [`canonical`](crate::canonical) spelling.
pub fn router<S: Service>(routes: &[Route<S>], service: &S) -> Router {
    let mounted = routes.iter().fold(Router::new(), |mounted, route| {
        // The pipeline authenticates with the whole service; the handler gets what it declared.
        let entry =
            Arc::new(Entry { route: *route, service: service.clone(), durations: OnceLock::new() });
        let handler = (route.handler.mount)(route.verb.filter())
            .with_state(service.narrow(route.grants))
            .route_layer(from_fn_with_state(entry, serve::<S>));
        mounted.route(route.path, handler)
    });
    refusing(mounted, service)
}

/// Answers whatever `mounted` does not take with a problem: another path with `no_such_route`, another
/// method with `method_not_allowed`, which lists those that the path takes.
pub fn refusing<S: Service>(mounted: Router, service: &S) -> Router {
    let lost = service.clone();
    let mistaken = service.clone();
    mounted
        .fallback(move || {
            let id = lost.request_id();
            async move { refuse(ProblemKind::NoSuchRoute, "no route has this path", &id) }
        })
        .method_not_allowed_fallback(move |method: Method| {
            let id = mistaken.request_id();
            async move {
                let detail = format!("the path does not take {method}");
                refuse(ProblemKind::MethodNotAllowed, &detail, &id)
            }
        })
}

fn refuse(kind: ProblemKind, detail: &str, id: &str) -> Response {
    finish(Failure(Problem::new(kind, detail)).into_response(), id)
}

async fn serve<S: Service>(
    State(entry): State<Arc<Entry<S>>>,
    request: Request,
    next: Next,
) -> Response {
    let started = Instant::now();
    let id = entry.service.request_id();
    let response = match prepare(&entry, request, &id).await {
        Ok(Prepared::Go(request, None)) => next.run(request).await,
        Ok(Prepared::Go(request, Some((caller, idempotency)))) => {
            let response = next.run(request).await;
            // Whoever lost to the same request, sent at the same moment, may see nothing but what that
            // one did: the thing is gone, or full, or stopped.
            if response.extensions().get::<Failure>().is_some() {
                match entry.service.replay(&caller, &idempotency).await {
                    Ok(Some(body)) => answer_again(&entry.route, body),
                    Ok(None) => response,
                    Err(problem) => Failure(problem).into_response(),
                }
            } else {
                response
            }
        }
        Ok(Prepared::Answer(response)) => response,
        Err(failure) => failure.into_response(),
    };
    let response = finish(response, &id);
    entry.durations(response.status().as_u16()).record(started.elapsed().as_secs_f64());
    response
}

enum Prepared<C> {
    Go(Request, Option<(C, Idempotency)>),
    Answer(Response),
}

async fn prepare<S: Service>(
    entry: &Entry<S>,
    request: Request,
    id: &str,
) -> Result<Prepared<S::Caller>, Failure> {
    let (mut parts, body) = request.into_parts();
    let caller = match entry.route.access {
        Access::Public => None,
        access @ (Access::Key | Access::Scope(_)) => {
            Some(entry.service.admit(bearer(&parts.headers), access, id).await?)
        }
    };
    if !entry.route.verb.mutates() {
        if let Some(caller) = caller {
            parts.extensions.insert(Caller(caller));
        }
        return Ok(Prepared::Go(Request::from_parts(parts, Body::empty()), None));
    }
    let mut hash = Sha256::new();
    hash.update(parts.method.as_str());
    hash.update([0]);
    hash.update(parts.uri.path());
    hash.update([0]);
    if let Some(query) = parts.uri.query() {
        hash.update(query);
        hash.update([0]);
    }
    let body = receive(entry, body, &mut hash).await?;
    let mut kept = None;
    if let Some(mut caller) = caller {
        if let Some(key) = idempotency_key(&parts.headers)? {
            let fingerprint = hex::encode(hash.finalize());
            let idempotency = Idempotency { key, fingerprint };
            if let Some(body) = entry.service.replay(&caller, &idempotency).await? {
                return Ok(Prepared::Answer(answer_again(&entry.route, body)));
            }
            kept = Some((caller.clone(), idempotency.clone()));
            caller = entry.service.remember(caller, idempotency);
        }
        parts.extensions.insert(Caller(caller));
    }
    let request = match body {
        Received::Document(body) => Request::from_parts(parts, Body::from(body)),
        Received::Bytes(upload) => upload::with(parts, upload),
    };
    Ok(Prepared::Go(request, kept))
}

/// A body that is here.
enum Received {
    Document(Bytes),
    Bytes(Upload),
}

/// Receives a body, whole and no longer than it may be, and tells `hash` of it.
async fn receive<S: Service>(
    entry: &Entry<S>,
    mut body: Body,
    hash: &mut Sha256,
) -> Result<Received, Failure> {
    let most = entry.route.upload.unwrap_or(MAX_BODY as u64);
    let problem = match upload::receive(&mut body, most, hash).await {
        Ok(received) if entry.route.upload.is_some() => return Ok(Received::Bytes(received)),
        Ok(Upload::Memory(bytes)) => return Ok(Received::Document(bytes)),
        Ok(Upload::Spooled(..)) => Problem::new(ProblemKind::Internal, "a document in a file"),
        Err(Unreceived::TooLarge) => {
            drain(body).await;
            let detail = format!("a body may have at most {most} bytes");
            Problem::new(ProblemKind::BodyTooLarge, detail)
        }
        Err(Unreceived::CutOff) => {
            Problem::new(ProblemKind::InvalidBody, "the body ended before it was complete")
        }
        Err(Unreceived::NoPlace(error)) => {
            tracing::error!(%error, "there is no place for a body");
            Problem::new(ProblemKind::Unavailable, "there is no place for the body; try again")
        }
    };
    Err(Failure(problem))
}

/// Reads what a caller still sends, up to some: most read the answer only after they have sent all.
async fn drain(mut body: Body) {
    let mut left = 16 * MAX_BODY;
    while let Some(Ok(frame)) = body.frame().await {
        let bytes = frame.data_ref().map_or(0, Bytes::len);
        match left.checked_sub(bytes) {
            Some(less) => left = less,
            None => return,
        }
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Failure> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    let key = value.to_str().unwrap_or_default();
    if (1..=128).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_graphic()) {
        return Ok(Some(key.to_owned()));
    }
    Err(Failure(
        Problem::new(ProblemKind::InvalidIdempotencyKey, "the idempotency key is malformed")
            .at("Idempotency-Key", "must be 1 to 128 visible ASCII characters"),
    ))
}

fn answer_again<S: Service>(route: &Route<S>, body: Vec<u8>) -> Response {
    let mut response = if route.status() == 204 {
        axum::http::StatusCode::NO_CONTENT.into_response()
    } else {
        json_bytes(route.status(), body)
    };
    response.headers_mut().insert("idempotent-replayed", HeaderValue::from_static("true"));
    response
}

fn finish(mut response: Response, id: &str) -> Response {
    if let Some(Failure(mut problem)) = response.extensions_mut().remove::<Failure>() {
        problem.instance = Some(id.to_owned());
        if problem.code.is_failure() {
            tracing::error!(request.id = id, code = problem.code.code(), "{}", problem.detail);
        }
        let said = [ALLOW, CONTENT_RANGE]
            .map(|name| response.headers_mut().remove(&name).map(|v| (name, v)));
        response = problem_response(&problem);
        response.headers_mut().extend(said.into_iter().flatten());
    }
    if let Ok(id) = HeaderValue::from_str(id) {
        response.headers_mut().insert("x-request-id", id);
    }
    response
}
