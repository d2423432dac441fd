//! Running a command.

use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;
use tokio::time::timeout;

const USUAL: u64 = 120;
const LONGEST: u64 = 600;
/// What is kept of the beginning and of the end of each stream.
const KEPT: usize = 32 * 1024;
/// How long what the command left behind may still write.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// Ends a process group when it goes out of scope.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // Gone already is as good.
            kill_process_group(group, Signal::KILL).unwrap_or_default();
        }
    }
}

/// The beginning and the end of what was written.
#[derive(Default)]
struct Written {
    head: Vec<u8>,
    tail: std::collections::VecDeque<u8>,
    left_out: usize,
}

impl Written {
    fn add(&mut self, bytes: &[u8]) {
        let room = KEPT.saturating_sub(self.head.len()).min(bytes.len());
        self.head.extend_from_slice(&bytes[..room]);
        self.tail.extend(&bytes[room..]);
        let surplus = self.tail.len().saturating_sub(KEPT);
        self.tail.drain(..surplus);
        self.left_out += surplus;
    }

    fn text(&self) -> String {
        let mut bytes = self.head.clone();
        if self.left_out > 0 {
            bytes.extend_from_slice(format!("\n[{} bytes left out]\n", self.left_out).as_bytes());
        }
        bytes.extend(&self.tail);
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

async fn drain(stream: Option<impl AsyncRead + Unpin>, written: &mut Written) {
    let Some(mut stream) = stream else { return };
    let mut piece = vec![0; 8192];
    while let Ok(length @ 1..) = stream.read(&mut piece).await {
        written.add(&piece[..length]);
    }
}

pub(super) async fn run(command: &str, seconds: Option<u64>) -> Result<String, String> {
    let limit = Duration::from_secs(seconds.unwrap_or(USUAL).clamp(1, LONGEST));
    let mut child = Command::new("/bin/sh")
        .args(["-c", command])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|why| why.to_string())?;
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
    let mut group = Group(pid);
    let (mut out, mut err) = (Written::default(), Written::default());
    let status = {
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let mut reading = std::pin::pin!(async {
            tokio::join!(drain(stdout, &mut out), drain(stderr, &mut err));
        });
        let waiting = timeout(limit, async {
            tokio::select! {
                status = child.wait() => Some(status),
                // Its streams are closed, it may still work.
                () = &mut reading => None,
            }
        });
        match waiting.await {
            Ok(Some(status)) => {
                // What runs on in the background keeps the streams open.
                timeout(LAST_WORDS, reading).await.unwrap_or_default();
                Some(status)
            }
            Ok(None) => timeout(limit, child.wait()).await.ok(),
            Err(_) => None,
        }
    };
    if status.is_some() {
        // A server started in the background is what was asked for: it lives as long as the agent.
        group.0 = None;
    }
    drop(group);
    let mut text = out.text();
    let errors = err.text();
    if !errors.is_empty() {
        text.push_str("\n[stderr]\n");
        text.push_str(&errors);
    }
    match status {
        Some(Ok(status)) if status.success() => Ok(text),
        Some(Ok(status)) => Err(format!("{text}\n[{status}]")),
        Some(Err(why)) => Err(format!("{text}\n[{why}]")),
        None => Err(format!("{text}\n[ended after {} s]", limit.as_secs())),
    }
}
