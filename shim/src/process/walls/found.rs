//! What really stands around an agent, asked of the kernel once it runs.
//!
//! What holds here: nothing is reported because it was meant to be. A wall stands where it does for
//! every process of the agent that `/proc` shows, and a namespace is another one than the shim's.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use domain::walls::{Standing, Wall};

use super::{Place, Scratch};

/// The namespaces whose names no other process may read: the first process of a room writes its own
/// down, in a file of the shim's.
const NAMES: [(&str, Wall); 3] =
    [("mnt", Wall::MountNamespace), ("net", Wall::NetworkNamespace), ("ipc", Wall::IpcNamespace)];

/// The file in a [`Scratch`].
pub(super) const NAMESPACES: &str = "namespaces";

/// Knows where to look for one agent's walls.
#[derive(Debug)]
pub(crate) struct Witness {
    uid: Option<u32>,
    /// Where its first process has written down its namespaces, if it has a room.
    namespaces: Option<PathBuf>,
}

impl Witness {
    pub(crate) fn new(place: &Place, scratch: Option<&Scratch>) -> Self {
        let namespaces = scratch.map(|scratch| scratch.path(NAMESPACES));
        Self { uid: place.uid, namespaces }
    }

    /// The walls around every one of `family`, whose first is `root`. None where nobody lives.
    pub(crate) fn found(&self, root: i32, family: &BTreeSet<i32>) -> Standing {
        let alike = family.iter().filter_map(|&pid| self.around(root, pid));
        let all = alike.reduce(Standing::and);
        all.map_or(Standing::NONE, |all| self.rooms().fold(all, Standing::with))
    }

    /// The walls that `/proc` shows around `pid`; none for one that is not the agent's own.
    fn around(&self, root: i32, pid: i32) -> Option<Standing> {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let status = Status::of(&status);
        // The two between the shim and the agent: one made the room, the other is its first.
        let stage = pid == root || status.first("PPid") == Some(&root.to_string());
        if status.first("State") == Some("Z") || (self.namespaces.is_some() && stage) {
            return None;
        }
        let none =
            |name| status.first(name).is_some_and(|set| set.bytes().all(|digit| digit == b'0'));
        let uid = |uid: u32| status.all("Uid").all(|one| one == uid.to_string());
        Some(
            Standing::NONE
                .with_if(status.first("Seccomp") == Some("2"), Wall::Seccomp)
                .with_if(status.first("NoNewPrivs") == Some("1"), Wall::NoNewPrivileges)
                .with_if(
                    ["CapInh", "CapPrm", "CapEff", "CapAmb"].into_iter().all(none),
                    Wall::NoCapabilities,
                )
                .with_if(self.uid.is_some_and(uid), Wall::OwnUid)
                // One number for each namespace from ours on.
                .with_if(status.all("NSpid").count() > 1, Wall::PidNamespace),
        )
    }

    /// The namespaces of the agent's room that are not the shim's.
    fn rooms(&self) -> impl Iterator<Item = Wall> {
        let text = self.namespaces.as_ref().and_then(|path| fs::read_to_string(path).ok());
        let theirs = text.unwrap_or_default();
        NAMES.into_iter().filter_map(move |(name, wall)| {
            let its = theirs.lines().find(|line| line.starts_with(name))?;
            (its != own(name).ok()?).then_some(wall)
        })
    }
}

/// Writes down the namespaces of this process.
pub(super) fn testify(into: &Path) -> io::Result<()> {
    let names = NAMES.iter().map(|(name, _)| own(name).map(|own| own + "\n"));
    fs::write(into, names.collect::<io::Result<String>>()?)
}

/// The kernel's name of a namespace of this process: `net:[4026531840]`.
fn own(name: &str) -> io::Result<String> {
    let link = fs::read_link(format!("/proc/self/ns/{name}"))?;
    link.into_os_string().into_string().map_err(|_| io::ErrorKind::InvalidData.into())
}

/// The fields of `/proc/<pid>/status`.
struct Status<'a>(BTreeMap<&'a str, &'a str>);

impl<'a> Status<'a> {
    fn of(text: &'a str) -> Self {
        Self(text.lines().filter_map(|line| line.split_once(':')).collect())
    }

    fn all(&self, name: &str) -> impl Iterator<Item = &'a str> {
        self.0.get(name).copied().unwrap_or_default().split_ascii_whitespace()
    }

    fn first(&self, name: &str) -> Option<&'a str> {
        self.all(name).next()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn witness(uid: Option<u32>, namespaces: Option<PathBuf>) -> Witness {
        Witness { uid, namespaces }
    }

    #[test]
    fn who_has_no_walls_is_not_said_to_have_any() {
        let me = std::process::id();
        let family = BTreeSet::from([i32::try_from(me).unwrap()]);
        let found = witness(Some(4_000_000), None).found(0, &family);
        // Whoever runs the tests may stand behind some of them already, but not as that uid.
        assert!(!found.has(Wall::OwnUid) && !found.has(Wall::NetworkNamespace), "{found:?}");
        let mine = rustix::process::getuid().as_raw();
        assert!(witness(Some(mine), None).found(0, &family).has(Wall::OwnUid));
    }

    #[test]
    fn nobody_has_no_walls() {
        let gone = BTreeSet::from([i32::MAX]);
        assert_eq!(witness(None, None).found(0, &gone), Standing::NONE);
        assert_eq!(witness(None, None).found(0, &BTreeSet::new()), Standing::NONE);
    }

    #[test]
    fn a_namespace_that_is_the_shims_own_is_no_wall() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(NAMESPACES);
        testify(&path).unwrap();
        assert_eq!(witness(None, Some(path.clone())).rooms().count(), 0);
        let own = fs::read_to_string(&path).unwrap();
        let other = own.replace("net:[", "net:[9");
        fs::write(&path, other).unwrap();
        let rooms: Vec<_> = witness(None, Some(path)).rooms().collect();
        assert_eq!(rooms, [Wall::NetworkNamespace]);
    }
}
