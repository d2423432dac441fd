//! Looking at a directory, and packing what is new in it.
//!
//! What holds here: what looks as it did is not read, and what has the bytes of something known is not
//! packed. An agent may change the directory meanwhile: then the manifest says what was read.
//!
//! Blocking: for a thread of its own.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use disk::{NotOpened, Root};
use domain::workspace::{
    Entry, Extent, Kind, LeftOut, MAX_BYTES, MAX_ENTRIES, MAX_FILE, Manifest, NAMED, Node, Pack,
    Part, WorkspacePath,
};
use domain::{AgentId, Digest};
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc::Sender;
use wire::shim::keep::MAX_PIECE;

/// How long ago a change must be to be told apart from one now, in milliseconds.
const TICK: u64 = 100;

/// A pack, with what it hashes to.
pub(super) type Packed = (Digest, Vec<u8>);

/// One of an agent's directories.
#[derive(Clone, Debug)]
pub(super) struct Tree {
    pub(super) agent: AgentId,
    pub(super) kind: Pack,
    pub(super) path: std::path::PathBuf,
    /// What of it is not the agent's to keep.
    pub(super) except: Option<WorkspacePath>,
}

/// What a directory holds, and where its manifest lies: nowhere, where it reads as before.
pub(super) struct Surveyed {
    pub(super) now: Manifest,
    pub(super) sheet: Option<Vec<Extent>>,
}

/// Looks at a directory and sends packs of what is new.
pub(super) fn survey(
    tree: &Tree,
    before: &Manifest,
    packs: &Sender<Packed>,
) -> io::Result<Surveyed> {
    let mut now = look(tree, before, packs)?;
    if now.same(before) {
        // What was seen of the files may have changed with nothing in them.
        return Ok(Surveyed { now, sheet: None });
    }
    if now.weight().1 > MAX_BYTES {
        return Err(io::Error::other("the directory holds more than may be kept"));
    }
    now.left_out.truncate(NAMED);
    let json = serde_json::to_vec(&now).map_err(io::Error::other)?;
    let mut packer = Packer::new(tree.agent, Pack::Sheet, packs);
    let sheet = packer.take(&mut json.as_slice())?;
    let placed = packer.finish()?;
    let sheet = placed.get(sheet).cloned().unwrap_or_default();
    Ok(Surveyed { now, sheet: Some(sheet) })
}

fn look(tree: &Tree, before: &Manifest, packs: &Sender<Packed>) -> io::Result<Manifest> {
    let mut now = Manifest::empty(tree.agent);
    let Some(root) = Root::open(Path::new(&tree.path))? else { return Ok(now) };
    let part = Part { limit: MAX_ENTRIES, ..Part::default() };
    let walk = disk::walk(&root, &part, settled_before())?;
    if walk.more {
        return Err(io::Error::other("the directory holds more than may be kept"));
    }
    (now.left_out, now.left_out_count) = (walk.left_out, walk.left_out_count);
    let known: BTreeMap<Digest, &Vec<Extent>> = before.entries.values().filter_map(file).collect();
    let mut packer = Packer::new(tree.agent, tree.kind, packs);
    let mut fresh: Vec<(WorkspacePath, usize)> = Vec::new();
    for found in walk.found {
        let excepted =
            |except: &WorkspacePath| found.path == *except || found.path.is_below(except);
        if tree.except.as_ref().is_some_and(excepted) {
            continue;
        }
        let node = match found.kind {
            Kind::Directory => Node::Directory,
            Kind::Link(target) => Node::Link(target),
            Kind::File { size, .. } if size > MAX_FILE => {
                now.left_out_count += 1;
                let reason = "it has more than 500 MiB".to_owned();
                now.left_out.push(LeftOut { path: found.path.to_string(), reason });
                continue;
            }
            Kind::File { size, executable, modified } => match before.entries.get(&found.path) {
                Some(Entry { node: Node::File { digest, size: was, extents, .. }, stamp })
                    if *stamp == Some(found.stamp) && *was == size =>
                {
                    let (digest, extents) = (*digest, extents.clone());
                    Node::File { digest, size, executable, modified, extents }
                }
                _ => {
                    let mut file = match root.open_file(&found.path) {
                        Ok(Some((file, _))) => file,
                        // It has become something else meanwhile.
                        Ok(None) | Err(NotOpened::NotAFile) => continue,
                        Err(NotOpened::Failed(error)) => return Err(error),
                    };
                    let (digest, size) = hash(&mut file)?;
                    let mut extents = Vec::new();
                    if let Some(there) = known.get(&digest) {
                        extents.clone_from(there);
                    } else {
                        fresh.push((found.path.clone(), packer.files()));
                        io::Seek::rewind(&mut file)?;
                        let taken = packer.take(&mut file.take(size))?;
                        // It is being written just now: the next look takes it.
                        if packer.digest_of(taken) != Some((digest, size)) {
                            fresh.pop();
                            continue;
                        }
                    }
                    Node::File { digest, size, executable, modified, extents }
                }
            },
        };
        let stamp = Some(found.stamp).filter(|_| found.settled);
        now.entries.insert(found.path, Entry { node, stamp });
    }
    let mut placed = packer.finish()?;
    for (path, number) in fresh {
        if let Some(Entry { node: Node::File { extents, .. }, .. }) = now.entries.get_mut(&path)
            && let Some(place) = placed.get_mut(number)
        {
            *extents = std::mem::take(place);
        }
    }
    Ok(now)
}

