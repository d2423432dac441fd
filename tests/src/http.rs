//! Speaks HTTP to a running reeve, as any client would.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::time::Duration;

use futures::{Stream, StreamExt};
use reqwest::header::HeaderMap;
use reqwest::{Method, RequestBuilder};
use serde_json::Value;
use tokio::time::timeout;

/// The longest anything may take here before a test fails.
pub const PATIENCE: Duration = Duration::from_secs(45);

/// Whoever holds one key, or none.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    url: String,
    key: Option<String>,
    follows: Follows,
}

/// How events are followed.
#[derive(Clone, Copy, Debug)]
enum Follows {
    ServerSent,
    WebSocket,
}

/// What requests are made with.
pub fn connector() -> reqwest::Client {
    // Built beside egress, the client has TLS, though nothing here speaks it, and wants to know whose.
    // Another test of this process may have said so.
    rustls::crypto::ring::default_provider().install_default().ok();
    reqwest::Client::builder().no_proxy().build().expect("a client")
}

impl Client {
    /// Somebody who calls `url` with `key`.
    pub fn new(url: &str, key: Option<&str>) -> Self {
        let http = connector();
        let key = key.map(str::to_owned);
        Self { http, url: url.to_owned(), key, follows: Follows::ServerSent }
    }

    /// Somebody who calls the same with another key, or with none.
    #[must_use]
    pub fn with_key(&self, key: Option<&str>) -> Self {
        Self { key: key.map(str::to_owned), ..self.clone() }
    }

    /// The same, who follows events over a WebSocket.
    #[must_use]
    pub fn over_websocket(self) -> Self {
        Self { follows: Follows::WebSocket, ..self }
    }

    /// The same, who follows events as server-sent ones.
    #[must_use]
    pub fn over_server_sent_events(&self) -> Self {
        Self { follows: Follows::ServerSent, ..self.clone() }
    }

    /// Reads.
    pub async fn get(&self, path: &str) -> Reply {
        self.send(self.request(Method::GET, path)).await
    }

    /// Makes, or does. `Value::Null` sends no body.
    pub async fn post(&self, path: &str, body: Value) -> Reply {
        self.send(with_body(self.request(Method::POST, path), &body)).await
    }

    /// Changes in part.
    pub async fn patch(&self, path: &str, body: Value) -> Reply {
        self.send(with_body(self.request(Method::PATCH, path), &body)).await
    }

    /// Removes.
    pub async fn delete(&self, path: &str) -> Reply {
        self.send(self.request(Method::DELETE, path)).await
    }

    /// Makes, or does, as the request of that `Idempotency-Key`; an error where no whole answer
    /// came.
    pub async fn post_once(&self, path: &str, once: &str, body: Value) -> reqwest::Result<Reply> {
        let request = self.request(Method::POST, path).header("idempotency-key", once);
        Self::try_send(with_body(request, &body)).await
    }

    /// A request that carries the key, for whatever the others do not say.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.url)).timeout(PATIENCE);
        match &self.key {
            Some(key) => request.bearer_auth(key),
            None => request,
        }
    }

    /// The answer to `request`.
    pub async fn send(&self, request: RequestBuilder) -> Reply {
        Self::try_send(request).await.expect("reeve answers")
    }

    /// The answer to `request`, or that no whole one came.
    pub async fn try_send(request: RequestBuilder) -> reqwest::Result<Reply> {
        let response = request.send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let raw = response.bytes().await?.to_vec();
        let body = if raw.is_empty() {
            Value::Null
        } else {
            let text = String::from_utf8_lossy(&raw);
            serde_json::from_str(&text).unwrap_or_else(|_| Value::String(text.into_owned()))
        };
        Ok(Reply { status, headers, raw, body })
    }

    /// Follows the events of a session, behind the event `after` if one is given. `path` is that of its
    /// events.
    pub async fn events(&self, path: &str, after: Option<u64>) -> Events {
        let source = match self.follows {
            Follows::ServerSent => self.server_sent(path, after).await,
            Follows::WebSocket => {
                let session = path.split('/').nth(3).expect("the path of a session's events");
                let mut stream = self.stream().await;
                stream.subscribe(&format!("session:{session}"), Some(after.unwrap_or(0))).await;
                Source::Frames(Box::new(stream))
            }
        };
        Events { source, read: VecDeque::new() }
    }

    async fn server_sent(&self, path: &str, after: Option<u64>) -> Source {
        let mut request = self
            .http
            .get(format!("{}{path}", self.url))
            .header("accept", "text/event-stream")
            .bearer_auth(self.key.as_deref().unwrap_or_default());
        if let Some(after) = after {
            request = request.header("last-event-id", after);
        }
        let response = timeout(PATIENCE, request.send()).await.expect("a stream opens in time");
        let response = response.expect("reeve answers");
        assert_eq!(response.status(), 200, "{path} is a stream");
        let bytes = response.bytes_stream().map(|chunk| chunk.ok().map(|chunk| chunk.to_vec()));
        Source::ServerSent { bytes: Box::pin(bytes), text: Vec::new() }
    }
}

