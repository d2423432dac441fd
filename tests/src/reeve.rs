//! A real `reeve`, as a process of its own: started, killed, started again, and gone without a trace.
//!
//! What holds here: each has its own data directory and its own port. When the value is dropped,
//! nothing it started is left, and a test that ended well fails if something had to be killed.

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use serde::Deserialize;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::ChildStdout;
use tokio::time::timeout;

use crate::http::{Client, PATIENCE};

/// Where the binary is that these tests were built with.
pub fn binary() -> PathBuf {
    let tests = std::env::current_exe().expect("a test knows its own path");
    let here = tests.parent().and_then(Path::parent).expect("tests lie in <target>/<profile>/deps");
    let binary = here.join("reeve");
    assert!(
        binary.exists(),
        "{} is missing: cargo build --package reeve --features failpoints",
        binary.display()
    );
    binary
}

/// Where `./tests/run` puts the tools that are not built here.
pub fn tools() -> PathBuf {
    binary().ancestors().nth(2).expect("<target>/<profile>/reeve").join("tools")
}

/// How one is started.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// More arguments of `reeve up`.
    pub args: Vec<OsString>,
    /// What starts it, with its program and its arguments behind: it starts itself otherwise.
    pub before: Vec<OsString>,
    /// More environment: `FAILPOINTS`, for example.
    pub env: Vec<(OsString, OsString)>,
}

impl Options {
    /// With one more argument.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// With one more variable.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }
}

/// What `reeve up --json` says when it is ready: one line, and never another.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Ready {
    url: String,
    api_key: String,
    realm_id: String,
}

/// A `reeve` that runs, or did.
#[derive(Debug)]
pub struct Reeve {
    /// Where it listens. Another one after a restart.
    pub url: String,
    /// The first key of its realm.
    pub key: String,
    /// Its realm.
    pub realm_id: String,
    process: Option<(Child, BufReader<ChildStdout>)>,
    data: PathBuf,
    errors: PathBuf,
    _dir: TempDir,
}

impl Reeve {
    /// One with an empty data directory, ready to answer.
    pub async fn start(options: Options) -> Self {
        let mut reeve = Self::new();
        reeve.restart(options).await;
        reeve
    }

    /// One with an empty data directory that has not been started.
    #[expect(clippy::new_without_default, reason = "it makes a directory")]
    pub fn new() -> Self {
        let dir =
            tempfile::Builder::new().prefix("reeve-").tempdir().expect("a temporary directory");
        Self {
            url: String::new(),
            key: String::new(),
            realm_id: String::new(),
            process: None,
            data: dir.path().join("data"),
            errors: dir.path().join("stderr"),
            _dir: dir,
        }
    }

    /// Starts it again on the same data. It must not be running.
    pub async fn restart(&mut self, options: Options) {
        if let Err(errors) = self.try_restart(options).await {
            panic!("reeve did not start:\n{errors}");
        }
    }

    /// Starts it again on the same data. What it logged, if it ended before it was ready.
    pub async fn try_restart(&mut self, options: Options) -> Result<(), String> {
        assert!(self.process.is_none(), "it still runs");
        let errors = OpenOptions::new().create(true).append(true).open(&self.errors);
        let mut command: Vec<OsString> = options.before;
        command.push(binary().into());
        let mut child = Command::new(&command[0])
            .args(&command[1..])
            .args(["up", "--listen", "127.0.0.1:0", "--json", "--data"])
            .arg(&self.data)
            .args(options.args)
            .envs(options.env)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(errors.expect("the log can be written"))
            .spawn()
            .expect("reeve can be started");
        let stdout = child.stdout.take().expect("stdout is a pipe");
        let stdout = ChildStdout::from_std(stdout).expect("a pipe can be polled");
        let (child, stdout) = self.process.insert((child, BufReader::new(stdout)));
        let mut line = String::new();
        let read = timeout(PATIENCE, stdout.read_line(&mut line)).await;
        if read.is_ok_and(|read| read.is_ok_and(|bytes| bytes == 0)) {
            child.wait().expect("it can be waited for");
            self.process = None;
            return Err(self.log());
        }
        let ready: Ready = serde_json::from_str(&line)
            .unwrap_or_else(|error| panic!("{error} in {line:?}:\n{}", self.log()));
        self.url = ready.url;
        self.key = ready.api_key;
        self.realm_id = ready.realm_id;
        Ok(())
    }

