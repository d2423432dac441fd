//! A shim's WebSocket, passed on to the control plane and back.
//!
//! What holds here: one message is held in each direction, and a side that does not read makes the
//! other wait, and is cut off when it goes on. When one side ends, the other is told with what code.
//! A shim is let in once the control plane has let it in.
//!
//! Deliberately absent: any knowledge of what the messages say, and of who sends them.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header;
use axum::response::Response;
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt as _, StreamExt as _};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::server::create_response_with_body;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role};
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use crate::control::{self, Control, Line};
use crate::problem::{Kind, Problem};
use crate::service::Place;

/// How long a side may take to read one message.
const STUCK: Duration = Duration::from_secs(20);
/// How long a shim may be silent: it asks every five seconds whether egress is there.
const SILENCE: Duration = Duration::from_mins(1);
/// How long the two sides may take to hear that it is over.
const FAREWELL: Duration = Duration::from_secs(2);

type Shim = WebSocketStream<TokioIo<Upgraded>>;

/// What all relays share.
#[derive(Clone, Debug)]
pub(crate) struct Relay {
    pub(crate) control: Arc<Control>,
    pub(crate) stop: CancellationToken,
    pub(crate) open: TaskTracker,
}

/// `GET /v1/shim`.
pub(crate) async fn connect(
    State(relay): State<Relay>,
    mut request: Request,
) -> Result<Response, Problem> {
    let upgrade = request.extensions_mut().remove::<OnUpgrade>();
    let (Some(upgrade), Ok(answer)) = (upgrade, create_response_with_body(&request, Body::empty))
    else {
        let why = "This is for the WebSocket of a shim and nothing else.";
        return Err(Problem::new(Kind::EgressDenied, why));
    };
    let authorization = request.headers_mut().remove(header::AUTHORIZATION).ok_or_else(|| {
        Problem::new(Kind::Unauthenticated, "A shim says who it is with its first request.")
    })?;
    let line = relay.control.connect(authorization).await?;
    let place = request.extensions().get::<Arc<Place>>().cloned();
    let passing = async move {
        // Who is gone before the answer was there comes again.
        if let Ok(upgraded) = upgrade.await {
            let io = TokioIo::new(upgraded);
            let config = Some(control::limits());
            let shim = WebSocketStream::from_raw_socket(io, Role::Server, config).await;
            pass_on(shim, line, relay.stop).await;
        }
        drop(place);
    };
    relay.open.spawn(passing.in_current_span());
    Ok(answer)
}

async fn pass_on(shim: Shim, line: Line, stop: CancellationToken) {
    let (mut to_shim, from_shim) = shim.split();
    let (mut to_control, from_control) = line.split();
    let (code, why) = tokio::select! {
        end = up(from_shim, &mut to_control) => end,
        end = down(from_control, &mut to_shim) => end,
        () = stop.cancelled() => (CloseCode::Away, "egress is stopping"),
    };
    tracing::info!(code = u16::from(code), why, "a shim's connection ended");
    let bye = Message::Close(Some(CloseFrame { code, reason: Utf8Bytes::from_static(why) }));
    let farewell = async {
        // Either may be gone already.
        drop(to_shim.send(bye.clone()).await);
        drop(to_control.send(bye).await);
    };
    timeout(FAREWELL, farewell).await.unwrap_or_default();
}

type End = (CloseCode, &'static str);

async fn up(mut shim: SplitStream<Shim>, control: &mut SplitSink<Line, Message>) -> End {
    loop {
        let text = match timeout(SILENCE, shim.next()).await {
            Ok(Some(Ok(Message::Text(text)))) => text,
            Ok(Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)))) => continue,
            Ok(Some(Ok(Message::Close(frame)))) => return (sayable(frame), "the shim closed"),
            Ok(Some(Ok(Message::Binary(_)))) => {
                return (CloseCode::Unsupported, "messages are text");
            }
            Ok(Some(Err(Error::Capacity(_)))) => return (CloseCode::Size, "a message is too long"),
            Ok(Some(Err(_)) | None) => return (CloseCode::Away, "the shim is gone"),
            Err(_) => return (CloseCode::Away, "the shim is silent"),
        };
        match timeout(STUCK, control::send(control, &text)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return (CloseCode::Away, "the control plane is gone"),
            Err(_) => return (CloseCode::Away, "the control plane does not read"),
        }
    }
}

async fn down(mut control: SplitStream<Line>, shim: &mut SplitSink<Shim, Message>) -> End {
    loop {
        let text = match control.next().await {
            Some(Ok(Message::Text(text))) => text,
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => continue,
            Some(Ok(Message::Close(frame))) => return (sayable(frame), "the control plane closed"),
            Some(Ok(Message::Binary(_))) => return (CloseCode::Unsupported, "messages are text"),
            Some(Err(_)) | None => return (CloseCode::Away, "the control plane is gone"),
        };
        match timeout(STUCK, shim.send(Message::Text(text))).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return (CloseCode::Away, "the shim is gone"),
            Err(_) => return (CloseCode::Away, "the shim does not read"),
        }
    }
}

/// The code to pass on. Some say what happened and may not be sent.
fn sayable(frame: Option<CloseFrame>) -> CloseCode {
    match frame.map(|frame| frame.code) {
        None => CloseCode::Normal,
        Some(code) if code.is_allowed() => code,
        Some(_) => CloseCode::Away,
    }
}
