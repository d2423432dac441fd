//! The tree of processes, as `/proc` shows it, and ending a part of it.

use std::collections::BTreeSet;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::time::Instant;

use super::Children;
use crate::time::pass;

/// The variable that marks every process of one agent, however far it strays.
pub(crate) const MARK: &str = "REEVE_INSTANCE";

/// How long a tree may take to end by itself.
const GRACE: Duration = Duration::from_secs(1);

/// One process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    pub(crate) pid: i32,
    pub(crate) parent: i32,
    group: i32,
    pub(crate) zombie: bool,
}

/// Every process there is. Empty where there is no `/proc`.
pub(crate) fn all() -> Vec<Seen> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries.flatten().filter_map(|entry| see(entry.file_name().to_str()?.parse().ok()?)).collect()
}

fn see(pid: i32) -> Option<Seen> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name stands in parentheses and may hold anything, also parentheses.
    let mut fields = stat.get(stat.rfind(')')? + 1..)?.split_ascii_whitespace();
    let zombie = matches!(fields.next()?, "Z" | "X");
    Some(Seen {
        pid,
        zombie,
        parent: fields.next()?.parse().ok()?,
        group: fields.next()?.parse().ok()?,
    })
}

fn marked(pid: i32, mark: &str) -> bool {
    let wanted = format!("{MARK}={mark}");
    std::fs::read(format!("/proc/{pid}/environ"))
        .is_ok_and(|all| all.split(|byte| *byte == 0).any(|entry| entry == wanted.as_bytes()))
}

/// The real uid of a process, which it cannot hide.
fn uid_of(pid: i32) -> Option<u32> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

/// How every process of one agent's instance is known, however far it strays.
#[derive(Clone, Debug)]
pub(crate) struct Kin {
    /// The first of them, or what was.
    pub(crate) root: i32,
    /// What all of them bear.
    pub(crate) mark: String,
    /// The uid that is the agent's own.
    pub(crate) uid: Option<u32>,
    pub(crate) children: Children,
}

impl Kin {
    /// The descendants of the first, its group, what bears the mark, what nobody else of its uid can
    /// have started, and, while no other agent lives, every orphan. Also what has ended and was not
    /// waited for: that, too, takes a number.
    pub(crate) fn family(&self) -> BTreeSet<i32> {
        self.gather(&all())
    }

    /// Those of them that live.
    fn members(&self) -> BTreeSet<i32> {
        let seen = all();
        let mut members = self.gather(&seen);
        members.retain(|pid| seen.iter().any(|one| one.pid == *pid && !one.zombie));
        members
    }

    fn gather(&self, seen: &[Seen]) -> BTreeSet<i32> {
        let me = rustix::process::getpid().as_raw_nonzero().get();
        let Self { root, children, .. } = self;
        let mut members: BTreeSet<i32> = BTreeSet::new();
        for process in seen {
            let orphan = process.parent == me && !children.claimed(process.pid);
            if (process.pid == *root && children.claimed(*root))
                || process.group == *root
                || (orphan && self.owns(process.pid))
            {
                members.insert(process.pid);
            }
        }
        loop {
            let before = members.len();
            for process in seen {
                if members.contains(&process.parent) {
                    members.insert(process.pid);
                }
            }
            if members.len() == before {
                break;
            }
        }
        members.remove(&me);
        members
    }

    /// Whether the orphan `pid` is one of them. The environment of one of another uid cannot be read.
    fn owns(&self, pid: i32) -> bool {
        let ours = |uid| self.children.only_of(self.root, uid) && uid_of(pid) == Some(uid);
        self.children.only(self.root) || marked(pid, &self.mark) || self.uid.is_some_and(ours)
    }
}

fn send(root: i32, members: &BTreeSet<i32>, signal: Signal) {
    // A process that is gone in the meantime has what it was to get.
    if let Some(group) = Pid::from_raw(root) {
        kill_process_group(group, signal).unwrap_or_default();
    }
    for pid in members.iter().filter_map(|pid| Pid::from_raw(*pid)) {
        kill_process(pid, signal).unwrap_or_default();
    }
}

impl Kin {
    /// Ends all of them: TERM, a second, then KILL until nothing is left.
    pub(crate) async fn kill(&self) {
        let mut left = self.members();
        send(self.root, &left, Signal::TERM);
        let deadline = Instant::now() + GRACE;
        let mut step = Duration::from_millis(2);
        while !left.is_empty() && Instant::now() < deadline {
            pass(step).await;
            step = (step * 2).min(Duration::from_millis(50));
            left = self.members();
        }
        self.kill_at_once().await;
    }

    /// Ends all of them without asking.
    pub(crate) async fn kill_at_once(&self) {
        let mut left = self.members();
        // Who forks faster than it is found is stopped first: a stopped process forks no more.
        for _ in 0..100 {
            if left.is_empty() {
                return;
            }
            send(self.root, &left, Signal::STOP);
            left.extend(self.members());
            send(self.root, &left, Signal::KILL);
            pass(Duration::from_millis(5)).await;
            left = self.members();
        }
    }
}
