//! What Lambda does for a function, on loopback: it starts the artifact, hands it one event after the
//! other, and takes what it answers.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use app::ports::Clock;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use host::SystemClock;
use serde_json::Value;
use tempfile::TempDir;
use tests::http::PATIENCE;
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// The trace that every invocation is part of.
pub(crate) const TRACE: &str = "1-6a6bd9d0-5759e988bd862e3fe1be46a9";

/// What a function answered.
#[derive(Debug)]
pub(crate) enum Answer {
    /// In one piece.
    Whole(Value),
    /// Head and body of a stream.
    Stream(Value, String),
    /// It failed.
    Failed(Value),
}

impl Answer {
    /// What it answered in one piece.
    pub(crate) fn whole(self) -> Value {
        match self {
            Self::Whole(value) => value,
            other @ (Self::Stream(..) | Self::Failed(_)) => panic!("{other:?}"),
        }
    }

    /// Status, headers and body of what it answered to a request.
    pub(crate) fn http(self) -> (u64, Value, String) {
        let whole = self.whole();
        let body = whole["body"].as_str().unwrap_or_default().to_owned();
        (whole["statusCode"].as_u64().expect("a status"), whole["headers"].clone(), body)
    }
}

struct Invocation {
    event: String,
    deadline: u64,
    answer: oneshot::Sender<Answer>,
}

struct Api {
    next: tokio::sync::Mutex<mpsc::Receiver<Invocation>>,
    open: Mutex<BTreeMap<String, oneshot::Sender<Answer>>>,
    clock: SystemClock,
}

/// A function that runs.
pub(crate) struct Function {
    child: Child,
    events: mpsc::Sender<Invocation>,
    clock: SystemClock,
    server: JoinHandle<()>,
    dir: TempDir,
}

impl Function {
    /// Starts `artifact` as the function of this id.
    pub(crate) async fn start(artifact: &str, id: &str, environment: &[(&str, String)]) -> Self {
        let (events, next) = mpsc::channel(1);
        let api = Arc::new(Api {
            next: tokio::sync::Mutex::new(next),
            open: Mutex::default(),
            clock: SystemClock::default(),
        });
        let router = Router::new()
            .route("/2018-06-01/runtime/invocation/next", get(invocation))
            .route("/2018-06-01/runtime/invocation/{id}/response", post(response))
            .route("/2018-06-01/runtime/invocation/{id}/error", post(error))
            .layer(DefaultBodyLimit::disable())
            .with_state(api);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        #[expect(clippy::disallowed_methods, reason = "serves for as long as the test goes on")]
        let server =
            tokio::task::spawn(async move { axum::serve(listener, router).await.unwrap() });
        let dir = tempfile::tempdir().unwrap();
        let log = File::create(dir.path().join("log")).unwrap();
        let child = Command::new(binary(artifact))
            .env_clear()
            .env("_HANDLER", id)
            .env("AWS_LAMBDA_RUNTIME_API", address.to_string())
            .env("AWS_LAMBDA_FUNCTION_NAME", id)
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256")
            .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Self { child, events, clock: SystemClock::default(), server, dir }
    }

    /// Hands it an event, for which it has half a minute.
    pub(crate) async fn invoke(&self, event: &str) -> Answer {
        self.invoke_within(event, Duration::from_secs(29)).await
    }

    /// Hands it an event, for which it has so long.
    pub(crate) async fn invoke_within(&self, event: &str, time: Duration) -> Answer {
        let (answer, answered) = oneshot::channel();
        let deadline = self.clock.now().after(time).as_millis();
        let invocation = Invocation { event: event.to_owned(), deadline, answer };
        let invoked = async {
            self.events.send(invocation).await.expect("it waits for events");
            answered.await.expect("it answers")
        };
        let answered = timeout(time.max(PATIENCE), invoked).await;
        answered.unwrap_or_else(|_| panic!("it did not answer:\n{}", self.log()))
    }

    /// How it ended by itself.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        timeout(PATIENCE, self.child.wait()).await.expect("it ends").unwrap()
    }

    /// All that it wrote.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap()
    }

    /// The lines that it wrote, each of which is an object.
    pub(crate) fn lines(&self) -> Vec<Value> {
        let parse = |line: &str| {
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
        };
        self.log().lines().map(parse).collect()
    }
}

impl Drop for Function {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn binary(artifact: &str) -> PathBuf {
    let binary = tests::reeve::binary().with_file_name(artifact);
    assert!(binary.exists(), "{} is missing: cargo build --package lambda", binary.display());
    binary
}

async fn invocation(State(api): State<Arc<Api>>) -> Response {
    let Some(Invocation { event, deadline, answer }) = api.next.lock().await.recv().await else {
        return StatusCode::GONE.into_response();
    };
    let id = format!("{:08x}-sample", api.clock.now().as_millis());
    api.open.lock().unwrap().insert(id.clone(), answer);
    let headers = [
        ("lambda-runtime-aws-request-id", id),
        ("lambda-runtime-deadline-ms", deadline.to_string()),
        ("lambda-runtime-invoked-function-arn", "arn:aws:lambda:us-east-1:1:function:f".to_owned()),
        ("lambda-runtime-trace-id", format!("Root={TRACE};Parent=53995c3f42cd8ad8;Sampled=1")),
    ];
    (headers, event).into_response()
}

async fn response(
    State(api): State<Arc<Api>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    let streams = headers.get("lambda-runtime-function-response-mode");
    let answer = if streams.is_some_and(|mode| mode == "streaming") {
        // The head ends with eight zeros.
        let end = body.windows(8).position(|bytes| bytes == [0; 8]).expect("a head");
        let head = serde_json::from_slice(&body[..end]).unwrap();
        Answer::Stream(head, String::from_utf8(body[end + 8..].to_vec()).unwrap())
    } else {
        Answer::Whole(serde_json::from_slice(&body).unwrap())
    };
    answered(&api, &id, answer)
}

async fn error(State(api): State<Arc<Api>>, Path(id): Path<String>, body: Bytes) -> StatusCode {
    answered(&api, &id, Answer::Failed(serde_json::from_slice(&body).unwrap()))
}

fn answered(api: &Api, id: &str, answer: Answer) -> StatusCode {
    let waiting = api.open.lock().unwrap().remove(id).expect("it was asked");
    waiting.send(answer).expect("somebody waits");
    StatusCode::ACCEPTED
}
