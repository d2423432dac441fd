//! Take a whole workspace along, as a zip archive.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use domain::AgentId;
use domain::workspace::{MAX_ENTRIES, MAX_TRANSFER};
use futures::channel::mpsc;
use futures::{FutureExt, SinkExt, StreamExt, future, stream};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::Files;
use super::source::Source;
use crate::ports::{Found, Kind, Part, Pieces};
use crate::{Caller, Error};

impl Files<'_> {
    /// The files and directories of a workspace, as a zip archive that is made while it is read. Links
    /// are left out: whoever unpacks it may be led elsewhere by them. What changes meanwhile is in it as
    /// it was when its turn came. Wakes nothing. One read.
    pub async fn archive(&self, caller: &Caller, agent: AgentId) -> Result<Pieces, Error> {
        let source = self.now(caller, agent).await?;
        let found = everything(&source).await?;
        if weight(&found) > MAX_TRANSFER {
            return Err(Error::TransferTooLarge);
        }
        Ok(produce(move |out| zip(source, found, out)))
    }
}

/// All that is there.
pub(super) async fn everything(source: &Source) -> Result<Vec<Found>, Error> {
    let walk = source.walk(Part { limit: MAX_ENTRIES, ..Part::default() }).await?;
    if walk.more { Err(Error::WorkspaceTooLarge) } else { Ok(walk.found) }
}

/// How many bytes its files have.
pub(super) fn weight(found: &[Found]) -> u64 {
    let sizes = found.iter().map(|found| match found.kind {
        Kind::File { size, .. } => size,
        Kind::Directory | Kind::Link(_) => 0,
    });
    sizes.fold(0, u64::saturating_add)
}

/// What `make` sends, as it sends it. A failure ends it.
pub(super) fn produce<F>(make: impl FnOnce(mpsc::Sender<Bytes>) -> F) -> Pieces
where
    F: Future<Output = io::Result<()>> + Send + 'static,
{
    let (sender, receiver) = mpsc::channel(1);
    let work = make(sender).into_stream();
    let work = work.filter_map(|done: io::Result<()>| future::ready(done.err().map(Err)));
    stream::select(receiver.map(Ok), work).boxed()
}

/// Whoever reads has gone.
pub(super) fn gone(_: mpsc::SendError) -> io::Error {
    io::ErrorKind::BrokenPipe.into()
}

async fn zip(source: Source, found: Vec<Found>, mut out: mpsc::Sender<Bytes>) -> io::Result<()> {
    let spill = Spill::default();
    let mut zip = ZipWriter::new_stream(spill.clone());
    let plain = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
    for Found { path, kind, .. } in found {
        match kind {
            Kind::Link(_) => {}
            Kind::Directory => {
                zip.add_directory(path.as_str(), plain.unix_permissions(0o755))?;
            }
            Kind::File { executable, .. } => {
                // It may be gone by now, or something else.
                let Ok(Some(opened)) = source.open(&path).await else { continue };
                let Kind::File { size, .. } = opened.found.kind else { continue };
                let mode = if executable { 0o755 } else { 0o644 };
                let options = plain.unix_permissions(mode).large_file(size > u64::from(u32::MAX));
                zip.start_file(path.as_str(), options)?;
                let mut content = (opened.content)(0..size);
                while let Some(piece) = content.next().await {
                    zip.write_all(&piece?)?;
                    out.send(spill.take()).await.map_err(gone)?;
                }
            }
        }
        out.send(spill.take()).await.map_err(gone)?;
    }
    zip.finish()?;
    out.send(spill.take()).await.map_err(gone)
}

/// Where a writer leaves what it has made until it is taken.
#[derive(Clone, Default)]
struct Spill(Arc<Mutex<Vec<u8>>>);

impl Spill {
    fn take(&self) -> Bytes {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner)).into()
    }
}

impl Write for Spill {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
