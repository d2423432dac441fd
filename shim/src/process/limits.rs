//! What an agent has taken, looked at now and then.
//!
//! What holds here: a limit that is passed is seen within a look or two, and is named. What a kernel
//! can stop by itself (open files, processes of one uid, the size of a file, a full `/tmp`) it has
//! stopped before; the rest may be passed by as much as is taken between two looks. Processes may be
//! refused before the limit is reached, too: see [`crowd`](super::crowd).

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use domain::limits::{Limit, Limits, Passed, Taken};
use tokio::time::Instant;
use wire::shim::failure;

use super::crowd::Crowd;
use super::memory::Killed;
use super::tree::Kin;
use super::walls::{Place, Scratch};
use crate::time::pass;

/// Between two looks.
const LOOK: Duration = Duration::from_millis(200);

/// A look at the disk may take this part of the time.
const DISK_SHARE: u32 = 20;

/// The shortest time between two looks at the disk.
const DISK: Duration = Duration::from_secs(1);

/// A limit that an agent has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reached {
    /// It took all it may.
    Passed(Passed),
    /// It has so many processes, may have so many, and gets no more.
    Crowded { has: u64, allowed: u64 },
}

impl Reached {
    /// Which one.
    pub(crate) fn limit(self) -> Limit {
        match self {
            Self::Passed(passed) => passed.limit,
            Self::Crowded { .. } => Limit::Processes,
        }
    }
}

impl fmt::Display for Reached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Passed(passed) => passed.fmt(f),
            Self::Crowded { has, allowed } => write!(
                f,
                "the agent has {has} of the {allowed} processes it may have, and the kernel goes on \
                 refusing it more"
            ),
        }
    }
}

/// One agent's limits, and what it had taken when it started.
#[derive(Debug)]
pub(crate) struct Watch {
    limits: Limits,
    directories: [PathBuf; 2],
    /// Where there is no scratch of its own: what all agents of the container write to.
    shared: Option<Shared>,
    killed: Killed,
    crowd: Crowd,
    /// The process that had most memory when it was last looked at.
    largest: Option<i32>,
    before: Option<Taken>,
    disk: Taken,
    next: Instant,
}

impl Watch {
    pub(crate) fn new(place: &Place, shared: Option<Shared>, killed: Killed, crowd: Crowd) -> Self {
        Self {
            limits: place.limits,
            directories: [place.workspace.clone(), place.home.clone()],
            shared,
            killed,
            crowd,
            largest: None,
            before: None,
            disk: Taken::default(),
            next: Instant::now(),
        }
    }

    /// Returns when a limit is reached. `kin` are the agent's processes.
    pub(crate) async fn reached(mut self, scratch: Option<&Scratch>, kin: &Kin) -> Reached {
        loop {
            if Instant::now() >= self.next {
                self.look_at_disk().await;
            }
            let family = kin.family();
            if self.lost_one(kin, &family) {
                self.killed.told();
                return Reached::Passed(out_of_memory(&self.limits));
            }
            let scratch_full = scratch.is_some_and(Scratch::is_full)
                || self.shared.as_ref().is_some_and(Shared::is_full_of_its);
            let (taken, largest) = of_processes(&family, self.disk);
            self.largest = largest;
            let now = Taken { scratch_full, ..taken };
            if let Some(passed) = self.limits.passed(&now, &self.before.unwrap_or_default()) {
                return Reached::Passed(passed);
            }
            let has = now.processes;
            if self.crowd.is_at_its_limit(has).await {
                return Reached::Crowded { has, allowed: self.limits.processes };
            }
            pass(LOOK).await;
        }
    }

    /// Whether the kernel has ended a process of this agent because memory was out. It ends the largest;
    /// whose that was is not said, where several agents are in the container.
    fn lost_one(&self, kin: &Kin, family: &BTreeSet<i32>) -> bool {
        let gone = || self.largest.is_some_and(|largest| !family.contains(&largest));
        self.killed.more() && (kin.children.only(kin.root) || gone())
    }

    async fn look_at_disk(&mut self) {
        let (directories, limits) = (self.directories.clone(), self.limits);
        let begun = Instant::now();
        let look = tokio::task::spawn_blocking(move || on_disk(&directories, &limits));
        self.disk = look.await.unwrap_or_default();
        self.before.get_or_insert(self.disk);
        self.next = Instant::now() + (begun.elapsed() * DISK_SHARE).max(DISK);
    }
}

/// The stable code of a run that passed `limit`.
pub(crate) fn code(limit: Limit) -> &'static str {
    match limit {
        Limit::Memory => failure::MEMORY_LIMIT,
        Limit::Processes => failure::PROCESS_LIMIT,
        Limit::Files => failure::FILE_LIMIT,
        Limit::Disk | Limit::Inodes | Limit::Scratch => failure::DISK_LIMIT,
    }
}

/// The limit that was passed where the kernel has ended a process because memory was out.
pub(crate) fn out_of_memory(limits: &Limits) -> Passed {
    Passed { limit: Limit::Memory, allowed: limits.memory }
}

/// What `members` have, beside what is known of the disk, and which of them has most memory.
fn of_processes(members: &BTreeSet<i32>, disk: Taken) -> (Taken, Option<i32>) {
    let mut taken = disk;
    let mut largest = (0, None);
    for pid in members {
        // One that is gone has nothing.
        let Ok(status) = fs::read_to_string(format!("/proc/{pid}/status")) else { continue };
        let number = |name: &str| -> u64 {
            let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            let value = value.and_then(|value| value.split_ascii_whitespace().next());
            value.and_then(|value| value.parse().ok()).unwrap_or_default()
        };
        taken.processes += number("Threads").max(1);
        // Pages of files can be given up at any time: they are nobody's.
        let memory = (number("RssAnon") + number("RssShmem")) * 1024;
        taken.memory += memory;
        largest = largest.max((memory, Some(*pid)));
        taken.files = taken.files.max(open_files(*pid));
    }
    (taken, largest.1)
}

