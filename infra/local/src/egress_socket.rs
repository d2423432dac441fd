//! The container's end of the world: one Unix socket each, on which its shim finds the control plane
//! and its agents find their models.
//!
//! Who speaks on a socket is known by the socket: a shim's token counts only on its own container's.

use std::collections::BTreeMap;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use app::App;
use app::shim::ShimCaller;
use axum::Router;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::extract::{Extension, State};
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use domain::ContainerId;
use embedded::push::{LocalPush, Peer};
use embedded::sandbox::Place;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use sockets::shim::Answer;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use wire::shim::{Down, MAX_FRAME, Up};

/// What the sandbox tells about its sockets.
#[derive(Debug)]
pub(crate) enum Socket {
    /// A container is about to start, or was found running.
    Open(Place, UnixListener),
    /// Nothing of it is left.
    Closed(Place),
}

/// Frames that may wait for a shim before it counts as gone.
const WAITING: usize = 256;

/// Questions of a shim that are looked into at once: more than one asks. Whoever does is not heard until
/// one is answered.
const ASKED: usize = 16;

#[derive(Clone)]
struct Line {
    app: App,
    push: Arc<LocalPush>,
    connections: Arc<AtomicU64>,
}

/// Serves the sockets that are told of, until the channel or `stop` ends it.
pub(crate) async fn serve(
    app: App,
    push: Arc<LocalPush>,
    egress: Router,
    mut told: mpsc::UnboundedReceiver<Socket>,
    stop: CancellationToken,
) {
    let line = Line { app, push, connections: Arc::default() };
    let router = Router::new().route("/v1/shim", get(connect)).with_state(line).merge(egress);
    let mut open = BTreeMap::<ContainerId, (u32, CancellationToken)>::new();
    loop {
        let socket = tokio::select! {
            socket = told.recv() => socket,
            () = stop.cancelled() => None,
        };
        match socket {
            Some(Socket::Open(place, listener)) => {
                let Ok(listener) = tokio::net::UnixListener::from_std(listener) else { continue };
                let closed = stop.child_token();
                let router = router.clone().layer(Extension(place.container));
                #[expect(clippy::disallowed_methods, reason = "this process stays")]
                tokio::spawn({
                    let closed = closed.clone();
                    async move {
                        tokio::select! {
                            served = axum::serve(listener, router) => {
                                tracing::debug!(?served, "a container's socket closed");
                            }
                            () = closed.cancelled() => {}
                        }
                    }
                });
                if let Some((_, before)) = open.insert(place.container, (place.generation, closed))
                {
                    before.cancel();
                }
            }
            Some(Socket::Closed(place)) => {
                let present =
                    open.get(&place.container).is_some_and(|(at, _)| *at == place.generation);
                if present && let Some((_, closed)) = open.remove(&place.container) {
                    closed.cancel();
                }
            }
            None => return,
        }
    }
}

async fn connect(
    State(line): State<Line>,
    Extension(container): Extension<ContainerId>,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Response {
    let bearer = headers
        .get(AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Bearer "));
    match line.app.authenticate_shim(bearer) {
        Ok(shim) if shim.container() == container => upgrade
            .max_message_size(2 * MAX_FRAME)
            .max_frame_size(2 * MAX_FRAME)
            .on_upgrade(move |socket| hold(line, shim, socket)),
        Ok(_) | Err(_) => StatusCode::UNAUTHORIZED.into_response(),
    }
}

/// Holds one connection until either side ends it.
async fn hold(line: Line, shim: ShimCaller, mut socket: WebSocket) {
    let number = line.connections.fetch_add(1, Ordering::Relaxed);
    let connection = format!("{}.{number}", std::process::id());
    let (frames, mut waiting) = mpsc::channel(WAITING);
    line.push.register(connection.clone(), Peer::Shim, frames);
    let handle = |up| sockets::shim::handle(&line.app, shim, &connection, up);
    // What is looked at for one run must not hold up what others say.
    let mut asked = FuturesUnordered::new();
    loop {
        let answer = tokio::select! {
            pushed = waiting.recv() => {
                let Some(frame) = pushed else { break };
                if socket.send(Message::Text(frame.into())).await.is_err() {
                    break;
                }
                continue;
            }
            Some(answer) = asked.next() => answer,
            received = socket.recv(), if asked.len() < ASKED => {
                let Some(Ok(message)) = received else { break };
                let text = match message {
                    Message::Text(text) => text,
                    Message::Ping(_) | Message::Pong(_) => continue,
                    Message::Binary(_) | Message::Close(_) => break,
                };
                match sockets::shim::read(shim, &text) {
                    Some(up @ Up::Ask(_)) => {
                        asked.push(handle(up));
                        continue;
                    }
                    Some(up) => handle(up).await,
                    None => break,
                }
            }
        };
        match answer {
            Ok(Answer::Quiet) => {}
            Ok(Answer::Say(down)) => {
                if !say(&mut socket, &down).await {
                    break;
                }
            }
            Ok(Answer::Dismiss(down)) => {
                say(&mut socket, &down).await;
                break;
            }
            Err(error) => {
                tracing::warn!(%shim, %error, "a shim's connection is closed");
                break;
            }
        }
    }
    drop(asked);
    line.push.unregister(&connection);
    let bye = CloseFrame { code: axum::extract::ws::close_code::NORMAL, reason: "".into() };
    // The other side may be gone already.
    drop(socket.send(Message::Close(Some(bye))).await);
}

async fn say(socket: &mut WebSocket, down: &Down) -> bool {
    let Ok(frames) = down.frames() else { return false };
    for frame in frames {
        if socket.send(Message::Text(frame.into())).await.is_err() {
            return false;
        }
    }
    true
}
