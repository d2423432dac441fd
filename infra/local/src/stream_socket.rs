//! The client's end of streams: a WebSocket that a ticket opens, and the table's changes on their way
//! to it.
//!
//! What holds here: nobody who commits waits for a client. What changes is handed over without a wait,
//! and only while a client is connected; where more comes than is taken, every client is sent away and
//! comes back with its cursors. A client that does not read is sent away alone.
//!
//! The `Origin` of a connection says nothing: who opens one holds a ticket, and no page gets one
//! without the key.

use std::sync::Arc;
use std::time::Duration;

use app::App;
use app::ports::{Clock, Ids, Push};
use app::stream::{Change, Delivery, LIFE};
use axum::Router;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::extract::{Query, State};
use axum::response::Response;
use axum::routing::get;
use embedded::push::{LocalPush, Peer};
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt, StreamExt};
use store::{Commit, Write};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Where streams are opened.
pub(crate) const PATH: &str = "/v1/stream";

/// Frames that may wait for a client before it counts as gone.
const WAITING: usize = 128;

/// How long a client may take over one frame.
const STALLED: Duration = Duration::from_secs(20);

/// Changes that may wait to be published before every client is sent away.
const CHANGES: usize = 4096;

/// The most changes that are published together.
const TOGETHER: usize = 64;

/// The most bytes of a message from a client. What is longer than a frame may be and shorter than this
/// is answered; what is longer ends the connection.
const MAX_MESSAGE: usize = 32 * 1024;

/// What changed, as it was stored.
struct Changed {
    pk: String,
    sk: String,
    body: String,
}

/// Hears every commit.
pub(crate) struct Ear {
    push: Arc<LocalPush>,
    heard: mpsc::Sender<Changed>,
}

/// What was heard, on its way to clients.
pub(crate) struct Changes {
    push: Arc<LocalPush>,
    heard: mpsc::Receiver<Changed>,
}

/// Both ends of the way from the table to clients.
pub(crate) fn changes(push: Arc<LocalPush>) -> (Ear, Changes) {
    let (hear, heard) = mpsc::channel(CHANGES);
    (Ear { push: Arc::clone(&push), heard: hear }, Changes { push, heard })
}

impl Ear {
    /// Hands on what matters to clients, while there are any. Runs on the table's writer: never waits.
    /// Who connects after this looked subscribes in a later commit, and so reads it as the past.
    pub(crate) fn observe(&self, commit: &Commit) {
        if self.push.deserted() {
            return;
        }
        for write in &commit.writes {
            if let Write::Put { key, body, .. } = write
                && Change::matters(&key.pk)
            {
                let (pk, sk, body) = (key.pk.clone(), key.sk.clone(), body.clone());
                if self.heard.try_send(Changed { pk, sk, body }).is_err() {
                    tracing::warn!("more changes than can be published: clients are sent away");
                    self.push.unregister_clients();
                }
            }
        }
    }
}

impl Changes {
    /// Publishes what is heard until `stop`.
    pub(crate) async fn publish(mut self, app: App, stop: CancellationToken) {
        let mut heard = Vec::with_capacity(TOGETHER);
        loop {
            let some = tokio::select! {
                some = self.heard.recv_many(&mut heard, TOGETHER) => some,
                () = stop.cancelled() => 0,
            };
            if some == 0 {
                return;
            }
            let changes = heard
                .drain(..)
                .filter_map(|Changed { pk, sk, body }| Change::read(&pk, &sk, &body))
                .collect::<Result<Vec<_>, _>>();
            let published = match changes {
                Ok(changes) => app.stream().publish(changes, Delivery::Once).await,
                Err(error) => Err(app::Error::Unavailable(Box::new(error))),
            };
            if let Err(error) = published {
                tracing::error!(%error, "clients are sent away");
                self.push.unregister_clients();
            }
        }
    }
}

/// What holds connections of clients.
#[derive(Clone, Debug)]
pub(crate) struct Streams {
    pub(crate) push: Arc<LocalPush>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ids: Arc<dyn Ids>,
    pub(crate) stop: CancellationToken,
}

/// The endpoint.
pub(crate) fn routes(app: App, streams: Streams) -> Router {
    Router::new().route(PATH, get(connect)).with_state((app, streams))
}

#[derive(serde::Deserialize)]
struct Presented {
    ticket: Option<String>,
}

async fn connect(
    State((app, streams)): State<(App, Streams)>,
    Query(Presented { ticket }): Query<Presented>,
    upgrade: WebSocketUpgrade,
) -> Response {
    let connection = streams.ids.ulid(streams.clock.now()).to_string();
    match sockets::client::connect(&app, &connection, ticket.as_deref()).await {
        Ok(()) => upgrade
            .max_message_size(MAX_MESSAGE)
            .max_frame_size(MAX_MESSAGE)
            .on_upgrade(move |socket| hold(app, streams, connection, socket)),
        Err(error) => api::problem_response(&error.into()),
    }
}

/// Holds one connection until either side ends it, or its time is over.
async fn hold(app: App, streams: Streams, connection: String, socket: WebSocket) {
    let (frames, waiting) = mpsc::channel(WAITING);
    streams.push.register(connection.clone(), Peer::Client, frames);
    let (mut to, from) = socket.split();
    let code = tokio::select! {
        () = write(&mut to, waiting) => close_code::AGAIN,
        code = read(&app, &connection, from) => code,
        () = streams.clock.wait(LIFE) => close_code::AGAIN,
        () = streams.stop.cancelled() => close_code::AWAY,
    };
    streams.push.unregister(&connection);
    if let Err(error) = sockets::client::disconnect(&app, &connection).await {
        // Its rows go by themselves.
        tracing::warn!(%error, "a connection is not forgotten yet");
    }
    let bye = CloseFrame { code, reason: "".into() };
    // The other side may be gone already.
    drop(to.send(Message::Close(Some(bye))).await);
}

/// Sends what waits, until nothing more will, or the client is gone or does not read.
async fn write(to: &mut SplitSink<WebSocket, Message>, mut waiting: mpsc::Receiver<String>) {
    while let Some(frame) = waiting.recv().await {
        let sent = timeout(STALLED, to.send(Message::Text(frame.into()))).await;
        if !matches!(sent, Ok(Ok(()))) {
            return;
        }
    }
}

/// Does what the client says, one thing after the other; why it ended.
async fn read(app: &App, connection: &str, mut from: SplitStream<WebSocket>) -> u16 {
    while let Some(Ok(message)) = from.next().await {
        match message {
            Message::Text(text) => {
                if let Err(error) = sockets::client::frame(app, connection, &text).await {
                    tracing::warn!(%error, "a client is sent away");
                    return close_code::AGAIN;
                }
            }
            Message::Ping(_) | Message::Pong(_) => {}
            Message::Binary(_) => return close_code::UNSUPPORTED,
            Message::Close(_) => return close_code::NORMAL,
        }
    }
    close_code::NORMAL
}
