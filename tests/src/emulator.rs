//! An account of AWS that is none: `MiniStack`, on loopback.
//!
//! `./tests/run` starts one for all tests and says where in [`ADDRESS`]; otherwise each that a test
//! asks for is started, on a port of its own, and is gone when it is dropped, with everything it has
//! started. Tests that share one do not meet: each makes what it needs under a name of its own.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use app::ports::Clock;
use aws::{DynamoTable, Environment, Sdk};
use host::SystemClock;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::http::PATIENCE;
use crate::table::fresh;

/// Names the address of the emulator that runs already.
pub const ADDRESS: &str = "REEVE_TEST_AWS";

/// How long it may take to end and to take down what it runs.
const FAREWELL: Timespec = Timespec { tv_sec: 10, tv_nsec: 0 };

/// An emulator that answers.
#[derive(Debug)]
pub struct Emulator {
    endpoint: String,
    /// Held, where it is this test's, until the test has ended.
    _own: Option<Own>,
}

#[derive(Debug)]
struct Own {
    child: Child,
    log: Arc<Mutex<String>>,
    _dir: TempDir,
}

impl Emulator {
    /// The one that runs already, or one for this test alone.
    #[expect(clippy::disallowed_methods, reason = "this is where a test process starts")]
    pub async fn start() -> Self {
        match std::env::var(ADDRESS) {
            Ok(endpoint) if !endpoint.is_empty() => Self { endpoint, _own: None },
            _ => Self::start_own().await,
        }
    }

    /// One for this test alone.
    pub async fn start_own() -> Self {
        let dir = tempfile::Builder::new().prefix("ministack-").tempdir().expect("a directory");
        let free = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let port = free.local_addr().expect("it has an address").port();
        let endpoint = format!("http://127.0.0.1:{port}");
        drop(free);
        let mut child = Command::new(program())
            .current_dir(dir.path())
            // What it gets wrong is made right in there.
            .env("PYTHONPATH", concat!(env!("CARGO_MANIFEST_DIR"), "/aws/mends"))
            // An engine that starts many containers at once on a loaded machine is slow, not broken.
            .env("MINISTACK_DOCKER_TIMEOUT", "60")
            .env("GATEWAY_PORT", port.to_string())
            .env("BIND_HOST", "127.0.0.1")
            // It hands this on to the functions it runs.
            .env("AWS_ENDPOINT_URL", &endpoint)
            // These would listen on every address.
            .env("IOT_MTLS_ENABLED", "0")
            .env("SFTP_ENABLED", "0")
            .env("LOG_LEVEL", "INFO")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .expect("the emulator can be started: ./tests/run installs it");
        let said = BufReader::new(child.stderr.take().expect("stderr is a pipe"));
        let log = Arc::<Mutex<String>>::default();
        let own = Own { child, log: Arc::clone(&log), _dir: dir };
        let (ready, is_ready) = oneshot::channel();
        // Reads until the end, so that it never waits for a reader.
        std::thread::spawn(move || {
            let mut ready = Some(ready);
            for line in said.lines().map_while(Result::ok) {
                if line.contains("Running on http")
                    && let Some(ready) = ready.take()
                {
                    let _ = ready.send(());
                }
                let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
                log.push_str(&line);
                log.push('\n');
            }
        });
        let ready = timeout(PATIENCE, is_ready).await;
        assert!(matches!(ready, Ok(Ok(()))), "the emulator did not start:\n{}", own.log());
        Self { endpoint, _own: Some(own) }
    }

    /// Where it answers.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// A new table of its own.
    pub async fn table(&self) -> DynamoTable {
        let table = dynamo(&self.endpoint, &fresh(), Arc::new(SystemClock::default()));
        table.create().await.expect("a table is made");
        table
    }
}

/// What a process of ours is told that speaks to `endpoint`, and `more`.
pub fn environment(endpoint: &str, more: &[(&str, &str)]) -> Environment {
    let always = [
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
        ("AWS_REGION", "us-east-1"),
        ("AWS_ENDPOINT_URL", endpoint),
    ];
    Environment::from_vars(|name| {
        let set = more.iter().chain(&always).find(|(set, _)| *set == name);
        set.map(|(_, value)| (*value).to_owned())
    })
}

/// The table of this name, which may not have been made yet.
pub fn dynamo(endpoint: &str, name: &str, clock: Arc<dyn Clock>) -> DynamoTable {
    let environment = environment(endpoint, &[("REEVE_TABLE", name)]);
    let sdk = Sdk::new(&environment).expect("it has a region and credentials");
    DynamoTable::new(&sdk, &environment, clock).expect("it has a name")
}

/// Where `./tests/run` has put it, or as the machine has it.
fn program() -> PathBuf {
    let tests = std::env::current_exe().expect("a test knows its own path");
    let target = tests.ancestors().nth(3).expect("tests lie in <target>/<profile>/deps");
    let own = target.join("tools/aws/bin/ministack");
    if own.exists() { own } else { "ministack".into() }
}

impl Own {
    fn log(&self) -> String {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        let pid = Pid::from_child(&self.child);
        let process = pidfd_open(pid, PidfdFlags::empty()).expect("a child not waited for");
        // It takes down what it runs, functions and containers; what is left then is not asked.
        let _ = kill_process_group(pid, Signal::TERM);
        let _ = poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&FAREWELL));
        let _ = kill_process_group(pid, Signal::KILL);
        self.child.wait().expect("it can be waited for");
        if std::thread::panicking() {
            show(&self.log());
        }
    }
}

#[expect(clippy::print_stderr, reason = "a test that fails shows what the emulator logged")]
fn show(log: &str) {
    eprintln!("--- the emulator logged:\n{log}---");
}
