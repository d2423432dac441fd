//! A manifest that a container sent, before anybody believes it.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Entry, Extent, MAX_BYTES, MAX_ENTRIES, MAX_FILE, Manifest, NAMED, Node, WorkspacePath,
};
use crate::{AgentId, Digest};

/// What a manifest says of the bytes of a file, and nobody has seen yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim<'a> {
    /// What their SHA-256 is to be.
    pub digest: Digest,
    /// Where they are to be, in order. The lengths add up to the size of the file.
    pub extents: &'a [Extent],
}

/// What is wrong with a manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// It is that of another agent.
    #[error("the manifest is that of another agent")]
    Foreign,
    /// It holds more than a workspace may.
    #[error("the workspace is too large to be kept")]
    TooLarge,
    /// It is not the tree of any directory, or its sizes do not add up.
    #[error("the manifest does not fit together")]
    Misshapen,
}

impl Manifest {
    /// What this manifest of `agent` says that `before`, which is believed, does not say as well.
    pub fn claims(&self, agent: AgentId, before: &Self) -> Result<Vec<Claim<'_>>, Flaw> {
        if self.agent != agent {
            return Err(Flaw::Foreign);
        }
        let files = self.entries.values().map(Entry::size);
        let bytes = files.fold(0_u64, u64::saturating_add);
        if self.entries.len() > MAX_ENTRIES || bytes > MAX_BYTES {
            return Err(Flaw::TooLarge);
        }
        let reason = |left: &super::LeftOut| left.reason.len() <= 200;
        if self.left_out.len() > NAMED || !self.left_out.iter().all(reason) {
            return Err(Flaw::Misshapen);
        }
        let mut known = BTreeMap::<Digest, Vec<&[Extent]>>::new();
        for entry in before.entries.values() {
            if let Node::File { digest, extents, .. } = &entry.node {
                known.entry(*digest).or_default().push(extents);
            }
        }
        let (mut claims, mut claimed) = (Vec::new(), BTreeSet::new());
        for (path, entry) in &self.entries {
            if !self.stands(path) {
                return Err(Flaw::Misshapen);
            }
            let Node::File { digest, size, extents, .. } = &entry.node else { continue };
            let lengths = extents.iter().map(|extent| extent.length);
            let sum = lengths.clone().fold(0_u64, u64::saturating_add);
            if *size > MAX_FILE || sum != *size || lengths.clone().any(|length| length == 0) {
                return Err(Flaw::Misshapen);
            }
            let seen = known.get(digest).is_some_and(|all| all.contains(&extents.as_slice()));
            let places = extents.iter().map(|one| (one.blob, one.offset, one.length));
            // Many files may have the same bytes in the same place: one look is enough.
            if !seen && claimed.insert((*digest, places.collect::<Vec<_>>())) {
                claims.push(Claim { digest: *digest, extents });
            }
        }
        Ok(claims)
    }

    /// Whether what is at `path` lies in a directory.
    fn stands(&self, path: &WorkspacePath) -> bool {
        path.parent()
            .is_none_or(|parent| self.entries.get(&parent).is_some_and(Entry::is_directory))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Timestamp;
    use crate::id::Ulid;

    fn agent(n: u128) -> AgentId {
        AgentId::new(Ulid::from_parts(1, n))
    }

    fn file(content: u8, size: u64, lengths: &[u64]) -> Entry {
        let extents = lengths.iter().map(|&length| Extent {
            blob: Digest::new([content; 32]),
            offset: 29,
            length,
        });
        let node = Node::File {
            digest: Digest::new([content; 32]),
            size,
            executable: false,
            modified: Timestamp::default(),
            extents: extents.collect(),
        };
        Entry { node, stamp: None }
    }

    fn manifest(entries: &[(&str, Entry)]) -> Manifest {
        let mut manifest = Manifest::empty(agent(1));
        for (path, entry) in entries {
            manifest.entries.insert(WorkspacePath::new(*path).unwrap(), entry.clone());
        }
        manifest
    }

    fn directory() -> Entry {
        Entry { node: Node::Directory, stamp: None }
    }

    #[test]
    fn only_what_is_new_has_to_be_looked_at_and_the_same_once() {
        let before = manifest(&[("a", file(1, 4, &[4]))]);
        let after = manifest(&[
            ("a", file(1, 4, &[4])),
            ("b", file(1, 4, &[4])),
            ("c", file(1, 4, &[2, 2])),
            ("d", file(2, 4, &[4])),
            ("e", file(2, 4, &[4])),
            ("f", file(3, 0, &[])),
        ]);
        let claims = after.claims(agent(1), &before).unwrap();
        let told: Vec<_> = claims.iter().map(|c| (c.digest, c.extents.len())).collect();
        let digest = |n| Digest::new([n; 32]);
        assert_eq!(told, [(digest(1), 2), (digest(2), 1), (digest(3), 0)]);
        assert_eq!(before.claims(agent(1), &before), Ok(Vec::new()));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let none = manifest(&[]);
        let flaw = |entries: &[(&str, Entry)]| manifest(entries).claims(agent(1), &none).err();
        assert_eq!(none.claims(agent(2), &none), Err(Flaw::Foreign));
        assert_eq!(flaw(&[("a/b", file(1, 1, &[1]))]), Some(Flaw::Misshapen), "in no directory");
        let in_a_file = [("a", file(1, 1, &[1])), ("a/b", file(1, 1, &[1]))];
        assert_eq!(flaw(&in_a_file), Some(Flaw::Misshapen));
        assert_eq!(flaw(&[("a", directory()), ("a/b", file(1, 1, &[1]))]), None);
        assert_eq!(flaw(&[("a", file(1, 2, &[1]))]), Some(Flaw::Misshapen), "too short");
        assert_eq!(flaw(&[("a", file(1, 1, &[1, 0]))]), Some(Flaw::Misshapen), "empty extents");
        let wrapped = [("a", file(1, 0, &[u64::MAX, 1]))];
        assert_eq!(flaw(&wrapped), Some(Flaw::Misshapen));
        let large = file(1, MAX_FILE + 1, &[MAX_FILE + 1]);
        assert_eq!(flaw(&[("a", large)]), Some(Flaw::Misshapen));
        let names: Vec<_> = (0..=MAX_BYTES / MAX_FILE).map(|n| n.to_string()).collect();
        let many: Vec<_> =
            names.iter().map(|n| (n.as_str(), file(1, MAX_FILE, &[MAX_FILE]))).collect();
        assert_eq!(flaw(&many), Some(Flaw::TooLarge));
    }
}
