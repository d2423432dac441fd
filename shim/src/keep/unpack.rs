//! Filling an empty directory with what a manifest says.
//!
//! What holds here: nothing is put anywhere but below the directory, and through no link; what was
//! fetched is what the manifest says it is, or the directory is not used.
//!
//! Blocking: for a thread of its own.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, SystemTime};

use disk::Root;
use domain::Digest;
use domain::workspace::{Entry, Extent, Manifest, Node, WorkspacePath};
use rustix::fs::{AtFlags, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc::Receiver;
use wire::shim::keep::MAX_PIECE;

/// What has to be read, in order, to have the bytes of all files of `manifest` one behind the other.
pub(super) fn reads(manifest: &Manifest) -> Vec<Extent> {
    let mut reads: Vec<Extent> = Vec::new();
    let most = MAX_PIECE as u64;
    for mut extent in manifest.entries.values().flat_map(extents).copied() {
        while extent.length > 0 {
            let joins = |last: &&mut Extent| {
                last.blob == extent.blob
                    && last.offset.checked_add(last.length) == Some(extent.offset)
                    && last.length < most
            };
            let taken = if let Some(last) = reads.last_mut().filter(joins) {
                let taken = extent.length.min(most - last.length);
                last.length += taken;
                taken
            } else {
                let taken = extent.length.min(most);
                reads.push(Extent { length: taken, ..extent });
                taken
            };
            extent.offset = extent.offset.saturating_add(taken);
            extent.length -= taken;
        }
    }
    reads
}

fn extents(entry: &Entry) -> &[Extent] {
    match &entry.node {
        Node::File { extents, .. } => extents,
        Node::Directory | Node::Link(_) => &[],
    }
}

/// Makes the directory `path` hold what `manifest` says, with the bytes of [`reads`].
pub(super) fn fill(
    path: &Path,
    owner: Option<u32>,
    manifest: &Manifest,
    bytes: Receiver<Vec<u8>>,
) -> io::Result<()> {
    let root = Root::open(path)?.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
    let mut bytes = Bytes { pieces: bytes, piece: Vec::new(), at: 0 };
    for (path, entry) in &manifest.entries {
        let parent = root.open_directory(path.parent().as_ref())?;
        match &entry.node {
            Node::Directory => match rustix::fs::mkdirat(&parent, path.name(), mode(true)) {
                Ok(()) => own(&parent, path, owner)?,
                Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            },
            Node::Link(target) => {
                clear(&parent, path)?;
                rustix::fs::symlinkat(target.as_str(), &parent, path.name())?;
                own(&parent, path, owner)?;
            }
            Node::File { digest, size, executable, modified, .. } => {
                clear(&parent, path)?;
                let flags = OFlags::WRONLY
                    | OFlags::CREATE
                    | OFlags::EXCL
                    | OFlags::NOFOLLOW
                    | OFlags::CLOEXEC;
                let file = rustix::fs::openat(&parent, path.name(), flags, mode(*executable))?;
                let mut file = File::from(file);
                if bytes.write(&mut file, *size)? != *digest {
                    return Err(io::Error::other(format!("{path} is not what it was")));
                }
                file.set_modified(
                    SystemTime::UNIX_EPOCH + Duration::from_millis(modified.as_millis()),
                )?;
                own(&parent, path, owner)?;
            }
        }
    }
    Ok(())
}

fn mode(executable: bool) -> Mode {
    Mode::from_raw_mode(if executable { 0o755 } else { 0o644 })
}

/// What the image has there makes room.
fn clear(parent: &OwnedFd, path: &WorkspacePath) -> io::Result<()> {
    match rustix::fs::unlinkat(parent, path.name(), AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn own(parent: &OwnedFd, path: &WorkspacePath, owner: Option<u32>) -> io::Result<()> {
    let Some(owner) = owner else { return Ok(()) };
    let (uid, gid) = (Uid::from_raw(owner), Gid::from_raw(owner));
    let flags = AtFlags::SYMLINK_NOFOLLOW;
    Ok(rustix::fs::chownat(parent, path.name(), Some(uid), Some(gid), flags)?)
}

/// The bytes of all files, one behind the other.
struct Bytes {
    pieces: Receiver<Vec<u8>>,
    piece: Vec<u8>,
    at: usize,
}

impl Bytes {
    /// Writes the next `size` bytes. Answers what they hash to.
    fn write(&mut self, file: &mut File, size: u64) -> io::Result<Digest> {
        let (mut hash, mut left) = (Sha256::new(), size);
        while left > 0 {
            if self.at == self.piece.len() {
                let next = self.pieces.blocking_recv();
                self.piece = next.ok_or_else(|| io::Error::other("the bytes broke off"))?;
                self.at = 0;
            }
            let rest = &self.piece[self.at..];
            let length = rest.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            file.write_all(&rest[..length])?;
            hash.update(&rest[..length]);
            self.at += length;
            left -= length as u64;
        }
        Ok(Digest::new(hash.finalize().into()))
    }
}
