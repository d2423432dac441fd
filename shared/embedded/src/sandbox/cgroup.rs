//! A control group for each sandbox, where the host lets this process have some.
//!
//! What holds here
//! - Groups are made below this process's own, so they are never more than it may have, and are found
//!   again by the document of their sandbox: it names them before they are made, and who removes its
//!   directory removes them first.
//! - What is said to be granted has been tried: a group was made, its limit written and read back.
//!   Where a sandbox cannot have the same later, it does not start.
//! - Both forms are known: the one tree of version 2, and the tree of each controller of version 1,
//!   which hosts use that have not changed over.
//!
//! In version 2 only leaves have processes. Where this process is alone in its group, as with
//! `systemd-run --scope -p Delegate=yes`, it moves to a leaf called [`LEAF`], which stays; where it is
//! not, nothing is granted.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use domain::walls::{Standing, Wall};

use crate::ceiling::Ceiling;

/// Where this process goes, so that the group it was in may have others below it.
const LEAF: &str = "reeve";

/// How often, and how long apart, a group is tried to be removed whose processes have just ended.
const TRIES: u32 = 200;
const PAUSE: Duration = Duration::from_millis(10);

/// What is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Controller {
    Memory,
    Pids,
    Cpu,
}

use Controller::{Cpu, Memory, Pids};

impl Controller {
    const ALL: [Self; 3] = [Memory, Pids, Cpu];

    fn name(self) -> &'static str {
        match self {
            Memory => "memory",
            Pids => "pids",
            Cpu => "cpu",
        }
    }

    fn wall(self) -> Wall {
        match self {
            Memory => Wall::MemoryCgroup,
            Pids => Wall::PidsCgroup,
            Cpu => Wall::CpuCgroup,
        }
    }
}

/// A group below which others can be made, and what it limits in them.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Parent {
    directory: PathBuf,
    controllers: Vec<Controller>,
    version: Version,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// What this process may make groups of.
#[derive(Clone, Debug, Default)]
pub(super) struct Cgroups(Vec<Parent>);

impl Cgroups {
    /// Finds out what the host grants: by making a group and removing it again.
    pub(super) fn detect() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let parents = parents(&read("/proc/self/cgroup"), &read("/proc/self/mountinfo"));
        Self(parents.into_iter().filter_map(Parent::granted).collect())
    }

    /// What the kernel keeps for each sandbox.
    pub(super) fn walls(&self) -> Standing {
        let controllers = self.0.iter().flat_map(|parent| &parent.controllers);
        controllers.map(|controller| controller.wall()).collect()
    }

    /// The groups of the sandbox called `name`, which need not be there.
    pub(super) fn of(&self, name: &str) -> Groups {
        let path = |parent: &Parent| parent.directory.join(format!("reeve-{name}"));
        let memory = self.0.iter().find(|parent| parent.controllers.contains(&Memory));
        Groups {
            directories: self.0.iter().map(path).collect(),
            killed: memory.map(|parent| path(parent).join(parent.version.killed())),
        }
    }

    /// Makes the groups of the sandbox called `name`.
    pub(super) fn make(&self, name: &str, ceiling: &Ceiling) -> io::Result<()> {
        let groups = self.of(name);
        let mut parents = self.0.iter().zip(&groups.directories);
        parents.try_for_each(|(parent, directory)| parent.make(directory, ceiling))
    }
}

/// The groups of one sandbox.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct Groups {
    directories: Vec<PathBuf>,
    /// The file in which the kernel counts the processes it has ended because memory was out.
    pub(super) killed: Option<PathBuf>,
}

impl Groups {
    /// Moves this process, and whatever it starts from here on, into them.
    pub(super) fn enter(&self) -> io::Result<()> {
        self.directories.iter().try_for_each(|directory| enter(directory))
    }

    /// Removes them. Everything in them must have ended. Idempotent.
    pub(super) async fn remove(&self) -> io::Result<()> {
        for directory in &self.directories {
            let mut tries = 0;
            loop {
                match fs::remove_dir(directory) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => break,
                    // What has ended is still being taken out.
                    Err(error) if error.kind() == io::ErrorKind::ResourceBusy && tries < TRIES => {
                        tries += 1;
                        pass(PAUSE).await;
                    }
                    other => break other?,
                }
            }
        }
        Ok(())
    }
}

