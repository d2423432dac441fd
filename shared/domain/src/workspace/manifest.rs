//! A whole workspace without its bytes, and how two of them differ.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::WorkspacePath;
use crate::{AgentId, Digest, Timestamp};

/// A run of bytes in a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extent {
    /// The blob.
    #[serde(rename = "b")]
    pub blob: Digest,
    /// Where they begin in it.
    #[serde(rename = "o")]
    pub offset: u64,
    /// How many there are.
    #[serde(rename = "n")]
    pub length: u64,
}

/// What is at a path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Node {
    /// A file.
    #[serde(rename = "f")]
    File {
        /// SHA-256 of its bytes.
        #[serde(rename = "d")]
        digest: Digest,
        /// How many bytes.
        #[serde(rename = "s")]
        size: u64,
        /// Whether its owner may execute it.
        #[serde(rename = "x", default, skip_serializing_if = "std::ops::Not::not")]
        executable: bool,
        /// When it was changed last, as its file system says.
        #[serde(rename = "m")]
        modified: Timestamp,
        /// Where its bytes are, in order.
        #[serde(rename = "e", default, skip_serializing_if = "Vec::is_empty")]
        extents: Vec<Extent>,
    },
    /// A directory.
    #[serde(rename = "d")]
    Directory,
    /// A symbolic link, and what it says. Nobody follows it.
    #[serde(rename = "l")]
    Link(String),
}

/// What is at a path, and by what one sees that it is still the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// What it is.
    #[serde(rename = "t")]
    pub node: Node,
    /// What the platform saw of the file when it was read. None where it may have been changed again
    /// right after, unseen.
    #[serde(rename = "w", default, skip_serializing_if = "Option::is_none")]
    pub stamp: Option<u64>,
}

impl Entry {
    /// Whether it reads the same as `other`: what times and inodes say does not count.
    pub fn same(&self, other: &Self) -> bool {
        match (&self.node, &other.node) {
            (
                Node::File { digest, executable, .. },
                Node::File { digest: other, executable: also, .. },
            ) => (digest, executable) == (other, also),
            (Node::Directory, Node::Directory) => true,
            (Node::Link(one), Node::Link(other)) => one == other,
            (Node::File { .. } | Node::Directory | Node::Link(_), _) => false,
        }
    }

    /// The digest of its bytes, if it is a file.
    pub fn digest(&self) -> Option<Digest> {
        match &self.node {
            Node::File { digest, .. } => Some(*digest),
            Node::Directory | Node::Link(_) => None,
        }
    }

    /// How many bytes it has, if it is a file.
    pub fn size(&self) -> u64 {
        match &self.node {
            Node::File { size, .. } => *size,
            Node::Directory | Node::Link(_) => 0,
        }
    }

    /// Whether it is a directory.
    pub const fn is_directory(&self) -> bool {
        matches!(self.node, Node::Directory)
    }
}

/// What a manifest could not hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LeftOut {
    /// Its path, as far as it can be written.
    pub path: String,
    /// Why.
    pub reason: String,
}

/// A whole workspace without its bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Whose workspace. No two agents have the same manifest, so each has blobs of its own.
    pub agent: AgentId,
    /// What is there.
    pub entries: BTreeMap<WorkspacePath, Entry>,
    /// Some of what is not here: at most a hundred.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<LeftOut>,
    /// How much is not here.
    #[serde(default)]
    pub left_out_count: u64,
}

impl Manifest {
    /// An empty workspace.
    pub const fn empty(agent: AgentId) -> Self {
        Self { agent, entries: BTreeMap::new(), left_out: Vec::new(), left_out_count: 0 }
    }

    /// How many files and links there are, and how many bytes the files have.
    pub fn weight(&self) -> (u64, u64) {
        let counted = self.entries.values().filter(|entry| !entry.is_directory());
        counted.fold((0, 0), |(files, bytes), entry| (files + 1, bytes + entry.size()))
    }

    /// Whether it reads the same as `other`.
    pub fn same(&self, other: &Self) -> bool {
        self.entries.len() == other.entries.len()
            && self.left_out_count == other.left_out_count
            && self
                .entries
                .iter()
                .zip(&other.entries)
                .all(|((path, entry), (also, other))| path == also && entry.same(other))
    }

    /// Every blob that holds a byte of it.
    pub fn blobs(&self) -> std::collections::BTreeSet<Digest> {
        let extents = self.entries.values().flat_map(|entry| match &entry.node {
            Node::File { extents, .. } => extents.as_slice(),
            Node::Directory | Node::Link(_) => &[],
        });
        extents.map(|extent| extent.blob).collect()
    }
}

/// What happened to a path.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It was not there before.
    Added,
    /// It reads otherwise than before.
    Modified,
    /// It is not there any more.
    Deleted,
    /// It is what was at another path, which is not there any more.
    Renamed,
}

/// What happened to one path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The path, as it is after; as it was, where it is gone.
    pub path: WorkspacePath,
    /// What happened.
    pub status: Status,
    /// Where it was before it was renamed.
    pub from: Option<WorkspacePath>,
}

/// How many paths changed, in which way.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "camelCase")]
pub struct Changed {
    /// Not there before.
    pub added: u64,
    /// Otherwise than before.
    pub modified: u64,
    /// Not there any more.
    pub deleted: u64,
    /// Somewhere else than before.
    pub renamed: u64,
}

