//! A control plane with one shim: accepts it, commands it, and checks what it is told.

use std::collections::BTreeMap;
use std::os::unix::fs::chown;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use domain::RunId;
use domain::limits::Limits;
use futures::{SinkExt, StreamExt};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::upgrade::Upgraded;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::process::Child;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;
use wire::shim::keep::{Answer, Ask, Kept, Refusal, Told, Wanted};
use wire::shim::{BOOT_VARIABLE, Boot, Command, Down, Egress, Ended, MAX_FRAME, Outcome, Walls};

use crate::given::{container, run, session};
use crate::store::Store;

/// Who has no right to anything.
const NOBODY: u32 = 65534;

/// The longest any single event may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// Answers a request that is not the shim's own: the model behind the same socket.
pub(crate) type Model = Box<dyn FnMut(&str, &Value) -> (u16, &'static str, String) + Send>;

pub(crate) struct Plane {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) shim: Child,
    pub(crate) socket: Option<Socket>,
    sockets: mpsc::UnboundedReceiver<Socket>,
    /// What became durable, by session.
    pub(crate) events: BTreeMap<String, Vec<Value>>,
    pub(crate) live: Vec<Value>,
    pub(crate) acking: bool,
    /// What is kept of the directories of the agent, where the container keeps none.
    pub(crate) store: Option<Store>,
    /// The runs after which it was asked to look at directories that stay, with how much was told before.
    pub(crate) looked: Vec<(RunId, usize)>,
    /// Whether it cannot look.
    pub(crate) blind: bool,
    _serving: JoinSet<()>,
}

pub(crate) struct Setup {
    pub(crate) arguments: Vec<&'static str>,
    pub(crate) orphan_seconds: u64,
    pub(crate) live_millis: u64,
    pub(crate) limits: Limits,
    /// The way out is a TCP address and the boot document in the environment, as in the cloud.
    pub(crate) cloud: bool,
    /// Another user than root, where root runs the tests: root is not kept out of anything.
    pub(crate) humble: bool,
    /// In a container, behind an egress.
    pub(crate) contained: Option<Contained>,
    pub(crate) status: u16,
    pub(crate) model: Option<Model>,
    /// The container keeps no directories: this has them.
    pub(crate) store: Option<Store>,
    pub(crate) directory: Option<tempfile::TempDir>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            arguments: Vec::new(),
            orphan_seconds: 60,
            live_millis: 20,
            limits: Limits::default(),
            cloud: false,
            humble: false,
            contained: None,
            status: 101,
            model: None,
            store: None,
            directory: None,
        }
    }
}

async fn serve(
    mut request: Request<Incoming>,
    status: u16,
    sockets: mpsc::UnboundedSender<Socket>,
    model: Arc<Mutex<Option<Model>>>,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let mut answer = Response::new(Full::default());
    if request.uri().path() == "/v1/shim" {
        assert_eq!(request.headers()["authorization"], "Bearer secret");
        *answer.status_mut() = StatusCode::from_u16(status).unwrap();
        if status == 101 {
            let key = derive_accept_key(request.headers()["sec-websocket-key"].as_bytes());
            answer.headers_mut().insert("sec-websocket-accept", key.parse().unwrap());
            answer.headers_mut().insert("upgrade", "websocket".parse().unwrap());
            answer.headers_mut().insert("connection", "upgrade".parse().unwrap());
            let mut upgrades = JoinSet::new();
            upgrades.spawn(async move {
                let stream = hyper::upgrade::on(&mut request).await.unwrap();
                let socket =
                    WebSocketStream::from_raw_socket(TokioIo::new(stream), Role::Server, None);
                drop(sockets.send(socket.await));
            });
            upgrades.detach_all();
        }
        return Ok(answer);
    }
    let path = request.uri().path().to_owned();
    let body = request.into_body().collect().await?.to_bytes();
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let mut model = model.lock().unwrap();
    let (status, kind, text) = model.as_mut().expect("no model was expected")(&path, &body);
    *answer.status_mut() = StatusCode::from_u16(status).unwrap();
    if status == 429 {
        answer.headers_mut().insert("retry-after", "0".parse().unwrap());
    }
    answer.headers_mut().insert("content-type", kind.parse().unwrap());
    *answer.body_mut() = Full::from(text);
    Ok(answer)
}