impl Version {
    fn killed(self) -> &'static str {
        match self {
            Self::One => "memory.oom_control",
            Self::Two => "memory.events",
        }
    }

    /// The files of a limit and what is written to them; whether it is a fault where one is missing.
    fn limit(self, controller: Controller, to: &Ceiling) -> Vec<(&'static str, String, bool)> {
        let (memory, processes) = (to.memory.to_string(), to.processes.to_string());
        match (self, controller) {
            // As much with swap as without: none. Not every kernel counts swap.
            (Self::One, Memory) => vec![
                ("memory.limit_in_bytes", memory.clone(), true),
                ("memory.memsw.limit_in_bytes", memory, false),
            ],
            (Self::Two, Memory) => {
                vec![("memory.max", memory, true), ("memory.swap.max", "0".to_owned(), false)]
            }
            (Self::One | Self::Two, Pids) => vec![("pids.max", processes, true)],
            (Self::One, Cpu) => vec![
                ("cpu.cfs_period_us", to.period.to_string(), true),
                ("cpu.cfs_quota_us", to.quota.to_string(), true),
            ],
            (Self::Two, Cpu) => vec![("cpu.max", format!("{} {}", to.quota, to.period), true)],
        }
    }
}

impl Parent {
    /// What of this is granted; none if nothing is.
    fn granted(mut self) -> Option<Self> {
        if self.version == Version::Two {
            self.open()?;
        }
        // Nobody has this much, and every kernel takes it.
        let trial =
            Ceiling { memory: 1 << 40, processes: 1 << 20, quota: 100_000, period: 100_000 };
        let directory = self.directory.join(format!("reeve-trial-{}", std::process::id()));
        fs::create_dir(&directory).ok()?;
        let (version, all) = (self.version, std::mem::take(&mut self.controllers));
        let works =
            |controller: &Controller| limit(&directory, version, *controller, &trial).is_ok();
        self.controllers = all.into_iter().filter(works).collect();
        fs::remove_dir(&directory).ok()?;
        (!self.controllers.is_empty()).then_some(self)
    }

    /// Has the groups below a group of version 2 limited.
    fn open(&mut self) -> Option<()> {
        let offered = fs::read_to_string(self.directory.join("cgroup.controllers")).ok()?;
        self.controllers.retain(|one| offered.split_whitespace().any(|name| name == one.name()));
        if self.controllers.is_empty() {
            return None;
        }
        let words = self.controllers.iter().map(|one| format!("+{}", one.name()));
        let words = words.collect::<Vec<_>>().join(" ");
        let enable = || fs::write(self.directory.join("cgroup.subtree_control"), &words);
        match enable() {
            Ok(()) => Some(()),
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                let leaf = self.directory.join(LEAF);
                match fs::create_dir(&leaf) {
                    Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return None,
                    _ => {}
                }
                enter(&leaf).ok()?;
                let enabled = enable();
                if enabled.is_err() {
                    // Others are in it, too. Where this process was is where it belongs.
                    enter(&self.directory).ok();
                    fs::remove_dir(&leaf).ok();
                }
                enabled.ok()
            }
            Err(_) => None,
        }
    }

    fn make(&self, directory: &Path, ceiling: &Ceiling) -> io::Result<()> {
        match fs::create_dir(directory) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let mut all = self.controllers.iter();
        all.try_for_each(|&controller| limit(directory, self.version, controller, ceiling))
    }
}

/// Writes a limit and looks whether it is there.
fn limit(
    directory: &Path,
    version: Version,
    controller: Controller,
    to: &Ceiling,
) -> io::Result<()> {
    for (file, value, needed) in version.limit(controller, to) {
        let path = directory.join(file);
        match fs::OpenOptions::new().write(true).open(&path) {
            Ok(mut open) => io::Write::write_all(&mut open, value.as_bytes())?,
            Err(error) if error.kind() == io::ErrorKind::NotFound && !needed => continue,
            Err(error) => return Err(error),
        }
        let kept = fs::read_to_string(&path)?;
        // Memory is counted in pages.
        let page = |text: &str| text.trim().parse::<u64>().map(|bytes| bytes >> 16);
        let same =
            kept.trim() == value || matches!((page(&kept), page(&value)), (Ok(a), Ok(b)) if a == b);
        if !same {
            return Err(io::Error::other(format!("{file} is {} and not {value}", kept.trim())));
        }
    }
    Ok(())
}

fn enter(directory: &Path) -> io::Result<()> {
    let mut procs = fs::OpenOptions::new().write(true).open(directory.join("cgroup.procs"))?;
    io::Write::write_all(&mut procs, b"0")
}

/// The groups that this process is in, by `/proc/self/cgroup` and the table of mounts.
fn parents(own: &str, mounts: &str) -> Vec<Parent> {
    let mut parents: Vec<Parent> = Vec::new();
    for line in own.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(names), Some(path)) = (fields.next(), fields.next()) else { continue };
        let version = if names.is_empty() { Version::Two } else { Version::One };
        let listed = |one: &Controller| names.split(',').any(|name| name == one.name());
        let there = |one: &Controller| version == Version::Two || listed(one);
        let controllers: Vec<_> = Controller::ALL.into_iter().filter(there).collect();
        let found = mounts.lines().find_map(|mount| place(mount, version, names, path));
        if let (false, Some(directory)) = (controllers.is_empty(), found) {
            parents.push(Parent { directory, controllers, version });
        }
    }
    parents
}

