//! A client's stream, on whatever platform: each frame is held against `events/asyncapi.yaml`.

use std::fmt;

use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::asyncapi;
use crate::http::{Client, PATIENCE};

/// An open stream.
pub struct Stream {
    socket: WebSocketStream<TcpStream>,
    /// Why the other side ended it, once it has.
    pub closed: Option<CloseCode>,
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Stream({:?})", self.closed)
    }
}

impl Client {
    /// A fresh ticket and where it is to be used.
    pub async fn ticket(&self) -> (String, String) {
        let made = self.post("/v1/stream/tickets", Value::Null).await;
        assert_eq!(made.status, 201, "{:#}", made.body);
        (made.text("/url"), made.text("/ticket"))
    }

    /// Opens a stream.
    pub async fn stream(&self) -> Stream {
        let (url, ticket) = self.ticket().await;
        Stream::open(&url, &ticket).await.expect("a fresh ticket opens a stream")
    }
}

impl Stream {
    /// Opens a stream with a ticket; the status where it is refused.
    pub async fn open(url: &str, ticket: &str) -> Result<Self, u16> {
        match Self::attempt(url, ticket).await {
            Ok(stream) => Ok(stream),
            Err(Error::Http(response)) => Err(response.status().as_u16()),
            Err(error) => panic!("{error}"),
        }
    }

    /// Opens a stream with a fresh ticket, unless nobody answers.
    pub async fn try_open(url: &str, ticket: &str) -> Option<Self> {
        match Self::attempt(url, ticket).await {
            Ok(stream) => Some(stream),
            Err(Error::Http(response)) => panic!("{response:?}"),
            Err(_) => None,
        }
    }

    async fn attempt(url: &str, ticket: &str) -> Result<Self, Error> {
        let address = url.strip_prefix("ws://").expect("a WebSocket address without TLS");
        let (host, _) = address.split_once('/').unwrap_or((address, ""));
        // Whatever is below `localhost` is this machine, also where no resolver knows it.
        let to = match host.rsplit_once(':') {
            Some((name, port)) if name.ends_with("localhost") => format!("127.0.0.1:{port}"),
            _ => host.to_owned(),
        };
        let opened = async {
            let tcp = TcpStream::connect(to).await.map_err(Error::Io)?;
            client_async(format!("{url}?ticket={ticket}"), tcp).await
        };
        let (socket, _) = timeout(PATIENCE, opened).await.expect("a stream opens in time")?;
        Ok(Self { socket, closed: None })
    }

    /// The socket itself, for what a browser would not send.
    pub fn socket(&mut self) -> &mut WebSocketStream<TcpStream> {
        &mut self.socket
    }

    /// Ends the TCP connection without a word: no frame says that it is over.
    pub async fn cut(&mut self) {
        use tokio::io::AsyncWriteExt;
        self.socket.get_mut().shutdown().await.expect("it was open");
    }

    /// Sends a frame that the document knows.
    pub async fn say(&mut self, frame: Value) {
        asyncapi::check_said(&frame).expect("the document knows what is said");
        self.send(&frame.to_string()).await;
    }

    /// Sends any text. Where the connection is gone, the next read says so.
    pub async fn send(&mut self, text: &str) {
        drop(self.socket.send(Message::text(text)).await);
    }

    /// Subscribes, and does not wait for the answer.
    pub async fn subscribe(&mut self, topic: &str, after: Option<u64>) {
        let mut frame = json!({ "type": "subscribe", "topic": topic });
        if let Some(after) = after {
            frame["after"] = after.into();
        }
        self.say(frame).await;
    }

    /// The next frame; none once the connection is over. Fails the test if nothing comes.
    pub async fn next(&mut self) -> Option<Value> {
        let next = async {
            loop {
                match self.socket.next().await {
                    Some(Ok(Message::Text(text))) => {
                        assert!(text.len() <= 128 * 1024, "{} bytes", text.len());
                        let frame = serde_json::from_str(&text).expect("a frame is JSON");
                        asyncapi::check_told(&frame).expect("the document knows what is told");
                        return Some(frame);
                    }
                    Some(Ok(Message::Close(why))) => {
                        self.closed = why.map(|why| why.code);
                        return None;
                    }
                    Some(Ok(_)) => {}
                    // A connection that breaks is over like one that is closed.
                    Some(Err(_)) | None => return None,
                }
            }
        };
        timeout(PATIENCE, next).await.expect("a frame comes in time")
    }

    /// The next frame of this type; those before it are let go.
    pub async fn until(&mut self, kind: &str) -> Value {
        loop {
            let frame = self.next().await.unwrap_or_else(|| panic!("it ended before {kind}"));
            if frame["type"] == kind {
                return frame;
            }
        }
    }

    /// Waits until the other side has ended it.
    pub async fn ended(&mut self) {
        while self.next().await.is_some() {}
    }
}