fn open_files(pid: i32) -> u64 {
    let path = format!("/proc/{pid}/fd");
    // Since Linux 6.2 this is their number, for everybody to see.
    match fs::metadata(&path).map(|metadata| metadata.len()) {
        Ok(0) => fs::read_dir(path).map_or(0, |entries| entries.count() as u64),
        Ok(number) => number,
        Err(_) => 0,
    }
}

/// `/tmp` and `/dev/shm` of a container whose agents have none of their own.
#[derive(Clone, Debug)]
pub(crate) struct Shared {
    directories: Vec<PathBuf>,
    uid: Option<u32>,
}

impl Shared {
    /// What an agent of `uid` shares in `directories`, which are file systems of their own.
    pub(crate) fn new(directories: &[&str], uid: Option<u32>) -> Self {
        Self { directories: directories.iter().map(PathBuf::from).collect(), uid }
    }

    /// Removes what the agent left there: for its next start they are as empty as if they were its own.
    pub(crate) fn clear(&self) {
        for directory in &self.directories {
            for (path, metadata) in entries(directory) {
                if self.uid.is_some_and(|uid| uid != metadata.uid()) {
                    continue;
                }
                let removed = if metadata.is_dir() {
                    fs::remove_dir_all(path)
                } else {
                    fs::remove_file(path)
                };
                // What cannot be taken away goes with the container.
                removed.unwrap_or_default();
            }
        }
    }

    /// Whether one is full, and half of it is the agent's: at most one agent is blamed, and one who
    /// finds no room is not.
    fn is_full_of_its(&self) -> bool {
        self.directories.iter().any(|directory| {
            let Ok(is) = rustix::fs::statvfs(directory) else { return false };
            if is.f_bavail > 0 && is.f_ffree > 0 {
                return false;
            }
            let its = owned(directory, self.uid);
            its.disk * 2 >= is.f_blocks * is.f_frsize || its.inodes * 2 >= is.f_files
        })
    }
}

/// What of a directory is of `uid`, or all of it.
fn owned(directory: &Path, uid: Option<u32>) -> Taken {
    let mut taken = Taken::default();
    let mut open = vec![directory.to_owned()];
    while let Some(directory) = open.pop() {
        for (path, metadata) in entries(&directory) {
            if uid.is_none_or(|uid| metadata.uid() == uid) {
                taken.inodes += 1;
                taken.disk += metadata.blocks() * 512;
            }
            if metadata.is_dir() {
                open.push(path);
            }
        }
    }
    taken
}

/// What is in `directories`. Follows no link, and ends when a limit is passed.
fn on_disk(directories: &[PathBuf], limits: &Limits) -> Taken {
    let mut taken = Taken::default();
    let mut open: Vec<PathBuf> = directories.to_vec();
    while let Some(directory) = open.pop() {
        for (path, metadata) in entries(&directory) {
            taken.inodes += 1;
            taken.disk += metadata.blocks() * 512;
            if metadata.is_dir() {
                open.push(path);
            }
        }
        if taken.disk / 2 > limits.disk || taken.inodes / 2 > limits.inodes {
            break;
        }
    }
    taken
}

fn entries(directory: &Path) -> impl Iterator<Item = (PathBuf, fs::Metadata)> {
    // What the agent removes meanwhile is gone.
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|entry| Some((entry.path(), entry.metadata().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_on_disk_is_counted_and_links_are_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("a")).unwrap();
        fs::write(dir.path().join("a/b"), vec![1; 100_000]).unwrap();
        std::os::unix::fs::symlink("/usr", dir.path().join("link")).unwrap();
        let taken = on_disk(&[dir.path().to_owned()], &Limits::default());
        assert_eq!(taken.inodes, 3);
        assert!((100_000..200_000).contains(&taken.disk), "{taken:?}");
        let gone = on_disk(&[dir.path().join("gone")], &Limits::default());
        assert_eq!(gone, Taken::default());
    }

    #[test]
    fn what_is_shared_is_told_apart_by_who_owns_it() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a"), vec![1; 100_000]).unwrap();
        let mine = rustix::process::geteuid().as_raw();
        assert_eq!(owned(dir.path(), Some(mine)), owned(dir.path(), None));
        assert_eq!(owned(dir.path(), Some(mine)).inodes, 1);
        assert_eq!(owned(dir.path(), Some(mine + 1)), Taken::default());
        let there = || fs::read_dir(dir.path()).unwrap().count();
        let shared = |uid| Shared::new(&[dir.path().to_str().unwrap()], Some(uid));
        fs::create_dir(dir.path().join("b")).unwrap();
        shared(mine + 1).clear();
        assert_eq!(there(), 2);
        shared(mine).clear();
        assert_eq!(there(), 0);
    }

    #[test]
    fn a_process_is_seen_with_what_it_has() {
        let me = i32::try_from(std::process::id()).unwrap();
        let held: Vec<_> = (0..50).map(|_| fs::File::open("/dev/null").unwrap()).collect();
        let (taken, largest) = of_processes(&BTreeSet::from([me]), Taken::default());
        assert_eq!(largest, Some(me));
        assert!(taken.processes >= 1 && taken.memory > 100_000, "{taken:?}");
        assert!(taken.files > held.len() as u64, "{taken:?}");
    }
}
