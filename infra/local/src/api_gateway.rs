//! The local gateway: every route, the console, and what a machine asks a process.

use app::App;
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderValue, Request, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use embedded::uploads::FileUploads;
use gate::Gate;
use metrics_exporter_prometheus::PrometheusHandle;
use tower::util::MapRequest;

use crate::console;
use crate::stream_socket::{self, Streams};
use crate::uploads;

#[derive(Clone)]
struct Machine {
    app: App,
    metrics: PrometheusHandle,
}

/// Everything that is served on the address.
pub(crate) fn router(
    app: &App,
    streams: Streams,
    uploads: FileUploads,
    metrics: PrometheusHandle,
) -> Router {
    let machine = Machine { app: app.clone(), metrics };
    let routes = api::router(&routes::routes(), &Gate::new(app.clone()))
        .merge(console::routes())
        .merge(stream_socket::routes(app.clone(), streams))
        .merge(uploads::routes(uploads))
        .merge(
            Router::new()
                .route("/healthz", get(healthz))
                .route("/readyz", get(readyz))
                .route("/metrics", get(render))
                .with_state(machine),
        )
        .layer(axum::middleware::map_response(plain));
    // Paths are rewritten before they are matched.
    let rewritten = MapRequest::new(routes.into_service::<Body>(), |mut request: Request<Body>| {
        let uri = std::mem::take(request.uri_mut());
        *request.uri_mut() = api::canonical(uri);
        request
    });
    Router::new().fallback_service(rewritten)
}

/// No browser is to guess what a body is.
async fn plain(mut response: Response) -> Response {
    response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// The process answers.
async fn healthz() -> &'static str {
    "ok\n"
}

/// The table answers and containers can be started.
async fn readyz(State(machine): State<Machine>) -> Response {
    match machine.app.ready().await {
        Ok(()) => "ready\n".into_response(),
        Err(error) => api::problem_response(&error.into()),
    }
}

async fn render(State(machine): State<Machine>) -> Response {
    let form = (CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8");
    (StatusCode::OK, [form], machine.metrics.render()).into_response()
}
