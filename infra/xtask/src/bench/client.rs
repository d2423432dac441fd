//! Speaks HTTP on one connection that stays open.

use std::net::SocketAddr;
use std::time::Duration;

use axum::http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST};
use axum::http::{Method, Request};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::Result;
use super::time::micros;

/// The longest anything may take.
const PATIENCE: Duration = Duration::from_mins(1);

/// One connection.
#[derive(Debug)]
pub(crate) struct Client {
    sender: SendRequest<Full<Bytes>>,
    address: SocketAddr,
    key: String,
    // Ends with this value.
    _connection: JoinSet<()>,
}

impl Client {
    /// Connects as whoever holds `key`.
    pub(crate) async fn connect(address: SocketAddr, key: &str) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        let mut driver = JoinSet::new();
        driver.spawn(async move { drop(connection.await) });
        Ok(Self { sender, address, key: key.to_owned(), _connection: driver })
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        accept: &str,
        body: Bytes,
    ) -> Result<Request<Full<Bytes>>> {
        Ok(Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, self.address.to_string())
            .header(AUTHORIZATION, format!("Bearer {}", self.key))
            .header(ACCEPT, accept)
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(body))?)
    }

    async fn call(&mut self, method: Method, path: &str, body: Bytes) -> Result<Bytes> {
        let request = self.request(method, path, "*/*", body)?;
        let answered = async {
            self.sender.ready().await?;
            let response = self.sender.send_request(request).await?;
            let status = response.status();
            let body = response.into_body().collect().await?.to_bytes();
            Ok::<_, hyper::Error>((status, body))
        };
        let (status, body) =
            timeout(PATIENCE, answered).await.map_err(|_| "no answer in time")??;
        if !status.is_success() {
            return Err(format!("{path}: {status}: {}", String::from_utf8_lossy(&body)).into());
        }
        Ok(body)
    }

    /// Reads, as bytes.
    pub(crate) async fn read(&mut self, path: &str) -> Result<Bytes> {
        self.call(Method::GET, path, Bytes::new()).await
    }

    /// Reads.
    pub(crate) async fn get(&mut self, path: &str) -> Result<Value> {
        Ok(serde_json::from_slice(&self.read(path).await?)?)
    }

    /// Makes, or does.
    pub(crate) async fn post(&mut self, path: &str, body: &Value) -> Result<Value> {
        let body = self.call(Method::POST, path, body.to_string().into()).await?;
        Ok(serde_json::from_slice(&body)?)
    }

    /// Makes an echo agent.
    pub(crate) async fn agent(&mut self, name: &str) -> Result<String> {
        let made = self.post("/v1/agents", &json!({ "name": name, "driver": "acp" })).await?;
        id(&made)
    }

    /// Opens a session with an agent.
    pub(crate) async fn session(&mut self, agent: &str) -> Result<String> {
        id(&self.post("/v1/sessions", &json!({ "agentId": agent })).await?)
    }

    /// Gives a session a prompt. The id of its run.
    pub(crate) async fn prompt(&mut self, session: &str, prompt: &str) -> Result<String> {
        let path = format!("/v1/sessions/{session}/prompt");
        id(&self.post(&path, &json!({ "prompt": prompt })).await?)
    }

    /// Makes this connection the stream of a session's events, from its first on.
    pub(crate) async fn follow(mut self, session: &str) -> Result<Events> {
        let path = format!("/v1/sessions/{session}/events");
        let request = self.request(Method::GET, &path, "text/event-stream", Bytes::new())?;
        let response = timeout(PATIENCE, self.sender.send_request(request)).await??;
        if !response.status().is_success() {
            return Err(format!("{path}: {}", response.status()).into());
        }
        let body = response.into_body();
        Ok(Events { _client: self, body, text: Vec::new(), read: 0, at: 0.0 })
    }
}

fn id(made: &Value) -> Result<String> {
    Ok(made["id"].as_str().ok_or("what was made has an id")?.to_owned())
}

/// One server-sent event.
#[derive(Debug)]
pub(crate) struct Event {
    /// When its last byte was here, in microseconds since 1970.
    pub(crate) at: f64,
    /// What it says.
    pub(crate) view: Value,
}

impl Event {
    /// The state a run moved to, if this is what it tells.
    pub(crate) fn run_state(&self) -> Option<&str> {
        if self.view["type"] == "run_state" { self.view["data"]["state"].as_str() } else { None }
    }
}

/// Server-sent events as they come.
#[derive(Debug)]
pub(crate) struct Events {
    _client: Client,
    body: Incoming,
    text: Vec<u8>,
    read: usize,
    at: f64,
}

impl Events {
    /// The next durable event.
    pub(crate) async fn next(&mut self) -> Result<Event> {
        loop {
            let rest = &self.text[self.read..];
            if let Some(end) = rest.windows(2).position(|pair| pair == b"\n\n") {
                let block = &rest[..end];
                let view = view(block);
                self.read += end + 2;
                match view {
                    Some(view) => return Ok(Event { at: self.at, view }),
                    None => continue,
                }
            }
            self.text.drain(..self.read);
            self.read = 0;
            let frame =
                timeout(PATIENCE, self.body.frame()).await.map_err(|_| "a silent stream")?;
            let frame = frame.ok_or("a stream ended")??;
            self.at = micros();
            self.text.extend_from_slice(frame.data_ref().ok_or("a stream has data only")?);
        }
    }

    /// The event with which a run comes to this state.
    pub(crate) async fn until(&mut self, state: &str) -> Result<Event> {
        loop {
            let event = self.next().await?;
            if event.run_state() == Some(state) {
                return Ok(event);
            }
            if event.run_state() == Some("failed") {
                return Err(format!("a run failed: {}", event.view).into());
            }
        }
    }
}

/// What a durable event says; none for a comment and for what is only live.
fn view(block: &[u8]) -> Option<Value> {
    let text = std::str::from_utf8(block).ok()?;
    text.lines().find(|line| line.starts_with("id:"))?;
    let data = text.lines().find_map(|line| line.strip_prefix("data:"))?;
    serde_json::from_str(data).ok()
}
