//! Look at a whole workspace and say what it holds, without reading what looks as it did.

use domain::workspace::{Entry, LeftOut, MAX_BYTES, MAX_ENTRIES, MAX_FILE, Manifest, NAMED, Node};
use domain::{AgentId, Digest};
use futures::StreamExt;
use sha2::{Digest as _, Sha256};
use store::Scope;

use super::Files;
use super::pack::Packer;
use crate::Error;
use crate::ports::{Found, Kind, Part, Pieces, WorkspaceError};

/// What becomes of the bytes of a file that has to be read.
enum Keep<'a> {
    /// They go into packs.
    Packs(Packer<'a>),
    /// They are forgotten.
    Nothing,
}

impl Files<'_> {
    /// What the directory of an agent holds, with its bytes in packs. `before` is what its latest
    /// snapshot says. Reads what has changed since.
    pub(super) async fn pack_all(
        &self,
        scope: Scope,
        agent: AgentId,
        before: &Manifest,
    ) -> Result<Manifest, Error> {
        let mut keep = Keep::Packs(Packer::new(self.0, scope, before));
        let mut now = self.survey(agent, before, &mut keep).await?;
        if let Keep::Packs(packer) = keep {
            packer.place(&mut now).await?;
        }
        Ok(now)
    }

    /// What the directory of an agent holds, for who only compares: new bytes are nowhere.
    pub(super) async fn look_at_all(
        &self,
        agent: AgentId,
        before: &Manifest,
    ) -> Result<Manifest, Error> {
        self.survey(agent, before, &mut Keep::Nothing).await
    }

    async fn survey(
        &self,
        agent: AgentId,
        before: &Manifest,
        keep: &mut Keep<'_>,
    ) -> Result<Manifest, Error> {
        let here = &self.0.ports.workspaces;
        let part = Part { limit: MAX_ENTRIES, ..Part::default() };
        let walk = here.walk(agent, part).await?;
        if walk.more || weight(&walk.found) > MAX_BYTES {
            return Err(Error::WorkspaceTooLarge);
        }
        let mut now = Manifest::empty(agent);
        (now.left_out, now.left_out_count) = (walk.left_out, walk.left_out_count);
        for found in walk.found {
            let node = match found.kind {
                Kind::Directory => Node::Directory,
                Kind::Link(target) => Node::Link(target),
                Kind::File { size, .. } if size > MAX_FILE => {
                    leave_out(&mut now, &found, "it has more than 500 MiB");
                    continue;
                }
                Kind::File { size, executable, modified } => {
                    match before.entries.get(&found.path) {
                        Some(Entry {
                            node: Node::File { digest, size: as_before, extents, .. },
                            stamp,
                        }) if *stamp == Some(found.stamp) && *as_before == size => {
                            let (digest, extents) = (*digest, extents.clone());
                            Node::File { digest, size, executable, modified, extents }
                        }
                        _ => match self.read_whole(agent, &found, keep).await? {
                            Some((digest, size)) => Node::File {
                                digest,
                                size,
                                executable,
                                modified,
                                extents: Vec::new(),
                            },
                            // It was there a moment ago.
                            None => continue,
                        },
                    }
                }
            };
            // What may still change unseen is read again the next time.
            let stamp = Some(found.stamp).filter(|_| found.settled);
            now.entries.insert(found.path, Entry { node, stamp });
        }
        Ok(now)
    }

    async fn read_whole(
        &self,
        agent: AgentId,
        found: &Found,
        keep: &mut Keep<'_>,
    ) -> Result<Option<(Digest, u64)>, Error> {
        let opened = match self.0.ports.workspaces.open(agent, &found.path).await {
            Ok(Some(opened)) => opened,
            // It has become something else meanwhile.
            Ok(None) | Err(WorkspaceError::NotAFile(_)) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        // However fast it grows.
        let content = (opened.content)(0..MAX_FILE);
        match keep {
            Keep::Packs(packer) => packer.take(&found.path, content).await.map(Some),
            Keep::Nothing => digest(content).await.map(Some),
        }
    }
}

async fn digest(mut content: Pieces) -> Result<(Digest, u64), Error> {
    let (mut hash, mut size) = (Sha256::new(), 0);
    while let Some(piece) = content.next().await {
        let piece = piece.map_err(WorkspaceError::from)?;
        hash.update(&piece);
        size += piece.len() as u64;
    }
    Ok((Digest::new(hash.finalize().into()), size))
}

fn weight(found: &[Found]) -> u64 {
    let sizes = found.iter().map(|found| match found.kind {
        Kind::File { size, .. } if size <= MAX_FILE => size,
        Kind::File { .. } | Kind::Directory | Kind::Link(_) => 0,
    });
    sizes.sum()
}

fn leave_out(manifest: &mut Manifest, found: &Found, reason: &str) {
    manifest.left_out_count += 1;
    if manifest.left_out.len() < NAMED {
        let (path, reason) = (found.path.to_string(), reason.to_owned());
        manifest.left_out.push(LeftOut { path, reason });
    }
}