impl Changed {
    /// Counts `changes`.
    pub fn of(changes: &[Change]) -> Self {
        changes.iter().fold(Self::default(), |mut sum, change| {
            match change.status {
                Status::Added => sum.added += 1,
                Status::Modified => sum.modified += 1,
                Status::Deleted => sum.deleted += 1,
                Status::Renamed => sum.renamed += 1,
            }
            sum
        })
    }
}

/// How files and links differ between `before` and `after`, by path.
///
/// A file that is gone and one that
/// is new with the same bytes, of at least one, are one that was renamed. Directories do not count:
/// what is in them does.
pub fn changes(before: &Manifest, after: &Manifest) -> Vec<Change> {
    let counts = |entry: &Entry| !entry.is_directory();
    let mut changes = BTreeMap::<WorkspacePath, Change>::new();
    let mut gone = BTreeMap::<(Digest, bool), Vec<&WorkspacePath>>::new();
    let mut add = |path: &WorkspacePath, status, from| {
        changes.insert(path.clone(), Change { path: path.clone(), status, from });
    };
    let mut deleted = std::collections::BTreeSet::new();
    for (path, entry) in before.entries.iter().filter(|(_, entry)| counts(entry)) {
        match after.entries.get(path).filter(|now| counts(now)) {
            Some(now) if now.same(entry) => {}
            Some(_) => add(path, Status::Modified, None),
            None => {
                deleted.insert(path);
                if let Node::File { digest, size: 1.., executable, .. } = entry.node {
                    gone.entry((digest, executable)).or_default().push(path);
                }
            }
        }
    }
    // The first of those that are gone is the first that is taken.
    for paths in gone.values_mut() {
        paths.reverse();
    }
    for (path, entry) in after.entries.iter().filter(|(_, entry)| counts(entry)) {
        if before.entries.get(path).is_some_and(counts) {
            continue;
        }
        let from = match entry.node {
            Node::File { digest, size: 1.., executable, .. } => {
                gone.get_mut(&(digest, executable)).and_then(Vec::pop)
            }
            Node::File { .. } | Node::Directory | Node::Link(_) => None,
        };
        match from {
            Some(from) => {
                deleted.remove(from);
                add(path, Status::Renamed, Some(from.clone()));
            }
            None => add(path, Status::Added, None),
        }
    }
    for path in deleted {
        // A path whose file has become a directory is gone as a file.
        add(path, Status::Deleted, None);
    }
    changes.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Ulid;

    fn manifest(files: &[(&str, u8)]) -> Manifest {
        let mut manifest = Manifest::empty(AgentId::new(Ulid::from_parts(1, 1)));
        for (path, content) in files {
            let node = match content {
                b'/' => Node::Directory,
                b'@' => Node::Link("x".to_owned()),
                _ => Node::File {
                    digest: Digest::new([*content; 32]),
                    size: u64::from(*content),
                    executable: false,
                    modified: Timestamp::default(),
                    extents: Vec::new(),
                },
            };
            let path = WorkspacePath::new(*path).unwrap();
            manifest.entries.insert(path, Entry { node, stamp: Some(u64::from(*content)) });
        }
        manifest
    }

    fn told(before: &[(&str, u8)], after: &[(&str, u8)]) -> Vec<String> {
        let changes = changes(&manifest(before), &manifest(after));
        let tell = |change: &Change| match &change.from {
            Some(from) => format!("{:?} {from} {}", change.status, change.path),
            None => format!("{:?} {}", change.status, change.path),
        };
        changes.iter().map(tell).collect()
    }

    #[test]
    fn what_changed_is_told_by_path() {
        let before = [("a", 1), ("b", 2), ("c", 3), ("d", b'@'), ("e", b'/'), ("e/f", 9)];
        let after = [("a", 1), ("b", 7), ("d", 8), ("e", b'/'), ("e/f", 9), ("g", 3), ("h", 4)];
        let expected = ["Modified b", "Modified d", "Renamed c g", "Added h"];
        assert_eq!(told(&before, &after), expected);
        assert_eq!(told(&before, &before), [""; 0]);
    }

    #[test]
    fn a_file_may_become_a_directory() {
        assert_eq!(told(&[("a", 1)], &[("a", b'/'), ("a/b", 2)]), ["Deleted a", "Added a/b"]);
        assert_eq!(told(&[("a", 1)], &[("a", b'/'), ("a/b", 1)]), ["Renamed a a/b"]);
        // Nothing in it, nothing to know it by.
        assert_eq!(told(&[("a", 0)], &[("b", 0)]), ["Deleted a", "Added b"]);
    }

    #[test]
    fn each_that_is_gone_is_renamed_once() {
        let (before, after) = ([("a", 1), ("b", 1)], [("x", 1), ("y", 1), ("z", 1)]);
        assert_eq!(told(&before, &after), ["Renamed a x", "Renamed b y", "Added z"]);
    }

    #[test]
    fn a_manifest_reads_back() {
        let manifest = manifest(&[("a", 1), ("b/c", b'@'), ("d", b'/')]);
        let json = serde_json::to_string(&manifest).unwrap();
        assert_eq!(serde_json::from_str::<Manifest>(&json).unwrap(), manifest);
        assert_eq!(manifest.weight(), (2, 1));
    }
}
