//! A proxy on loopback between an SDK and who answers it, that does to given calls what the network
//! and the services do on a bad day.
//!
//! A call is named as AWS names it: by the operation of its `X-Amz-Target` (`TransactWriteItems`,
//! `RunTask`), or, where a service has no such header, by the beginning of its path (`/`…).

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use app::ports::Clock;
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::http::PATIENCE;

/// What becomes of a call.
#[derive(Clone, Debug)]
pub enum Fault {
    /// It is answered with this status and document, and not passed on.
    Answer(StatusCode, Value),
    /// The connection is cut before it is passed on.
    LoseCall,
    /// It is passed on and carried out, and the connection is cut in place of an answer.
    LoseAnswer,
    /// It is passed on after this long.
    Delay(Duration),
    /// It is passed on when it is let go; never, where its caller is gone by then.
    Hold(Held),
    /// It is passed on and carried out, and answered when it is let go.
    HoldAnswer(Held),
    /// What answers is asked in other words: the document that was sent is changed so.
    Rewrite(fn(&mut Value)),
}

impl Fault {
    /// An error as the services with `X-Amz-Target` answer it.
    pub fn error(status: u16, code: &str) -> Self {
        let status = StatusCode::from_u16(status).expect("a status");
        Self::Answer(status, json!({ "__type": code, "message": "a fault of the test" }))
    }

    /// Too much is asked of the service.
    pub fn throttling() -> Self {
        Self::error(400, "ThrottlingException")
    }
}

/// Where calls wait until a test lets them go.
#[derive(Clone, Debug)]
pub struct Held(Arc<watch::Sender<Waiting>>);

#[derive(Debug, Default)]
struct Waiting {
    came: usize,
    let_go: bool,
}

impl Default for Held {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(Waiting::default())))
    }
}

impl Held {
    /// Returns when so many calls have come here. Fails the test if they do not.
    pub async fn came(&self, calls: usize) {
        let mut waiting = self.0.subscribe();
        let came = waiting.wait_for(|waiting| waiting.came >= calls);
        let came = timeout(PATIENCE, came).await;
        came.unwrap_or_else(|_| panic!("{calls} calls do not come")).expect("it is held here");
    }

    /// Lets go of all that wait here, and of all that come.
    pub fn let_go(&self) {
        self.0.send_modify(|waiting| waiting.let_go = true);
    }

    async fn wait(&self) {
        self.0.send_modify(|waiting| waiting.came += 1);
        let mut waiting = self.0.subscribe();
        waiting.wait_for(|waiting| waiting.let_go).await.expect("it is held here");
    }
}

/// A call that came, and how it was answered.
#[derive(Clone, Debug)]
pub struct Call {
    /// Its name.
    pub name: String,
    /// What was sent; null where that is no JSON.
    pub body: Value,
    /// The document it was answered with, where it was passed on; null otherwise.
    pub answer: Value,
}

#[derive(Debug)]
struct Rule {
    call: String,
    /// What it has to mention; anything, where it is empty.
    about: String,
    fault: Fault,
    left: usize,
}

#[derive(Debug)]
struct State {
    upstream: String,
    http: reqwest::Client,
    rules: Mutex<Vec<Rule>>,
    calls: Mutex<Vec<Call>>,
}

/// A proxy that runs until it is dropped.
#[derive(Debug)]
pub struct FaultProxy {
    address: SocketAddr,
    state: Arc<State>,
    _serving: JoinSet<Infallible>,
}

impl FaultProxy {
    /// A proxy before `upstream`, without faults.
    pub async fn start(upstream: &str) -> Self {
        rustls::crypto::ring::default_provider().install_default().ok();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
        let address = listener.local_addr().expect("it has an address");
        let state = Arc::new(State {
            upstream: upstream.to_owned(),
            http: reqwest::Client::builder().no_proxy().build().expect("a client"),
            rules: Mutex::default(),
            calls: Mutex::default(),
        });
        let mut serving = JoinSet::new();
        serving.spawn(serve(listener, Arc::clone(&state)));
        Self { address, state, _serving: serving }
    }

    /// Where it listens.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Does this to the next `times` calls of that name. Rules for one name take turns, in order.
    pub fn fault(&self, call: &str, fault: Fault, times: usize) {
        self.fault_about(call, "", fault, times);
    }

