//! A client that asks until it is answered, of a reeve that may die at one step.

use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::Method;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tests::http::{Client, Reply};
use tests::reeve::{Options, Reeve, mentioning};
use tokio::time::{Instant, interval};

/// How long anything may take, deaths included.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) struct Driver {
    reeve: Reeve,
    /// Where it is to die, until it has.
    armed: Option<String>,
    step: Option<String>,
    log: Option<PathBuf>,
    deaths: u32,
    asked: u32,
}

impl Driver {
    /// Of a reeve that has not been started.
    pub(super) fn new(step: Option<String>, log: Option<&Path>) -> Self {
        let log = log.map(Path::to_owned);
        Self { reeve: Reeve::new(), armed: step.clone(), step, log, deaths: 0, asked: 0 }
    }

    pub(super) fn deaths(&self) -> u32 {
        self.deaths
    }

    /// Whether the story is told without a death so far.
    pub(super) fn is_whole(&self) -> bool {
        self.deaths == 0
    }

    pub(super) fn data(&self) -> &Path {
        self.reeve.data()
    }

    /// What a failure is to say: where it died and what it logged.
    pub(super) fn context(&self) -> String {
        format!("{:?}, died {} times:\n{}", self.step, self.deaths, self.reeve.log())
    }

    fn options(&self) -> Options {
        let mut options = Options::default();
        if let Some(step) = &self.armed {
            options = options.env("FAILPOINTS", step);
        }
        if let Some(log) = &self.log {
            options = options.env("REEVE_FAULT_LOG", log);
        }
        options
    }

    /// Starts it, again where it dies at its start.
    pub(super) async fn start(&mut self) {
        while let Err(log) = self.reeve.try_restart(self.options()).await {
            assert!(self.armed.take().is_some(), "it does not start:\n{log}");
            self.deaths += 1;
        }
    }

    /// It has died: another one takes over.
    async fn take_over(&mut self) {
        assert!(self.armed.take().is_some(), "it died by itself: {}", self.context());
        self.reeve.ended().await;
        self.deaths += 1;
        self.start().await;
    }

    /// As a power cut would.
    pub(super) async fn kill9(&mut self) {
        self.reeve.kill9();
        self.start().await;
    }

    /// Stopped as it should be, or dead on the way, and started again.
    pub(super) async fn stop_and_start(&mut self) {
        self.stop().await;
        self.start().await;
    }

    pub(super) async fn stop(&mut self) {
        self.reeve.terminate();
        let status = self.reeve.ended().await;
        if !status.success() {
            assert!(self.armed.take().is_some(), "it did not stop well: {}", self.context());
            self.deaths += 1;
        }
    }

    /// Asks until there is an answer, as one request.
    pub(super) async fn ask(&mut self, method: Method, path: &str, body: Value) -> Reply {
        self.asked += 1;
        let once = format!("once-{}", self.asked);
        let deadline = Instant::now() + PATIENCE;
        loop {
            let client = self.reeve.client();
            let mut request = client.request(method.clone(), path).header("idempotency-key", &once);
            if !body.is_null() {
                request = request.json(&body);
            }
            match Client::try_send(request).await {
                Ok(reply) if reply.status < 500 => return reply,
                Ok(reply) => panic!("{method} {path}: {reply:?} {}", self.context()),
                Err(_) => self.take_over().await,
            }
            assert!(Instant::now() < deadline, "{method} {path}: {}", self.context());
        }
    }

    pub(super) async fn post(&mut self, path: &str, body: Value, status: u16) -> Value {
        let reply = self.ask(Method::POST, path, body).await;
        assert_eq!(reply.status, status, "{path}: {} {}", reply.body, self.context());
        reply.body
    }

    pub(super) async fn read(&mut self, path: &str) -> Value {
        let reply = self.ask(Method::GET, path, Value::Null).await;
        assert_eq!(reply.status, 200, "{path}: {} {}", reply.body, self.context());
        reply.body
    }

    /// What stands at `path`, once it is as it should be.
    pub(super) async fn until(&mut self, path: &str, is: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        let mut beats = interval(Duration::from_millis(15));
        loop {
            let found = self.read(path).await;
            if is(&found) {
                return found;
            }
            assert!(Instant::now() < deadline, "{path} stays {found}: {}", self.context());
            beats.tick().await;
        }
    }

    /// Waits for what no answer tells.
    pub(super) async fn wait(&mut self, what: &str, is: impl Fn(&Path) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        let mut beats = interval(Duration::from_millis(15));
        while !is(self.data()) {
            // It may have died over it.
            self.read("/v1/me").await;
            assert!(Instant::now() < deadline, "never: {what}: {}", self.context());
            beats.tick().await;
        }
    }
}

/// The processes in sandboxes of `data` whose arguments begin so.
pub(crate) fn inside(data: &Path, begins: &str) -> Vec<Pid> {
    let of = |pid: &Pid| format!("/proc/{}/cmdline", pid.as_raw_nonzero());
    let is =
        |pid: &Pid| std::fs::read(of(pid)).is_ok_and(|text| text.starts_with(begins.as_bytes()));
    mentioning(data).into_iter().filter(is).collect()
}

pub(crate) fn kill(pid: Pid) {
    // It may just have ended.
    kill_process(pid, Signal::KILL).ok();
}
