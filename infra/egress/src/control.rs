//! The control plane's WebSocket, as egress dials it.
//!
//! What holds here: of what a shim sends with its handshake only the `Authorization` header goes on.
//! Messages leave in frames of at most [`MAX_FRAGMENT`] bytes, which is what the managed WebSocket
//! takes.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderValue, Uri, header};
use futures::{Sink, SinkExt as _};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use crate::problem::{Kind, Problem};
use crate::{BuildError, socket};

/// The most bytes one message may have, either way: the managed WebSocket's limit.
pub const MAX_MESSAGE: usize = 128 * 1024;

/// The most bytes of a message in one frame. With its header it stays below 32 KiB.
pub const MAX_FRAGMENT: usize = 32 * 1024 - 16;

/// Less than a shim waits for its handshake: it gets an answer.
const CONNECT: Duration = Duration::from_secs(8);

/// Why a URL is none of a control plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a ws:// or wss:// URL of host, port and path alone")]
pub struct NotControl;

/// Where the control plane is. It prints as its host.
#[derive(Clone)]
pub struct Control {
    uri: Uri,
    host: String,
    port: u16,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

/// One connection to it.
pub(crate) type Line = WebSocketStream<Box<dyn Stream>>;

/// A stream of bytes, with TLS or without.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl Control {
    /// The control plane whose WebSocket API has this URL, its stage included. `wss` is verified
    /// against the machine's roots.
    pub fn new(url: &str) -> Result<Self, BuildError> {
        let uri: Uri = url.parse().map_err(|_| BuildError::Control(NotControl))?;
        let secure = match uri.scheme_str() {
            Some("wss") => true,
            Some("ws") => false,
            _ => return Err(BuildError::Control(NotControl)),
        };
        let plain = |authority: &str| !authority.contains('@');
        let host = match (uri.host(), uri.authority(), uri.query()) {
            (Some(host), Some(authority), None) if plain(authority.as_str()) => host,
            _ => return Err(BuildError::Control(NotControl)),
        };
        let host = host.trim_matches(['[', ']']).to_owned();
        let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let tls = if secure {
            let name = ServerName::try_from(host.clone());
            let name = name.map_err(|_| BuildError::Control(NotControl))?;
            Some((TlsConnector::from(Arc::new(crate::forward::tls()?)), name))
        } else {
            None
        };
        Ok(Self { uri, host, port, tls })
    }

    /// Connects as whoever `authorization` says. A refusal of theirs is ours.
    pub(crate) async fn connect(&self, authorization: HeaderValue) -> Result<Line, Problem> {
        let failed = |what: &str| Problem::new(Kind::ControlUnavailable, what);
        match timeout(CONNECT, self.dial(authorization)).await {
            Ok(Ok(line)) => Ok(line),
            Ok(Err(Error::Http(answer))) => Err(match answer.status().as_u16() {
                401 | 403 => Problem::new(Kind::Unauthenticated, "The control plane refused it."),
                status => failed(&format!("The control plane answered {status}.")),
            }),
            Ok(Err(error)) => {
                tracing::warn!(control = ?self, %error, "the control plane cannot be reached");
                Err(failed("The control plane cannot be reached."))
            }
            Err(_) => {
                tracing::warn!(control = ?self, "the control plane did not answer in time");
                Err(failed("The control plane did not answer in time."))
            }
        }
    }

    async fn dial(&self, authorization: HeaderValue) -> Result<Line, Error> {
        let stream = self.reach().await?;
        socket::tend(&stream)?;
        let stream: Box<dyn Stream> = match &self.tls {
            Some((tls, name)) => Box::new(tls.connect(name.clone(), stream).await?),
            None => Box::new(stream),
        };
        let mut request = self.uri.clone().into_client_request()?;
        request.headers_mut().insert(header::AUTHORIZATION, authorization);
        let (line, _) = client_async_with_config(request, stream, Some(limits())).await?;
        Ok(line)
    }

    async fn reach(&self) -> io::Result<TcpStream> {
        // RFC 6761: these are this machine, whatever a resolver says.
        if self.host == "localhost" || self.host.ends_with(".localhost") {
            let here = [
                SocketAddr::from((Ipv4Addr::LOCALHOST, self.port)),
                SocketAddr::from((Ipv6Addr::LOCALHOST, self.port)),
            ];
            return TcpStream::connect(&here[..]).await;
        }
        TcpStream::connect((self.host.as_str(), self.port)).await
    }
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// What a WebSocket may hold, on either side.
pub(crate) fn limits() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(16 * 1024)
        .write_buffer_size(0)
        .max_write_buffer_size(2 * MAX_MESSAGE)
        .max_message_size(Some(MAX_MESSAGE))
        .max_frame_size(Some(MAX_MESSAGE))
}

/// Sends `text` as one message, in as many frames as it takes.
pub(crate) async fn send(
    line: &mut (impl Sink<Message, Error = Error> + Unpin),
    text: &str,
) -> Result<(), Error> {
    if text.len() <= MAX_FRAGMENT {
        return line.send(Message::Text(Utf8Bytes::from(text))).await;
    }
    let (mut rest, mut kind) = (text, Data::Text);
    while !rest.is_empty() {
        let (piece, behind) = rest.split_at(rest.floor_char_boundary(MAX_FRAGMENT));
        rest = behind;
        let frame = Frame::message(piece.to_owned(), OpCode::Data(kind), rest.is_empty());
        line.feed(Message::Frame(frame)).await?;
        kind = Data::Continue;
    }
    line.flush().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_of_host_port_and_path_alone() {
        for (url, shown) in [
            (
                "wss://abc.execute-api.eu-central-1.amazonaws.com/v1",
                "abc.execute-api.eu-central-1.amazonaws.com:443",
            ),
            ("ws://127.0.0.1:4566/v1", "127.0.0.1:4566"),
            ("ws://[::1]:1", "::1:1"),
        ] {
            assert_eq!(format!("{:?}", Control::new(url).unwrap()), shown);
        }
        for url in
            ["", "abc", "/v1", "https://a/v1", "wss://u:p@a/v1", "wss://a/v1?token=x", "wss://"]
        {
            assert!(Control::new(url).is_err(), "{url}");
        }
    }
}
