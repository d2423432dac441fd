//! The managed WebSocket API, as far as a client can tell: its path, its refusals, its limits.

use std::net::SocketAddr;
use std::sync::Arc;

use futures::StreamExt as _;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, accept_hdr_async_with_config};

/// The largest frame and the largest message that API Gateway takes.
const FRAME: usize = 32 * 1024;
const MESSAGE: usize = 128 * 1024;

pub(crate) trait Bytes: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Bytes for T {}

/// A connection that was let in.
pub(crate) struct Caller {
    pub(crate) path: String,
    /// The headers that are not the handshake's own.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) socket: WebSocketStream<Box<dyn Bytes>>,
}

impl Caller {
    /// The next message. What is over a limit ends the connection as the managed one ends it.
    pub(crate) async fn hear(&mut self) -> Option<String> {
        loop {
            match self.socket.next().await? {
                Ok(Message::Text(text)) => return Some(text.as_str().to_owned()),
                Ok(Message::Close(_)) => return None,
                Ok(_) => {}
                Err(Error::Capacity(_)) => {
                    let frame = CloseFrame { code: CloseCode::Size, reason: "".into() };
                    drop(self.socket.close(Some(frame)).await);
                    return None;
                }
                Err(_) => return None,
            }
        }
    }
}

pub(crate) struct Gateway {
    pub(crate) address: SocketAddr,
    /// What `$connect` answers: 101, or a refusal.
    pub(crate) status: Arc<Mutex<u16>>,
    callers: mpsc::UnboundedReceiver<Caller>,
    _tasks: JoinSet<()>,
}

impl Gateway {
    pub(crate) async fn start() -> Self {
        Self::with(None).await
    }

    pub(crate) async fn with(tls: Option<ServerConfig>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let status = Arc::new(Mutex::new(101));
        let tls = tls.map(|config| TlsAcceptor::from(Arc::new(config)));
        let (arrived, callers) = mpsc::unbounded_channel();
        let mut tasks = JoinSet::new();
        let answers = Arc::clone(&status);
        tasks.spawn(async move {
            let mut handshakes = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let status = *answers.lock().await;
                handshakes.spawn(admit(stream, tls.clone(), status, arrived.clone()));
            }
        });
        Self { address, status, callers, _tasks: tasks }
    }

    pub(crate) fn url(&self) -> String {
        format!("ws://{}/v1", self.address)
    }

    pub(crate) async fn caller(&mut self) -> Caller {
        self.callers.recv().await.unwrap()
    }
}

async fn admit(
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    status: u16,
    arrived: mpsc::UnboundedSender<Caller>,
) {
    let stream: Box<dyn Bytes> = match tls {
        Some(tls) => match tls.accept(stream).await {
            Ok(stream) => Box::new(stream),
            // Who does not trust us goes away.
            Err(_) => return,
        },
        None => Box::new(stream),
    };
    let (mut path, mut headers) = (String::new(), Vec::new());
    let look = |request: &Request, response: Response| -> Result<Response, ErrorResponse> {
        path = request.uri().to_string();
        for (name, value) in request.headers() {
            let own = ["host", "connection", "upgrade"].contains(&name.as_str());
            if !own && !name.as_str().starts_with("sec-websocket") {
                headers.push((name.to_string(), value.to_str().unwrap().to_owned()));
            }
        }
        if status == 101 {
            return Ok(response);
        }
        let mut refusal = ErrorResponse::new(Some(r#"{"message":"no"}"#.to_owned()));
        *refusal.status_mut() = status.try_into().unwrap();
        Err(refusal)
    };
    let limits =
        WebSocketConfig::default().max_frame_size(Some(FRAME)).max_message_size(Some(MESSAGE));
    let accepted = accept_hdr_async_with_config(stream, look, Some(limits)).await;
    if let Ok(socket) = accepted {
        // A test that is over hears nobody.
        drop(arrived.send(Caller { path, headers, socket }));
    }
}
