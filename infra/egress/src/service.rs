//! Egress as a service of its own: many containers on one TCP address.
//!
//! What holds here: connections are counted, for each peer and in all, and one too many is closed
//! unread. A request's head has a time and a size. Nothing is written to any file. Once told to
//! stop it accepts nobody, tells every shim to go elsewhere, and lets answers come to their end for
//! a while.
//!
//! Deliberately absent: knowing who a peer is. Its network decides who may come here.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, Request};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use crate::control::Control;
use crate::relay::{self, Relay};
use crate::routes::denied;
use crate::{BuildError, Config, routes, socket};

/// How long the head of a request may take to arrive, also of the next one on a connection.
const HEAD: Duration = Duration::from_secs(30);
/// The most bytes of it.
const HEAD_BYTES: usize = 64 * 1024;
/// How long answers may take to come to their end once the service is to stop.
const STOPPING: Duration = Duration::from_secs(10);
/// Between two tries to accept, while the process has too many files open.
const CROWDED: Duration = Duration::from_millis(100);

/// How many connections there may be at once.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// From one address: one container, unless something between hides them.
    pub per_peer: usize,
    /// In all.
    pub total: usize,
}

/// What the service offers.
#[derive(Clone, Debug)]
pub struct Service {
    router: Router,
    relay: Relay,
    limits: Limits,
}

impl Service {
    /// The model endpoints of `config` and the way to `control`.
    pub fn new(config: Config, control: Control, limits: Limits) -> Result<Self, BuildError> {
        let relay = Relay {
            control: Arc::new(control),
            stop: CancellationToken::new(),
            open: TaskTracker::new(),
        };
        let shims = Router::new()
            .route("/v1/shim", get(relay::connect))
            .with_state(relay.clone())
            .route("/healthz", get(async || "ok"))
            .method_not_allowed_fallback(denied)
            .layer(middleware::from_fn(healthz_is_for_us))
            .layer(middleware::from_fn(routes::here_only));
        let router = routes::router(config)?.merge(shims);
        Ok(Self { router, relay, limits })
    }
}

/// To containers there is no such path.
async fn healthz_is_for_us(request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
    let own = peer.is_some_and(|ConnectInfo(peer)| peer.ip().to_canonical().is_loopback());
    if request.uri().path() == "/healthz" && !own {
        return denied(request).await.into_response();
    }
    next.run(request).await
}

/// Serves on `listener` until `stop` and for as long afterwards as it takes to part well.
pub async fn serve(listener: TcpListener, service: Service, stop: CancellationToken) {
    let present = Arc::new(Present::default());
    let open = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                // One that was gone before it came is no reason to wait; the others pass with time.
                if error.kind() != io::ErrorKind::ConnectionAborted {
                    tokio::select! {
                        () = pass(CROWDED) => {}
                        () = stop.cancelled() => break,
                    }
                }
                continue;
            }
        };
        let Some(place) = present.enter(peer.ip().to_canonical(), service.limits) else {
            tracing::info!(event = "egress_crowded", %peer, "one connection too many");
            continue;
        };
        let span = tracing::info_span!("connection", %peer);
        let (router, ending) = (service.router.clone(), stop.clone());
        let router = router.layer(axum::Extension(ConnectInfo(peer)));
        // Whoever has a request of this connection may keep its place: a relay outlives the request.
        let router = router.layer(axum::Extension(Arc::new(place)));
        open.spawn(hold(stream, router, ending).instrument(span));
    }
    drop(listener);
    service.relay.stop.cancel();
    open.close();
    service.relay.open.close();
    let parted = async {
        open.wait().await;
        service.relay.open.wait().await;
    };
    if timeout(STOPPING, parted).await.is_err() {
        tracing::warn!(open = open.len(), "connections were cut off");
    }
}

#[expect(clippy::disallowed_methods, reason = "a pause, in which what is short may be freed")]
async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}

async fn hold(stream: TcpStream, router: Router, stop: CancellationToken) {
    if let Err(error) = socket::tend(&stream) {
        tracing::debug!(%error, "gone before it was served");
        return;
    }
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let served = tokio::select! {
        served = &mut connection => served,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = served {
        tracing::debug!(%error, "a connection broke");
    }
}

/// Who is connected, how often.
#[derive(Debug, Default)]
struct Present(Mutex<BTreeMap<IpAddr, usize>>);

/// A connection's place, free again when it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    present: Arc<Present>,
    peer: IpAddr,
}

impl Present {
    fn enter(self: &Arc<Self>, peer: IpAddr, limits: Limits) -> Option<Place> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let own = all.get(&peer).copied().unwrap_or_default();
        if own >= limits.per_peer || all.values().sum::<usize>() >= limits.total {
            return None;
        }
        all.insert(peer, own + 1);
        Some(Place { present: Arc::clone(self), peer })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut all = self.present.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = all.get_mut(&self.peer) {
            *own -= 1;
            if *own == 0 {
                all.remove(&self.peer);
            }
        }
    }
}

/// Asks the service that listens on `port` of this machine whether it is well.
pub async fn check(port: u16) -> bool {
    const PATIENCE: Duration = Duration::from_secs(4);
    let ask = async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
        let request = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        stream.write_all(request).await?;
        let mut answer = Vec::new();
        stream.take(1024).read_to_end(&mut answer).await?;
        io::Result::Ok(answer)
    };
    let well = format!("HTTP/1.1 {}", StatusCode::OK);
    matches!(timeout(PATIENCE, ask).await, Ok(Ok(answer)) if answer.starts_with(well.as_bytes()))
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use tower::ServiceExt as _;

    use super::*;

    #[tokio::test]
    async fn containers_do_not_see_the_health_check() {
        let limits = Limits { per_peer: 1, total: 1 };
        let control = Control::new("ws://127.0.0.1:1").unwrap();
        let service = Service::new(Config::default(), control, limits).unwrap();
        for (peer, status) in [
            ("127.0.0.1", 200),
            ("::1", 200),
            ("::ffff:127.0.0.1", 200),
            ("10.0.0.7", 403),
            ("fd00::7", 403),
        ] {
            let mut request = Request::get("/healthz").body(Body::empty()).unwrap();
            let peer = SocketAddr::new(peer.parse().unwrap(), 1);
            request.extensions_mut().insert(ConnectInfo(peer));
            let answer = service.router.clone().oneshot(request).await.unwrap();
            assert_eq!(answer.status(), status, "{peer}");
        }
    }
}