fn file(entry: &Entry) -> Option<(Digest, &Vec<Extent>)> {
    match &entry.node {
        Node::File { digest, extents, .. } => Some((*digest, extents)),
        Node::Directory | Node::Link(_) => None,
    }
}

#[expect(clippy::disallowed_methods, reason = "compared with times of the same file system")]
fn settled_before() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX).saturating_sub(TICK)
}

fn hash(file: &mut impl Read) -> io::Result<(Digest, u64)> {
    let (mut hash, mut size, mut piece) = (Sha256::new(), 0, vec![0; 64 * 1024]);
    // However fast it grows.
    let mut file = file.take(MAX_FILE);
    loop {
        let read = file.read(&mut piece)?;
        if read == 0 {
            return Ok((Digest::new(hash.finalize().into()), size));
        }
        hash.update(&piece[..read]);
        size += read as u64;
    }
}

/// Puts bytes into packs of at most [`MAX_PIECE`], which are sent as they are full.
struct Packer<'a> {
    header: Vec<u8>,
    packs: &'a Sender<Packed>,
    pack: Vec<u8>,
    /// Of each file what it hashes to and where it lies; what is in the pack that is being filled has no
    /// blob yet.
    files: Vec<(Digest, u64, Vec<Extent>)>,
    /// The file and the extent of all that lies in the pack that is being filled.
    inside: Vec<(usize, usize)>,
}

impl<'a> Packer<'a> {
    fn new(agent: AgentId, kind: Pack, packs: &'a Sender<Packed>) -> Self {
        let header = kind.header(agent);
        Self { pack: header.clone(), header, packs, files: Vec::new(), inside: Vec::new() }
    }

    /// How many files were taken.
    const fn files(&self) -> usize {
        self.files.len()
    }

    fn digest_of(&self, file: usize) -> Option<(Digest, u64)> {
        self.files.get(file).map(|(digest, size, _)| (*digest, *size))
    }

    /// Takes a file. Answers with its number.
    fn take(&mut self, content: &mut impl Read) -> io::Result<usize> {
        let (number, mut hash, mut size) = (self.files.len(), Sha256::new(), 0);
        self.files.push((Digest::new([0; 32]), 0, Vec::new()));
        loop {
            if self.pack.len() >= MAX_PIECE {
                self.send()?;
            }
            let begin = self.pack.len();
            let room = MAX_PIECE - begin;
            let read = content.by_ref().take(room as u64).read_to_end(&mut self.pack)?;
            if read == 0 {
                break;
            }
            hash.update(&self.pack[begin..]);
            size += read as u64;
            let extents = &mut self.files[number].2;
            self.inside.push((number, extents.len()));
            let (offset, length) = (begin as u64, read as u64);
            extents.push(Extent { blob: Digest::new([0; 32]), offset, length });
        }
        (self.files[number].0, self.files[number].1) = (Digest::new(hash.finalize().into()), size);
        Ok(number)
    }

    fn send(&mut self) -> io::Result<()> {
        let pack = std::mem::replace(&mut self.pack, self.header.clone());
        if pack.len() == self.header.len() {
            return Ok(());
        }
        let blob = Digest::new(Sha256::digest(&pack).into());
        for (file, extent) in self.inside.drain(..) {
            self.files[file].2[extent].blob = blob;
        }
        let gone = |_| io::Error::other("nobody takes the packs");
        self.packs.blocking_send((blob, pack)).map_err(gone)
    }

    /// Sends the last pack. Answers where each file lies, by its number.
    fn finish(mut self) -> io::Result<Vec<Vec<Extent>>> {
        self.send()?;
        Ok(self.files.into_iter().map(|(_, _, extents)| extents).collect())
    }
}