    /// Whoever holds its first key.
    pub fn client(&self) -> Client {
        Client::new(&self.url, Some(&self.key))
    }

    /// Its data directory.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// Its process.
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.process.as_ref().expect("it runs").0)
    }

    /// What it logged, in all its lives.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.errors).unwrap_or_default()
    }

    /// Kills it, as a power cut would. What runs in its containers goes on.
    pub fn kill9(&mut self) {
        let (mut child, _) = self.process.take().expect("it runs");
        child.kill().expect("it can be killed");
        child.wait().expect("it can be waited for");
    }

    /// Asks it to stop. It must do so in time and by itself, having said nothing but that one line.
    pub async fn stop(&mut self) {
        let (mut child, mut stdout) = self.process.take().expect("it runs");
        let status = end(&mut child);
        assert!(status.is_some_and(|status| status.success()), "{status:?}:\n{}", self.log());
        let mut more = String::new();
        stdout.read_to_string(&mut more).await.expect("stdout can be read");
        assert_eq!(more, "", "stdout is for the one line");
    }

    /// Asks it to stop, and does not wait.
    pub fn terminate(&self) {
        kill_process(self.pid(), Signal::TERM).expect("a child can be signalled");
    }

    /// Waits until it has ended by itself: at a fault point, for example.
    pub async fn ended(&mut self) -> ExitStatus {
        let (mut child, mut stdout) = self.process.take().expect("it runs");
        let mut more = String::new();
        let closed = timeout(PATIENCE, stdout.read_to_string(&mut more)).await;
        closed.expect("it ends in time").expect("stdout can be read");
        child.wait().expect("it can be waited for")
    }
}

impl Drop for Reeve {
    fn drop(&mut self) {
        let stubborn = self.process.take().is_some_and(|(mut child, _)| end(&mut child).is_none());
        // After `kill9`, what runs in its containers is still there: by design, not by accident.
        for pid in mentioning(&self.data) {
            kill(pid);
        }
        if std::thread::panicking() {
            show(&self.log());
        } else {
            assert!(!stubborn, "reeve did not stop when it was asked to:\n{}", self.log());
        }
    }
}

#[expect(clippy::print_stderr, reason = "a test that fails shows what reeve logged")]
fn show(log: &str) {
    eprintln!("--- reeve logged:\n{log}---");
}

/// Asks a process to end and waits; kills it where it does not, and then has no status.
fn end(child: &mut Child) -> Option<ExitStatus> {
    let pid = Pid::from_child(child);
    let process = pidfd_open(pid, PidfdFlags::empty()).expect("a child that was not waited for");
    kill_process(pid, Signal::TERM).expect("a child can be signalled");
    let gone = ends(&process, PATIENCE);
    if !gone {
        child.kill().expect("it can be killed");
    }
    let status = child.wait().expect("it can be waited for");
    gone.then_some(status)
}

fn kill(pid: Pid) {
    let Ok(process) = pidfd_open(pid, PidfdFlags::empty()) else { return };
    let _ = kill_process(pid, Signal::KILL);
    assert!(ends(&process, PATIENCE), "{pid:?} survives SIGKILL");
}

fn ends(process: impl std::os::fd::AsFd, within: Duration) -> bool {
    let within = Timespec::try_from(within).expect("seconds");
    poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&within)).is_ok_and(|ready| ready == 1)
}

/// The processes that have something to do with `path`: by their arguments, environment or mounts.
pub fn mentioning(path: &Path) -> Vec<Pid> {
    let needle = path.as_os_str().as_bytes();
    let mentions = |file: PathBuf| {
        fs::read(file).is_ok_and(|text| text.windows(needle.len()).any(|part| part == needle))
    };
    let processes = fs::read_dir("/proc").expect("/proc is there").flatten().filter_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok().and_then(Pid::from_raw)?;
        let found = ["cmdline", "environ", "mountinfo"];
        found.iter().any(|file| mentions(entry.path().join(file))).then_some(pid)
    });
    processes.collect()
}
