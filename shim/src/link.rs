//! The one connection to the control plane.
//!
//! What holds here: a connection begins with [`Up::Hello`]; a broken one is dialled again with
//! growing pauses; a refused one ends the shim, and so does being alone for too long. Reading never
//! waits for writing.
//!
//! Deliberately absent: any knowledge of what the frames are about.

use std::rc::Rc;
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::{HeaderValue, header};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};
use wire::shim::{Boot, Command, Down, Hello, PROTOCOL, Parts, Up};

use crate::egress::{self, Stream};
use crate::keep::Asks;
use crate::report::Outbox;
use crate::time::pass;

const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
const HANDSHAKE: Duration = Duration::from_secs(10);

/// How often the other end is asked whether it is there, and what was not answered is looked at
/// again. A ping goes as far as egress: it costs nothing where a frame does.
const PULSE: Duration = Duration::from_secs(5);

/// A peer that says nothing for this long, not even to a ping, is gone.
const SILENCE: Duration = Duration::from_secs(30);

/// Why there will be no further connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Over {
    /// The control plane does not want this generation.
    Refused,
    /// Nobody was there for too long.
    Orphaned,
    /// The journal cannot be written: what is not written down cannot be told.
    Mute,
}

enum Failed {
    Refused,
    Lost,
}

/// Keeps a connection until there is to be none.
pub(crate) async fn run(
    boot: &Boot,
    (outbox, asks): (&Rc<Outbox>, &Asks),
    commands: &mpsc::UnboundedSender<Vec<Command>>,
) -> Over {
    let orphan = Duration::from_secs(boot.orphan_seconds.max(1));
    let mut deadline = Instant::now() + orphan;
    let mut pause = FIRST_PAUSE;
    loop {
        match timeout_at(deadline, connect(boot)).await {
            Ok(Ok(socket)) => {
                let since = Instant::now();
                outbox.connected(true);
                asks.connected();
                let ended = converse(boot, socket, (outbox, asks), commands).await;
                outbox.connected(false);
                if matches!(ended, Failed::Refused) {
                    return Over::Refused;
                }
                deadline = Instant::now() + orphan;
                if since.elapsed() > LONGEST_PAUSE {
                    pause = FIRST_PAUSE;
                }
            }
            Ok(Err(Failed::Refused)) => return Over::Refused,
            Ok(Err(Failed::Lost)) => {}
            Err(_) => return Over::Orphaned,
        }
        if timeout_at(deadline, pass(jittered(pause))).await.is_err() {
            return Over::Orphaned;
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Between half of `pause` and all of it, so that a thousand shims do not come back at once.
fn jittered(pause: Duration) -> Duration {
    let random = getrandom::u32().unwrap_or(u32::MAX / 2);
    pause / 2 + (pause / 2).mul_f64(f64::from(random) / f64::from(u32::MAX))
}

async fn connect(boot: &Boot) -> Result<WebSocketStream<Box<dyn Stream>>, Failed> {
    let bearer = HeaderValue::from_str(&format!("Bearer {}", boot.token));
    let request = format!("ws://{}/v1/shim", egress::host(&boot.egress)).into_client_request();
    let (Ok(bearer), Ok(mut request)) = (bearer, request) else {
        return Err(Failed::Refused);
    };
    request.headers_mut().insert(header::AUTHORIZATION, bearer);
    let Ok(Ok(stream)) = timeout(HANDSHAKE, egress::connect(&boot.egress)).await else {
        return Err(Failed::Lost);
    };
    // The frames are small: the usual 128 KiB of buffers would be half of the shim's memory.
    let config = WebSocketConfig::default().read_buffer_size(8 * 1024).write_buffer_size(0);
    match timeout(HANDSHAKE, client_async_with_config(request, stream, Some(config))).await {
        Ok(Ok((socket, _))) => Ok(socket),
        Ok(Err(Error::Http(answer))) if matches!(answer.status().as_u16(), 401 | 403 | 404) => {
            Err(Failed::Refused)
        }
        Ok(Err(_)) | Err(_) => Err(Failed::Lost),
    }
}

async fn converse(
    boot: &Boot,
    socket: WebSocketStream<Box<dyn Stream>>,
    (outbox, asks): (&Rc<Outbox>, &Asks),
    commands: &mpsc::UnboundedSender<Vec<Command>>,
) -> Failed {
    let (mut sink, mut stream) = socket.split();
    let writing = async {
        let hello = Up::Hello(Hello {
            protocol: PROTOCOL,
            container: boot.container,
            generation: boot.generation,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            walls: boot.walls.around,
        });
        let (Ok(hello), Ok(heartbeat)) =
            (serde_json::to_string(&hello), serde_json::to_string(&Up::Heartbeat))
        else {
            return;
        };
        if sink.send(Message::text(hello)).await.is_err() {
            return;
        }
        let period = Duration::from_secs(boot.heartbeat_seconds.max(1));
        let mut beats = tokio::time::interval_at(Instant::now() + period, period);
        let mut pulse = tokio::time::interval_at(Instant::now() + PULSE, PULSE);
        loop {
            let sent = tokio::select! {
                _ = beats.tick() => sink.send(Message::text(heartbeat.clone())).await,
                _ = pulse.tick() => {
                    outbox.look_again();
                    asks.look_again();
                    sink.send(Message::Ping(Vec::new().into())).await
                }
                frame = outbox.next() => sink.send(Message::text(frame)).await,
                frame = asks.next() => sink.send(Message::text(frame)).await,
            };
            if sent.is_err() {
                return;
            }
        }
    };
    let reading = async {
        // All that is pending is sent on every connection: none needs what another began.
        let mut parts = Parts::default();
        while let Ok(Some(Ok(message))) = timeout(SILENCE, stream.next()).await {
            let text = match message {
                Message::Text(text) => text,
                // Waiting for the other end to close as well would be waiting for nothing.
                Message::Close(_) => break,
                Message::Binary(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {
                    continue;
                }
            };
            // A frame of a later version is no reason to fall: what it asks for is asked again.
            match serde_json::from_str::<Down>(&text) {
                Ok(Down::Commands(all)) => drop(commands.send(all)),
                Ok(Down::Part(part)) => {
                    if let Some(command) = parts.take(part) {
                        drop(commands.send(vec![command]));
                    }
                }
                Ok(Down::Ack { session, next }) => outbox.acknowledge(session, next),
                Ok(Down::Told(told)) => asks.told(told),
                Ok(Down::Refused { .. }) => return Failed::Refused,
                Err(_) => crate::boot::note("a frame that cannot be read was passed over"),
            }
        }
        Failed::Lost
    };
    tokio::select! {
        () = writing => Failed::Lost,
        why = reading => why,
    }
}