    /// The same to those only whose document mentions `about`.
    pub fn fault_about(&self, call: &str, about: &str, fault: Fault, times: usize) {
        let rule = Rule { call: call.to_owned(), about: about.to_owned(), fault, left: times };
        self.state.rules.lock().unwrap_or_else(PoisonError::into_inner).push(rule);
    }

    /// The calls of that name that came so far.
    pub fn calls(&self, name: &str) -> Vec<Call> {
        let calls = self.state.calls.lock().unwrap_or_else(PoisonError::into_inner);
        calls.iter().filter(|call| call.name == name).cloned().collect()
    }
}

async fn serve(listener: TcpListener, state: Arc<State>) -> Infallible {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                let state = Arc::clone(&state);
                connections.spawn(async move {
                    let answer = service_fn(|request| state.answer(request));
                    let served = http1::Builder::new().serve_connection(TokioIo::new(stream), answer);
                    // That a connection is cut is what this is for.
                    served.await.ok();
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// The connection is to be cut.
#[derive(Debug, thiserror::Error)]
#[error("the connection is cut")]
struct Cut;

impl State {
    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Cut> {
        let (parts, body) = request.into_parts();
        let mut body = body.collect().await.map_err(|_| Cut)?.to_bytes();
        let target = parts.headers.get("x-amz-target").and_then(|target| target.to_str().ok());
        let name = match target.and_then(|target| target.rsplit('.').next()) {
            Some(operation) => operation.to_owned(),
            None => parts.uri.path().to_owned(),
        };
        let mut document: Value = serde_json::from_slice(&body).unwrap_or_default();
        let fault = self.next(&name, &String::from_utf8_lossy(&body));
        let at = {
            let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
            calls.push(Call { name, body: document.clone(), answer: Value::Null });
            calls.len() - 1
        };
        match &fault {
            Some(Fault::Answer(status, document)) => {
                let answer = Response::builder()
                    .status(status)
                    .header("content-type", "application/x-amz-json-1.0")
                    .body(Full::from(document.to_string()));
                return answer.map_err(|_| Cut);
            }
            Some(Fault::LoseCall) => return Err(Cut),
            Some(Fault::Delay(time)) => delay(*time).await,
            Some(Fault::Hold(held)) => held.wait().await,
            Some(Fault::Rewrite(change)) => {
                change(&mut document);
                body = document.to_string().into();
            }
            Some(Fault::LoseAnswer | Fault::HoldAnswer(_)) | None => {}
        }
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        let mut headers = parts.headers;
        without_connection(&mut headers);
        // What a HEAD says of a length is not that of its answer.
        let (head, length) = (parts.method == http::Method::HEAD, http::header::CONTENT_LENGTH);
        let request = self.http.request(parts.method, format!("{}{path}", self.upstream));
        let sent = request.headers(headers).body(body).send().await.map_err(|_| Cut)?;
        let mut answer = Response::builder().status(sent.status());
        if let Some(headers) = answer.headers_mut() {
            headers.clone_from(sent.headers());
            without_connection(headers);
            if let Some(said) = sent.headers().get(&length).filter(|_| head) {
                headers.insert(length, said.clone());
            }
        }
        let body = sent.bytes().await.map_err(|_| Cut)?;
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)[at].answer =
            serde_json::from_slice(&body).unwrap_or_default();
        match fault {
            Some(Fault::LoseAnswer) => return Err(Cut),
            Some(Fault::HoldAnswer(until)) => until.wait().await,
            _ => {}
        }
        answer.body(Full::from(body)).map_err(|_| Cut)
    }

    fn next(&self, name: &str, text: &str) -> Option<Fault> {
        let mut rules = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        let matches = |rule: &&mut Rule| {
            rule.left > 0
                && text.contains(&rule.about)
                && (rule.call == name
                    || (rule.call.starts_with('/') && name.starts_with(&rule.call)))
        };
        let rule = rules.iter_mut().find(matches)?;
        rule.left -= 1;
        Some(rule.fault.clone())
    }
}

/// Removes what is about one connection and not about the call.
fn without_connection(headers: &mut HeaderMap) {
    for name in ["connection", "content-length", "transfer-encoding"] {
        headers.remove(name);
    }
}

async fn delay(time: Duration) {
    host::SystemClock::default().wait(time).await;
}