fn with_body(request: RequestBuilder, body: &Value) -> RequestBuilder {
    if body.is_null() { request } else { request.json(body) }
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Its status.
    pub status: u16,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, byte for byte.
    pub raw: Vec<u8>,
    /// Its body: a string where it is not JSON, `null` where there is none.
    pub body: Value,
}

impl Reply {
    /// The body of an answer that must have this status.
    #[track_caller]
    pub fn is(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{:#}", self.body);
        self.body
    }

    /// The string at `pointer` in the body.
    #[track_caller]
    pub fn text(&self, pointer: &str) -> String {
        let found = self.body.pointer(pointer).and_then(Value::as_str);
        found.unwrap_or_else(|| panic!("no {pointer} in {:#}", self.body)).to_owned()
    }
}

/// One event, as whoever follows sees it.
#[derive(Clone, Debug)]
pub struct Event {
    /// Its number, if it is durable.
    pub id: Option<u64>,
    /// What it is.
    pub kind: String,
    /// What it says.
    pub data: Value,
}

/// Events as they come.
pub struct Events {
    source: Source,
    read: VecDeque<Event>,
}

enum Source {
    ServerSent { bytes: Pin<Box<dyn Stream<Item = Option<Vec<u8>>> + Send>>, text: Vec<u8> },
    Frames(Box<crate::stream::Stream>),
}

impl Source {
    /// What comes next; nothing once it has ended.
    async fn more(&mut self) -> Option<Vec<Event>> {
        match self {
            Self::ServerSent { bytes, text } => {
                // A connection that breaks ends the stream like one that is closed.
                text.extend(bytes.next().await.flatten()?);
                let mut read = Vec::new();
                while let Some(end) = text.windows(2).position(|pair| pair == b"\n\n") {
                    let block: Vec<u8> = text.drain(..end + 2).collect();
                    read.extend(parse(&String::from_utf8_lossy(&block)));
                }
                Some(read)
            }
            Self::Frames(stream) => {
                let frame = stream.next().await?;
                let event = |event: &Value| Event {
                    id: event["seq"].as_u64(),
                    kind: event["type"].as_str().unwrap_or_default().to_owned(),
                    data: event.clone(),
                };
                Some(match frame["type"].as_str() {
                    Some("events") => {
                        frame["events"].as_array().into_iter().flatten().map(event).collect()
                    }
                    Some("live") => vec![event(&frame["event"])],
                    Some("subscribed") => Vec::new(),
                    _ => panic!("{frame:#}"),
                })
            }
        }
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Events({} read)", self.read.len())
    }
}

impl Events {
    /// The next event; `None` once the stream has ended. Fails the test if nothing comes.
    pub async fn next(&mut self) -> Option<Event> {
        let next = async {
            loop {
                if let Some(event) = self.read.pop_front() {
                    return Some(event);
                }
                self.read.extend(self.source.more().await?);
            }
        };
        timeout(PATIENCE, next).await.expect("an event comes in time")
    }

    /// Every event up to the first of this kind, which is the last of them.
    pub async fn until(&mut self, kind: &str) -> Vec<Event> {
        let mut seen = Vec::new();
        while let Some(event) = self.next().await {
            let last = event.kind == kind;
            seen.push(event);
            if last {
                return seen;
            }
        }
        panic!("the stream ended before {kind}: {seen:#?}");
    }
}

/// One block of a stream; comments are no event.
fn parse(block: &str) -> Option<Event> {
    let (mut id, mut kind, mut data) = (None, "message".to_owned(), Vec::new());
    for line in block.lines() {
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "id" => id = Some(value.parse().expect("ids of events are numbers")),
            "event" => value.clone_into(&mut kind),
            "data" => data.push(value),
            _ => {}
        }
    }
    let data = data.join("\n");
    (!data.is_empty()).then(|| Event {
        id,
        kind,
        data: serde_json::from_str(&data).expect("events are JSON"),
    })
}
