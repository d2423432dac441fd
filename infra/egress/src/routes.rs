//! The routes, and that there are no others.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use serde::Deserialize;
use wire::shim::FORWARD;

use crate::config::{Config, Endpoint, GOOGLE};
use crate::forward::{BuildError, Upstream, client};
use crate::models::{self, Endpoints, Server};
use crate::outside::Outside;
use crate::problem::{Kind, Problem};
use crate::scripted;

/// The most bytes the body of a request may have.
pub const MAX_REQUEST: usize = 10 << 20;

/// How long the body of a request may take to arrive.
const ARRIVAL: Duration = Duration::from_mins(1);

/// The endpoints that `config` describes. The router answers every request, with a denial where it
/// is none of theirs, and knows nobody: who may reach it is decided by who is given the socket.
pub fn router(config: Config) -> Result<Router, BuildError> {
    let outside = Arc::new(Outside::new(client()?, &config.http_agents)?);
    let forward = move |request: Request| {
        let outside = Arc::clone(&outside);
        async move {
            let target = outside.target(request.headers())?;
            outside.forward(target, read(request.into_body()).await?).await
        }
    };
    let models = Router::new()
        .route(FORWARD, post(forward))
        .route("/v1/models", get(models::list))
        .route("/v1/models/{*id}", get(models::get));
    let google =
        async |State(endpoints): State<Arc<Endpoints>>,
               Path(call): Path<String>,
               request: Request| { generate(&endpoints, &call, request).await };
    let models = models.route(GOOGLE, post(google));
    let all = Endpoint::WITH_PATHS.into_iter().fold(models, |router, endpoint| {
        let answer = async move |State(endpoints): State<Arc<Endpoints>>, request: Request| {
            complete(&endpoints, endpoint, request).await
        };
        router.route(endpoint.path(), post(answer))
    });
    Ok(all
        .fallback(denied)
        .method_not_allowed_fallback(denied)
        .layer(middleware::from_fn(here_only))
        .with_state(Arc::new(endpoints(config)?)))
}

fn endpoints(config: Config) -> Result<Endpoints, BuildError> {
    if config.providers.is_empty() {
        return Ok(if config.scripted { Endpoints::Scripted } else { Endpoints::Nobody });
    }
    let client = client()?;
    let mut all: Vec<Upstream> = Vec::new();
    for provider in config.providers {
        if all.iter().any(|other| other.api == provider.api) {
            return Err(BuildError::TwoProviders(provider.api.owner()));
        }
        all.push(Upstream::new(client.clone(), provider)?);
    }
    Ok(Endpoints::Providers(all))
}

async fn complete(
    endpoints: &Endpoints,
    endpoint: Endpoint,
    request: Request,
) -> Result<Response, Problem> {
    #[derive(Deserialize)]
    struct Asked {
        model: String,
    }
    let (parts, body) = request.into_parts();
    let body = read(body).await?;
    let Asked { model } = serde_json::from_slice(&body)
        .map_err(|_| Problem::new(Kind::InvalidBody, "The body is not JSON that names a model."))?;
    serve(endpoints, (endpoint, &model), &parts.headers, body).await
}

/// What is asked of a model that the path names. A stream is one of server-sent events, as client
/// libraries have it.
async fn generate(
    endpoints: &Endpoints,
    call: &str,
    request: Request,
) -> Result<Response, Problem> {
    let events =
        request.uri().query().is_some_and(|query| query.split('&').any(|q| q == "alt=sse"));
    let Some((model, endpoint)) = Endpoint::called(call)
        .filter(|(_, endpoint)| *endpoint != Endpoint::StreamGenerate || events)
    else {
        return Err(denied(request).await);
    };
    let (parts, body) = request.into_parts();
    let body = read(body).await?;
    serve(endpoints, (endpoint, model), &parts.headers, body).await
}

async fn serve(
    endpoints: &Endpoints,
    (endpoint, model): (Endpoint, &str),
    headers: &HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let server = endpoints.server(model)?;
    match server {
        Server::Provider(upstream) if upstream.api == endpoint.api() => {
            upstream.forward((endpoint, model), headers, body).await
        }
        Server::Scripted if endpoint == Endpoint::Messages => scripted::answer(&body),
        Server::Provider(_) | Server::Scripted => Err(models::unavailable(format!(
            "The model is one of {}: it is not served at {}.",
            server.api().owner(),
            endpoint.path()
        ))),
    }
}

async fn read(body: axum::body::Body) -> Result<Bytes, Problem> {
    let whole = tokio::time::timeout(ARRIVAL, axum::body::to_bytes(body, MAX_REQUEST));
    let late = |_| Problem::new(Kind::InvalidBody, "The body did not arrive in time.");
    whole.await.map_err(late)?.map_err(|error| {
        let too_large = std::error::Error::source(&error)
            .is_some_and(<dyn std::error::Error>::is::<http_body_util::LengthLimitError>);
        if too_large {
            let detail = format!("The body has more than {MAX_REQUEST} bytes.");
            Problem::new(Kind::BodyTooLarge, detail)
        } else {
            Problem::new(Kind::InvalidBody, "The body did not arrive.")
        }
    })
}

/// A request that names its host in its target takes this for a proxy, which it is not.
pub(crate) async fn here_only(request: Request, next: Next) -> Response {
    if request.uri().authority().is_some() {
        return denied(request).await.into_response();
    }
    next.run(request).await
}

pub(crate) async fn denied(request: Request) -> Problem {
    const LONGEST: usize = 200;
    let uri = request.uri();
    let host = uri
        .authority()
        .map(axum::http::uri::Authority::as_str)
        .or_else(|| request.headers().get(header::HOST).and_then(|host| host.to_str().ok()));
    let host = host.map(|host| host.rsplit('@').next().unwrap_or(host)).unwrap_or_default();
    let target: String = [host, uri.path()].concat().chars().take(LONGEST).collect();
    tracing::info!(event = "egress_denied", method = %request.method(), target, "denied");
    let detail = format!("{} {target} is not among what containers may reach.", request.method());
    Problem::new(Kind::EgressDenied, detail)
}
