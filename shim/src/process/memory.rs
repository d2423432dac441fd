//! Whether the kernel has ended processes of this container because memory was out.
//!
//! What holds here: a limit of memory that the kernel keeps is told as what it was. Where the kernel
//! keeps none, or does not show its count, nothing is told.

use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use wire::shim::Boot;

/// What a sandbox shows in the directory of its mounts.
const SHOWN: &str = "killed";

/// What container runtimes show, of version 2 of control groups and of version 1.
const RUNTIMES: [&str; 2] =
    ["/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control"];

/// The kernel's count, and how much of it has been told of.
#[derive(Clone, Debug)]
pub(crate) struct Killed(Rc<State>);

#[derive(Debug)]
struct State {
    count: Option<PathBuf>,
    told: Cell<u64>,
}

impl Killed {
    /// Counts from here on.
    pub(crate) fn watch(boot: &Boot) -> Self {
        let shown = boot.walls.mounts.as_deref().map(|mounts| Path::new(mounts).join(SHOWN));
        // Outside of a container the count is the machine's.
        let contained = boot.walls.around.has(domain::walls::Wall::MemoryCgroup);
        let mut all = shown.into_iter().chain(RUNTIMES.map(PathBuf::from));
        let count = all.find(|path| contained && count(path).is_some());
        let told = Cell::new(count.as_deref().and_then(self::count).unwrap_or_default());
        Self(Rc::new(State { count, told }))
    }

    /// Whether there are more than have been told of.
    pub(crate) fn more(&self) -> bool {
        let now = self.0.count.as_deref().and_then(count);
        now.is_some_and(|now| now > self.0.told.get())
    }

    /// All of them have been told of.
    pub(crate) fn told(&self) {
        if let Some(now) = self.0.count.as_deref().and_then(count) {
            self.0.told.set(now);
        }
    }
}

fn count(path: &Path) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    text.lines().find_map(|line| line.strip_prefix("oom_kill "))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_counts_is_told_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("memory.events");
        let of = |count: u64| {
            format!("low 0\nhigh 3\nmax 7\noom 2\noom_kill {count}\noom_group_kill 0\n")
        };
        fs::write(&path, of(2)).unwrap();
        let killed = Killed(Rc::new(State { count: Some(path.clone()), told: Cell::new(2) }));
        assert!(!killed.more());
        fs::write(&path, of(3)).unwrap();
        assert!(killed.more() && killed.clone().more());
        killed.told();
        assert!(!killed.more());
    }

    #[test]
    fn the_older_form_is_read_and_what_is_missing_counts_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("memory.oom_control");
        fs::write(&path, "oom_kill_disable 0\nunder_oom 0\noom_kill 4\n").unwrap();
        assert_eq!(count(&path), Some(4));
        assert_eq!(count(&dir.path().join("gone")), None);
        assert!(!Killed(Rc::new(State { count: None, told: Cell::new(0) })).more());
    }
}
