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

/// Every process of the agent whose first process is, or was, `root`: its descendants, its group,
/// what bears its `mark`, and, while no other agent lives, every orphan. Also what has ended and was
/// not waited for: that, too, takes a number.
pub(crate) fn family(root: i32, mark: &str, children: &Children) -> BTreeSet<i32> {
    gather(root, mark, children, &all())
}

/// Those of them that live.
fn members(root: i32, mark: &str, children: &Children) -> BTreeSet<i32> {
    let seen = all();
    let mut members = gather(root, mark, children, &seen);
    members.retain(|pid| seen.iter().any(|one| one.pid == *pid && !one.zombie));
    members
}

fn gather(root: i32, mark: &str, children: &Children, seen: &[Seen]) -> BTreeSet<i32> {
    let me = rustix::process::getpid().as_raw_nonzero().get();
    let alone = children.count() <= usize::from(children.claimed(root));
    let mut members: BTreeSet<i32> = BTreeSet::new();
    for process in seen {
        let orphan = process.parent == me && !children.claimed(process.pid);
        if (process.pid == root && children.claimed(root))
            || process.group == root
            || (orphan && (alone || marked(process.pid, mark)))
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

fn send(root: i32, members: &BTreeSet<i32>, signal: Signal) {
    // A process that is gone in the meantime has what it was to get.
    if let Some(group) = Pid::from_raw(root) {
        kill_process_group(group, signal).unwrap_or_default();
    }
    for pid in members.iter().filter_map(|pid| Pid::from_raw(*pid)) {
        kill_process(pid, signal).unwrap_or_default();
    }
}

/// Ends the tree of `root`: TERM, a second, then KILL until nothing is left.
pub(crate) async fn kill(root: i32, mark: &str, children: &Children) {
    let mut left = members(root, mark, children);
    send(root, &left, Signal::TERM);
    let deadline = Instant::now() + GRACE;
    let mut step = Duration::from_millis(2);
    while !left.is_empty() && Instant::now() < deadline {
        pass(step).await;
        step = (step * 2).min(Duration::from_millis(50));
        left = members(root, mark, children);
    }
    kill_at_once(root, mark, children).await;
}

/// Ends the tree of `root` without asking.
pub(crate) async fn kill_at_once(root: i32, mark: &str, children: &Children) {
    let mut left = members(root, mark, children);
    // Who forks faster than it is found is stopped first: a stopped process forks no more.
    for _ in 0..100 {
        if left.is_empty() {
            return;
        }
        send(root, &left, Signal::STOP);
        left.extend(members(root, mark, children));
        send(root, &left, Signal::KILL);
        pass(Duration::from_millis(5)).await;
        left = members(root, mark, children);
    }
}