/// Where the group `path` is seen by `mount`, if that is of its tree.
fn place(mount: &str, version: Version, names: &str, path: &str) -> Option<PathBuf> {
    let (before, after) = mount.split_once(" - ")?;
    let mut fields = before.split(' ').skip(3);
    let (root, point) = (fields.next()?, fields.next()?);
    let mut fields = after.split(' ');
    let (kind, options) = (fields.next()?, fields.nth(1)?);
    let of_tree = match version {
        Version::Two => kind == "cgroup2",
        Version::One => {
            let has = |name| options.split(',').any(|option| option == name);
            kind == "cgroup" && names.split(',').all(has)
        }
    };
    let below = Path::new(path).strip_prefix(root).ok()?;
    // By its parts: joining nothing leaves a slash.
    of_tree.then(|| Path::new(point).join(below).components().collect())
}

#[expect(
    clippy::disallowed_methods,
    reason = "nobody tells that a group is empty: it is tried again"
)]
async fn pass(duration: Duration) {
    tokio::time::sleep(duration).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "30 24 0:27 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n\
        31 24 0:28 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct\n\
        32 24 0:29 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";

    fn seen(own: &str, mounts: &str) -> Vec<(String, Vec<Controller>)> {
        let shown = |parent: Parent| (parent.directory.display().to_string(), parent.controllers);
        parents(own, mounts).into_iter().map(shown).collect()
    }

    #[test]
    fn the_one_tree_is_found() {
        let mounts = "29 22 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";
        let found = seen("0::/user.slice/reeve.scope\n", mounts);
        let all = Controller::ALL.to_vec();
        assert_eq!(found, [("/sys/fs/cgroup/user.slice/reeve.scope".to_owned(), all.clone())]);
        assert_eq!(seen("0::/\n", mounts), [("/sys/fs/cgroup".to_owned(), all)]);
        assert_eq!(seen("0::/\n", ""), []);
    }

    #[test]
    fn the_tree_of_each_controller_is_found() {
        let found = seen("4:memory:/a\n3:cpu,cpuacct:/\n2:devices:/\n1:pids:/\n0::/\n", ONE);
        assert_eq!(
            found,
            [
                ("/sys/fs/cgroup/memory/a".to_owned(), vec![Memory]),
                ("/sys/fs/cgroup/cpu,cpuacct".to_owned(), vec![Cpu]),
                ("/sys/fs/cgroup/unified".to_owned(), Controller::ALL.to_vec()),
            ]
        );
    }

    #[test]
    fn a_group_that_is_out_of_sight_is_not_guessed() {
        let bound = "29 22 0:26 /box /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        assert_eq!(seen("0::/box/in\n", bound)[0].0, "/sys/fs/cgroup/in");
        assert_eq!(seen("0::/elsewhere\n", bound), []);
        assert_eq!(seen("0::/boxes/in\n", bound), []);
    }

    #[test]
    fn what_the_host_does_not_offer_is_not_granted() {
        let directory = tempfile::tempdir().unwrap();
        let parent = |version| Parent {
            directory: directory.path().to_owned(),
            controllers: Controller::ALL.to_vec(),
            version,
        };
        // A directory of no control group has none of the files that a limit is written to.
        assert_eq!(parent(Version::One).granted(), None);
        assert_eq!(parent(Version::Two).granted(), None);
        fs::write(directory.path().join("cgroup.controllers"), "hugetlb io\n").unwrap();
        assert_eq!(parent(Version::Two).granted(), None);
        let left = fs::read_dir(directory.path()).unwrap().count();
        assert_eq!(left, 1, "a trial leaves nothing");
    }

    #[test]
    fn a_limit_is_written_as_each_version_has_it() {
        let ceiling = Ceiling { memory: 7 << 20, processes: 9, quota: 150_000, period: 100_000 };
        for (version, controller, file, value) in [
            (Version::Two, Memory, "memory.max", "7340032"),
            (Version::Two, Pids, "pids.max", "9"),
            (Version::Two, Cpu, "cpu.max", "150000 100000"),
            (Version::One, Memory, "memory.limit_in_bytes", "7340032"),
            (Version::One, Pids, "pids.max", "9"),
            (Version::One, Cpu, "cpu.cfs_quota_us", "150000"),
        ] {
            let directory = tempfile::tempdir().unwrap();
            let missing = limit(directory.path(), version, controller, &ceiling).unwrap_err();
            assert_eq!(missing.kind(), io::ErrorKind::NotFound, "{file}");
            for (name, _, needed) in version.limit(controller, &ceiling) {
                if needed {
                    fs::write(directory.path().join(name), "").unwrap();
                }
            }
            limit(directory.path(), version, controller, &ceiling).unwrap();
            assert_eq!(fs::read_to_string(directory.path().join(file)).unwrap(), value);
        }
    }
}
