//! A reeve, as a process of its own.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::Result;
use super::client::Client;

/// A reeve that runs.
#[derive(Debug)]
pub(crate) struct Reeve {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// The first key of its realm.
    pub(crate) key: String,
    /// From being started to being ready.
    pub(crate) ready: Duration,
    data: PathBuf,
    child: Child,
}

impl Reeve {
    /// Starts one and waits until it is ready.
    pub(crate) fn start(binary: &Path, data: &Path) -> Result<Self> {
        // Wherever a log of a service goes: to a file.
        let log = File::create(data.with_extension("log"))?;
        let started = Instant::now();
        let mut child = Command::new(binary)
            .args(["up", "--json", "--listen", "127.0.0.1:0", "--data"])
            .arg(data)
            .env_remove("REEVE_BOOTSTRAP_KEY")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .map_err(|error| format!("{}: {error}", binary.display()))?;
        let mut line = String::new();
        if let Some(out) = child.stdout.take() {
            BufReader::new(out).read_line(&mut line)?;
        }
        let ready = started.elapsed();
        let said: Value = serde_json::from_str(&line).map_err(|_| {
            let log = std::fs::read_to_string(data.with_extension("log")).unwrap_or_default();
            format!("reeve did not start: {log}")
        })?;
        let text = |name: &str| said[name].as_str().unwrap_or_default().to_owned();
        Ok(Self {
            address: text("url").trim_start_matches("http://").parse()?,
            key: text("apiKey"),
            ready,
            data: data.to_owned(),
            child,
        })
    }

    /// Kills it, as a power cut would: what it runs runs on.
    pub(crate) fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// A connection of its own to it.
    pub(crate) async fn client(&self) -> Result<Client> {
        Client::connect(self.address, &self.key).await
    }

    /// Megabytes of it that are in memory.
    pub(crate) fn resident(&self) -> Result<f64> {
        resident(self.child.id())
    }

    /// Seconds of processor time it has used.
    pub(crate) fn cpu(&self) -> Result<f64> {
        cpu(self.child.id())
    }

    /// The shims that run, by pid: the first processes of its sandboxes.
    pub(crate) fn shims(&self) -> Result<Vec<u32>> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(self.data.join("containers"))? {
            let alive = std::fs::read_to_string(entry?.path().join("alive")).unwrap_or_default();
            found.extend(alive.split(' ').next().and_then(|pid| pid.parse::<u32>().ok()));
        }
        Ok(found)
    }

    /// How many processes there are of the shim's file: shims, and the agents that are built into it.
    pub(crate) fn processes(&self) -> Result<usize> {
        let file = |path: &Path| std::fs::metadata(path).map(|found| (found.dev(), found.ino()));
        let mut shims = BTreeSet::new();
        for entry in std::fs::read_dir(self.data.join("bin"))? {
            shims.insert(file(&entry?.path())?);
        }
        let mut count = 0;
        for entry in std::fs::read_dir("/proc")? {
            // What is no process has none, and one may end at any moment.
            let of = file(&entry?.path().join("exe"));
            count += usize::from(of.is_ok_and(|of| shims.contains(&of)));
        }
        Ok(count)
    }

    /// The bytes of the shim that it carries.
    pub(crate) fn shim_bytes(&self) -> Result<u64> {
        let entry = std::fs::read_dir(self.data.join("bin"))?.next();
        Ok(entry.ok_or("reeve puts its shim into its data directory")??.metadata()?.len())
    }
}

impl Drop for Reeve {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        // It stops what it runs. Where it cannot, its sandboxes end by themselves.
        let pid = Pid::from_child(&self.child);
        let _ = kill_process(pid, Signal::TERM);
        drop(self.child.wait());
    }
}

/// Megabytes of a process that are in memory, shared pages included.
pub(crate) fn resident(pid: u32) -> Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok());
    Ok(kilobytes.ok_or("a process has no VmRSS")? / 1024.0)
}

/// Seconds of processor time a process has used, in user space and in the kernel.
pub(crate) fn cpu(pid: u32) -> Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, fields) = stat.rsplit_once(')').ok_or("/proc/<pid>/stat has an unknown form")?;
    let ticks = fields.split_ascii_whitespace().skip(11).take(2).map(str::parse::<f64>);
    let ticks: f64 = ticks.sum::<std::result::Result<f64, _>>()?;
    Ok(ticks / 100.0)
}
