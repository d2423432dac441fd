//! Packs: blobs in which the bytes of many files lie one behind the other.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use domain::Digest;
use domain::workspace::{Entry, Extent, Manifest, Node, Pack, WorkspacePath};
use futures::stream::{self, StreamExt};
use sha2::{Digest as _, Sha256};
use store::Scope;

use crate::ports::{Blobs, Pieces, Shelf, WorkspaceError};
use crate::{App, Error};

/// The most bytes of files in one pack: little enough for one request of any platform.
const PACK: usize = 4 * 1024 * 1024;

/// Puts files into packs. What is put and never made part of a manifest is left behind.
pub(super) struct Packer<'a> {
    app: &'a App,
    whose: Shelf,
    header: Vec<u8>,
    /// The pack that is being filled, and what lies in it.
    pack: Vec<u8>,
    inside: Vec<(WorkspacePath, Range<usize>)>,
    /// How many packs were finished.
    finished: usize,
    placed: BTreeMap<WorkspacePath, Vec<Extent>>,
    /// Bytes that lie in packs of an earlier manifest already.
    known: BTreeMap<Digest, Vec<Extent>>,
}

impl<'a> Packer<'a> {
    /// Packs for `agent`, whose latest manifest is `before`.
    pub(super) fn new(app: &'a App, scope: Scope, before: &Manifest) -> Self {
        let known = before.entries.values().filter_map(|entry| match &entry.node {
            Node::File { digest, extents, .. } => Some((*digest, extents.clone())),
            Node::Directory | Node::Link(_) => None,
        });
        Self {
            app,
            whose: Shelf::of(scope, before.agent),
            header: Pack::Workspace.header(before.agent),
            pack: Vec::new(),
            inside: Vec::new(),
            finished: 0,
            placed: BTreeMap::new(),
            known: known.collect(),
        }
    }

    /// Takes the bytes of the file at `path`. Answers with their digest and how many there are.
    pub(super) async fn take(
        &mut self,
        path: &WorkspacePath,
        mut content: Pieces,
    ) -> Result<(Digest, u64), Error> {
        let (mut hash, mut size) = (Sha256::new(), 0_u64);
        let (finished, began) = (self.finished, self.pack.len());
        self.placed.insert(path.clone(), Vec::new());
        while let Some(piece) = content.next().await {
            let mut piece = piece.map_err(WorkspaceError::from)?;
            hash.update(&piece);
            size += piece.len() as u64;
            while !piece.is_empty() {
                if self.pack.is_empty() {
                    self.pack.extend_from_slice(&self.header);
                }
                let room = (self.header.len() + PACK).saturating_sub(self.pack.len());
                if room == 0 {
                    self.finish().await?;
                    continue;
                }
                let some = piece.split_to(room.min(piece.len()));
                let start = self.pack.len();
                self.pack.extend_from_slice(&some);
                match self.inside.last_mut() {
                    Some((last, range)) if last == path => range.end = self.pack.len(),
                    _ => self.inside.push((path.clone(), start..self.pack.len())),
                }
            }
        }
        let digest = Digest::new(hash.finalize().into());
        if let Some(known) = self.known.get(&digest)
            && self.finished == finished
        {
            // It lies somewhere already: here it need not.
            self.pack.truncate(began);
            self.inside.retain(|(inside, _)| inside != path);
            self.placed.insert(path.clone(), known.clone());
        }
        Ok((digest, size))
    }

    async fn finish(&mut self) -> Result<(), Error> {
        let pack = std::mem::take(&mut self.pack);
        if pack.len() <= self.header.len() {
            return Ok(());
        }
        let blob = self.app.ports.blobs.put(self.whose, pack).await?.into();
        self.finished += 1;
        for (path, range) in self.inside.drain(..) {
            let (offset, length) = (range.start as u64, range.len() as u64);
            self.placed.entry(path).or_default().push(Extent { blob, offset, length });
        }
        Ok(())
    }

    /// Finishes the last pack, and says in `manifest` where the bytes of each file lie that was taken.
    pub(super) async fn place(mut self, manifest: &mut Manifest) -> Result<(), Error> {
        self.finish().await?;
        for (path, placed) in self.placed {
            let entry = manifest.entries.get_mut(&path);
            if let Some(Entry { node: Node::File { extents, .. }, .. }) = entry {
                *extents = placed;
            }
        }
        Ok(())
    }
}

/// Reads packs, and keeps the last one: files that were packed together are read together.
#[derive(Clone)]
pub(super) struct Unpacker {
    blobs: Arc<dyn Blobs>,
    whose: Shelf,
    last: Arc<std::sync::Mutex<Option<(Digest, Bytes)>>>,
}

impl Unpacker {
    pub(super) fn new(app: &App, whose: Shelf) -> Self {
        Self { blobs: Arc::clone(&app.ports.blobs), whose, last: Arc::default() }
    }

    async fn pack(&self, blob: Digest) -> io::Result<Bytes> {
        let last = self.last.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        if let Some((of, bytes)) = last
            && of == blob
        {
            return Ok(bytes);
        }
        let bytes = self.blobs.get(self.whose, blob.into()).await.map_err(io::Error::other)?;
        let bytes = bytes.ok_or_else(|| io::Error::other(format!("the pack {blob} is gone")))?;
        let bytes = Bytes::from(bytes);
        *self.last.lock().unwrap_or_else(std::sync::PoisonError::into_inner) =
            Some((blob, bytes.clone()));
        Ok(bytes)
    }

    /// The bytes of `range` of what lies in `extents`.
    pub(super) fn content(&self, extents: &[Extent], range: Range<u64>) -> Pieces {
        let mut wanted = Vec::new();
        let mut at = 0;
        for extent in extents {
            let (start, end) = (range.start.max(at), range.end.min(at + extent.length));
            if start < end {
                let offset = extent.offset + (start - at);
                wanted.push((extent.blob, offset, end - start));
            }
            at += extent.length;
        }
        let this = self.clone();
        stream::iter(wanted)
            .then(move |(blob, offset, length)| {
                let this = this.clone();
                async move {
                    let pack = this.pack(blob).await?;
                    let place = |at: u64| usize::try_from(at).map_err(io::Error::other);
                    let range = place(offset)?..place(offset + length)?;
                    if range.end > pack.len() {
                        return Err(io::Error::other(format!("the pack {blob} is too short")));
                    }
                    Ok(pack.slice(range))
                }
            })
            .boxed()
    }
}
