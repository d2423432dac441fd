//! Finding the processes of a sandbox, whoever started it, and ending them.
//!
//! The supervisor is whoever holds the record lock on `alive`: the kernel says who that is and
//! takes the lock away at its death. The first process stands in that file by pid and start time.
//! Both are held by pidfd, which never names another process.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{
    Flock, FlockOffsetType, FlockType, Pid, PidfdFlags, Signal, WaitId, WaitIdOptions,
};
use tokio::net::UnixStream;

/// The file whose lock shows that a supervisor lives.
pub(super) const ALIVE: &str = "alive";

/// How long a supervisor may take to reap its child before it is killed, too.
const REAPING: Duration = Duration::from_secs(2);

/// A process, named so that its pid's next owner is not mistaken for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Process {
    pid: u32,
    /// In clock ticks since boot.
    start: u64,
}

impl Process {
    /// Names the process that has `pid` now.
    pub(super) fn of(pid: u32) -> io::Result<Self> {
        let fields = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // The second field is a name in parentheses, in which anything may stand.
        let start = fields
            .rsplit_once(')')
            .and_then(|(_, rest)| rest.split_ascii_whitespace().nth(19))
            .and_then(|ticks| ticks.parse().ok())
            .ok_or_else(|| io::Error::other("/proc/<pid>/stat has an unknown form"))?;
        Ok(Self { pid, start })
    }

    fn open(self) -> io::Result<Option<Held>> {
        let Some(held) = Held::open(self.pid)? else { return Ok(None) };
        // Looked at after it was opened: from here on the descriptor means this one.
        Ok((Self::of(self.pid).is_ok_and(|now| now == self)).then_some(held))
    }
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.pid, self.start)
    }
}

impl FromStr for Process {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (pid, start) = text.split_once(' ').ok_or(())?;
        Ok(Self { pid: pid.parse().map_err(drop)?, start: start.parse().map_err(drop)? })
    }
}

/// A process that can be waited for and killed.
///
/// A pidfd in the clothes of a socket: the runtime waits for any descriptor the same way, but
/// `AsyncFd`, which is for the others, has no safe constructor. Nothing is read from it or written.
#[derive(Debug)]
pub(super) struct Held(UnixStream);

impl Held {
    /// Holds the process that has `pid` now, if one has.
    pub(super) fn open(pid: u32) -> io::Result<Option<Self>> {
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| io::Error::other("not a pid"))?;
        match rustix::process::pidfd_open(pid, PidfdFlags::NONBLOCK) {
            Ok(fd) => Ok(Some(Self(UnixStream::from_std(fd.into())?))),
            Err(Errno::SRCH) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Returns once it has ended.
    pub(super) async fn ended(&self) {
        // An error means that the runtime shuts down, and then nobody waits any more.
        drop(self.0.readable().await);
        // Reaped if it is a child of ours; what an earlier process started is not.
        let _ = rustix::process::waitid(
            WaitId::PidFd(self.fd()),
            WaitIdOptions::EXITED | WaitIdOptions::NOHANG,
        );
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    pub(super) fn kill(&self) {
        // Refused only for what has ended already.
        let _ = rustix::process::pidfd_send_signal(self.fd(), Signal::KILL);
    }
}

/// The supervisor of the sandbox in `dir`, if it lives.
pub(super) fn supervisor(dir: &Path) -> io::Result<Option<Held>> {
    let file = match File::options().write(true).open(dir.join(ALIVE)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let Some(pid) = holder(&file)? else { return Ok(None) };
    let Some(held) = Held::open(pid)? else { return Ok(None) };
    // Still the holder, so the descriptor is of the holder and not of a later owner of its pid.
    Ok((holder(&file)? == Some(pid)).then_some(held))
}

fn holder(file: &File) -> io::Result<Option<u32>> {
    let ours = Flock {
        start: 0,
        length: 0,
        pid: None,
        typ: FlockType::WriteLock,
        offset_type: FlockOffsetType::Set,
    };
    match rustix::process::fcntl_getlk(file, &ours)? {
        None => Ok(None),
        Some(Flock { pid: Some(pid), .. }) => Ok(Some(pid.as_raw_nonzero().get().unsigned_abs())),
        Some(_) => {
            Err(io::Error::other("the supervisor lives in a pid namespace out of our sight"))
        }
    }
}

fn first_process(dir: &Path) -> io::Result<Option<Held>> {
    match fs::read_to_string(dir.join(ALIVE)) {
        // What cannot be read was not written to the end: that process never got its document.
        Ok(text) => text.parse::<Process>().map_or(Ok(None), Process::open),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Kills everything in the sandbox of `dir` and returns when nothing of it is left.
pub(super) async fn end(dir: &Path) -> io::Result<()> {
    let supervisor = supervisor(dir)?;
    // The first process takes all others of its pid namespace with it, and is gone after them.
    if let Some(first) = first_process(dir)? {
        first.kill();
        first.ended().await;
    } else if let Some(supervisor) = &supervisor {
        supervisor.kill();
    }
    if let Some(supervisor) = supervisor {
        // It reaps its child and ends by itself, so that no zombie is left where nobody reaps.
        if tokio::time::timeout(REAPING, supervisor.ended()).await.is_err() {
            supervisor.kill();
            supervisor.ended().await;
        }
    }
    // Started between the two looks above. Its supervisor is gone, so this one is the last.
    if let Some(first) = first_process(dir)? {
        first.kill();
        first.ended().await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_reads_back_as_it_was_written() {
        let me = Process::of(std::process::id()).unwrap();
        assert_eq!(me.to_string().parse(), Ok(me));
        assert!("".parse::<Process>().is_err());
        assert!("12".parse::<Process>().is_err());
    }

    #[tokio::test]
    async fn the_next_owner_of_a_pid_is_not_held() {
        let me = Process::of(std::process::id()).unwrap();
        assert!(me.open().unwrap().is_some());
        assert!(Process { start: me.start + 1, ..me }.open().unwrap().is_none());
    }

    #[tokio::test]
    async fn what_nobody_locks_is_dead() {
        let dir = tempfile::tempdir().unwrap();
        assert!(supervisor(dir.path()).unwrap().is_none());
        fs::write(dir.path().join(ALIVE), "").unwrap();
        assert!(supervisor(dir.path()).unwrap().is_none());
        end(dir.path()).await.unwrap();
    }
}