/// A shim in a container.
pub(crate) struct Contained {
    /// Where its egress takes it.
    pub(crate) listener: std::net::TcpListener,
    /// Where it finds its egress.
    pub(crate) egress: String,
    /// What starts it with the boot document in its environment.
    pub(crate) run: tokio::process::Command,
}

/// Where shims come to.
enum Listener {
    Unix(UnixListener, PathBuf),
    Tcp(TcpListener),
}

impl Listener {
    fn bind(tcp: bool, path: PathBuf) -> Self {
        if tcp {
            return Self::tcp(std::net::TcpListener::bind("127.0.0.1:0").unwrap());
        }
        drop(std::fs::remove_file(&path));
        Self::Unix(UnixListener::bind(&path).unwrap(), path)
    }

    fn tcp(listener: std::net::TcpListener) -> Self {
        listener.set_nonblocking(true).unwrap();
        Self::Tcp(TcpListener::from_std(listener).unwrap())
    }

    fn address(&self) -> Egress {
        match self {
            Self::Unix(_, path) => Egress::Unix(path.to_str().unwrap().to_owned()),
            Self::Tcp(listener) => Egress::Tcp(listener.local_addr().unwrap().to_string()),
        }
    }

    async fn accept(&self) -> Box<dyn Stream> {
        match self {
            Self::Unix(listener, _) => Box::new(listener.accept().await.unwrap().0),
            Self::Tcp(listener) => Box::new(listener.accept().await.unwrap().0),
        }
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl Plane {
    pub(crate) async fn start() -> Self {
        Self::with(Setup::default()).await
    }

    /// Starts a shim and waits for its first connection.
    pub(crate) async fn with(setup: Setup) -> Self {
        let mut plane = Self::unconnected(setup);
        plane.accept().await;
        plane
    }

    pub(crate) fn unconnected(setup: Setup) -> Self {
        let directory = setup.directory.unwrap_or_else(|| tempfile::tempdir().unwrap());
        let path = |name: &str| -> PathBuf { directory.path().join(name) };
        for name in ["journal", "workspace", "home"] {
            std::fs::create_dir_all(path(name)).unwrap();
        }
        let (contained, listener) = match setup.contained {
            Some(Contained { listener, egress, run }) => {
                (Some((egress, run)), Listener::tcp(listener))
            }
            None => (None, Listener::bind(setup.cloud, path("socket"))),
        };
        let text = |name: &str| path(name).to_str().unwrap().to_owned();
        let mut boot = Boot {
            container: container(),
            generation: 3,
            token: "secret".to_owned(),
            egress: listener.address(),
            journal: text("journal"),
            workspace: text("workspace"),
            home: text("home"),
            agents: text("agents"),
            orphan_seconds: setup.orphan_seconds,
            heartbeat_seconds: 5,
            live_millis: setup.live_millis,
            report_millis: 0,
            fresh: setup.store.is_some(),
            walls: Walls::default(),
            limits: setup.limits,
        };
        if let Some((egress, _)) = &contained {
            boot.egress = Egress::Tcp(egress.clone());
            "/journal".clone_into(&mut boot.journal);
            "/workspace".clone_into(&mut boot.workspace);
            "/home/agent".clone_into(&mut boot.home);
        }
        let boot = serde_json::to_string(&boot).unwrap();
        let (arrived, sockets) = mpsc::unbounded_channel();
        let model = Arc::new(Mutex::new(setup.model));
        let status = setup.status;
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let stream = listener.accept().await;
                let (arrived, model) = (arrived.clone(), Arc::clone(&model));
                connections.spawn(async move {
                    let service = hyper::service::service_fn(move |request| {
                        serve(request, status, arrived.clone(), Arc::clone(&model))
                    });
                    let connection = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .with_upgrades();
                    drop(connection.await);
                });
            }
        });
        let program = path("shim");
        let in_container = contained.is_some();
        let mut command = if let Some((_, run)) = contained {
            run
        } else if setup.humble {
            std::fs::copy(env!("CARGO_BIN_EXE_shim"), &program).unwrap();
            tokio::process::Command::new(program)
        } else {
            tokio::process::Command::new(env!("CARGO_BIN_EXE_shim"))
        };
        if in_container {
            command.env(BOOT_VARIABLE, boot);
        } else if setup.cloud {
            command.arg("--boot-env").env(BOOT_VARIABLE, boot);
        } else {
            std::fs::write(path("boot"), boot).unwrap();
            command.arg("--boot").arg(path("boot"));
        }
        if setup.humble && rustix::process::geteuid().is_root() {
            for name in ["", "journal", "workspace", "home"] {
                chown(path(name), Some(NOBODY), Some(NOBODY)).unwrap();
            }
            command.uid(NOBODY).gid(NOBODY);
        }
        let shim = command
            .args(&setup.arguments)
            .env("LEAKED", "from the outside")
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Self {
            directory,
            shim,
            socket: None,
            sockets,
            events: BTreeMap::new(),
            live: Vec::new(),
            acking: true,
            store: setup.store,
            looked: Vec::new(),
            blind: false,
            _serving: serving,
        }
    }

    /// Waits for the next connection and its greeting.
    pub(crate) async fn accept(&mut self) {
        let socket = timeout(PATIENCE, self.sockets.recv()).await.expect("a connection").unwrap();
        self.socket = Some(socket);
        let hello = self.frame().await.expect("a greeting");
        assert_eq!(hello["hello"]["generation"], 3, "{hello}");
        assert_eq!(hello["hello"]["container"], json!(container()));
    }

    /// The next frame, as it is.
    pub(crate) async fn frame(&mut self) -> Option<Value> {
        let socket = self.socket.as_mut().expect("connected");
        loop {
            match timeout(PATIENCE, socket.next()).await.expect("a frame in time")? {
                Ok(Message::Text(text)) => {
                    assert!(text.len() <= MAX_FRAME, "a frame of {} bytes", text.len());
                    return Some(serde_json::from_str(&text).unwrap());
                }
                Ok(_) => {}
                Err(_) => return None,
            }
        }
    }

    pub(crate) async fn send(&mut self, down: &Down) {
        for frame in down.frames().unwrap() {
            self.say(frame).await;
        }
    }

    /// Sends one frame as it is.
    pub(crate) async fn say(&mut self, frame: String) {
        self.socket.as_mut().unwrap().send(Message::text(frame)).await.unwrap();
    }

    pub(crate) async fn command(&mut self, command: Command) {
        self.send(&Down::Commands(vec![command])).await;
    }

    /// Takes one frame in. A report must begin where the last one ended.
    pub(crate) async fn step(&mut self) {
        let frame = self.frame().await.expect("the connection holds");
        self.take(frame).await;
    }

    /// Takes this frame in.
    pub(crate) async fn take(&mut self, frame: Value) {
        if let Some(ask) = frame.get("ask") {
            let ask: Ask = serde_json::from_value(ask.clone()).unwrap();
            let answer = match (&mut self.store, &ask.what) {
                (Some(store), what) => store.answer(what),
                (None, _) if self.blind => Answer::Refused(Refusal::Unread),
                (None, Wanted::Look(run)) => {
                    self.looked.push((*run, self.events.values().map(Vec::len).sum()));
                    Answer::Kept(Kept::default())
                }
                (None, what) => panic!("nothing is to be kept: {what:?}"),
            };
            return self.send(&Down::Told(Told { number: ask.number, answer })).await;
        }
        if let Some(live) = frame.get("live") {
            self.live.push(live.clone());
        }
        let Some(report) = frame.get("report") else { return };
        let session = report["session"].as_str().unwrap().to_owned();
        let known = self.events.entry(session.clone()).or_default();
        let first = usize::try_from(report["first"].as_u64().unwrap()).unwrap();
        assert!(first <= known.len(), "a gap: {first} follows {}", known.len());
        let events = report["events"].as_array().unwrap();
        assert!(!events.is_empty() && events.len() <= 256);
        // What is known already was sent again because its acknowledgement was lost.
        for (place, event) in events.iter().enumerate() {
            match known.get(first + place) {
                Some(before) => assert_eq!(before, event, "a number names one event"),
                None => known.push(event.clone()),
            }
        }
        let next = known.len() as u64;
        if self.acking {
            let session = session.parse().unwrap();
            self.send(&Down::Ack { session, next }).await;
        }
    }

    pub(crate) fn of(&self, session_number: u128) -> &[Value] {
        self.events.get(&session(session_number).to_string()).map_or(&[], Vec::as_slice)
    }

    /// Takes frames in until one of the session's events fits.
    pub(crate) async fn until(&mut self, session_number: u128, fits: impl Fn(&Value) -> bool) {
        let mut seen = 0;
        while !self.of(session_number)[seen..].iter().any(&fits) {
            seen = self.of(session_number).len();
            self.step().await;
        }
    }

    /// Takes frames in until the run has ended.
    pub(crate) async fn ended(&mut self, session_number: u128, run_number: u128) -> Ended {
        let of_run = |event: &Value| {
            event["run"] == json!(run(run_number)) && event["what"]["ended"].is_object()
        };
        self.until(session_number, of_run).await;
        let all: Vec<_> = self.of(session_number).iter().filter(|event| of_run(event)).collect();
        assert_eq!(all.len(), 1, "a run ends once");
        serde_json::from_value(all[0]["what"]["ended"].clone()).unwrap()
    }

    pub(crate) async fn completed(&mut self, session_number: u128, run_number: u128) -> Ended {
        let ended = self.ended(session_number, run_number).await;
        assert_eq!(ended.outcome, Outcome::Completed, "{ended:?}");
        ended
    }

    pub(crate) async fn failed(&mut self, session_number: u128, run_number: u128) -> String {
        let ended = self.ended(session_number, run_number).await;
        assert_eq!(ended.outcome, Outcome::Failed, "{ended:?}");
        ended.code.unwrap()
    }

    pub(crate) async fn started(&mut self, session_number: u128, run_number: u128) {
        self.until(session_number, |event| {
            event["run"] == json!(run(run_number)) && event["what"]["started"].is_object()
        })
        .await;
    }

    /// The updates of a kind in a run, their data.
    pub(crate) fn updates(
        &self,
        session_number: u128,
        run_number: u128,
        kind: &str,
    ) -> Vec<&Value> {
        self.of(session_number)
            .iter()
            .filter(|event| event["run"] == json!(run(run_number)))
            .map(|event| &event["what"]["update"])
            .filter(|update| update["kind"] == kind)
            .map(|update| &update["data"])
            .collect()
    }

    /// What the agent said in a run.
    pub(crate) fn said(&self, session_number: u128, run_number: u128) -> String {
        self.updates(session_number, run_number, "agent_message_chunk")
            .iter()
            .map(|data| data["content"]["text"].as_str().unwrap())
            .collect()
    }

    pub(crate) async fn exit(&mut self) -> ExitStatus {
        timeout(PATIENCE, self.shim.wait()).await.expect("an exit in time").unwrap()
    }

    pub(crate) fn pid(&self) -> i32 {
        i32::try_from(self.shim.id().unwrap()).unwrap()
    }

    /// The resident memory of the shim now and at its highest, in KiB.
    pub(crate) fn memory(&self) -> (u64, u64) {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let field = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_whitespace().nth(1).unwrap().parse().unwrap()
        };
        (field("VmRSS:"), field("VmHWM:"))
    }
}

/// The processes below `root`, the dead ones not counted.
pub(crate) fn descendants(root: i32) -> Vec<(i32, String)> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else { continue };
        let (head, tail) = stat.rsplit_once(')').unwrap();
        let mut fields = tail.split_whitespace();
        let state = fields.next().unwrap().to_owned();
        let parent: i32 = fields.next().unwrap().parse().unwrap();
        all.push((pid, parent, format!("{state} {}", head.split_once('(').unwrap().1)));
    }
    let mut found = vec![root];
    let mut names = Vec::new();
    let mut place = 0;
    while place < found.len() {
        for (pid, parent, name) in &all {
            if *parent == found[place] {
                found.push(*pid);
                names.push((*pid, name.clone()));
            }
        }
        place += 1;
    }
    names
}
