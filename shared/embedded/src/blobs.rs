//! Blobs as files, named by what is in them.
//!
//! What holds here: `<directory>/<realm>/<first two digits>/<digest>`, each written aside and
//! renamed. A file that is not what its name says is never given out whole, and the next put of the
//! same bytes mends it.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use app::ports::{BlobError, BlobId, Blobs, MAX_BLOB};
use store::Scope;

use crate::durable;

/// The Blobs port as files in a directory that no other process writes to. Cheap to clone.
#[derive(Clone, Debug)]
pub struct FileBlobs(Arc<PathBuf>);

impl FileBlobs {
    /// Blobs in `dir`, which is made where it is absent.
    pub fn open(dir: impl Into<PathBuf>) -> io::Result<Self> {
        let dir = dir.into();
        durable::directory(&dir)?;
        durable::clear(&dir)?;
        Ok(Self(Arc::new(dir)))
    }

    fn path(&self, scope: Scope, id: BlobId) -> PathBuf {
        let name = id.to_string();
        self.0.join(scope.realm().to_string()).join(&name[..2]).join(name)
    }
}

#[async_trait::async_trait]
impl Blobs for FileBlobs {
    async fn put(&self, scope: Scope, bytes: Vec<u8>) -> Result<BlobId, BlobError> {
        if bytes.len() > MAX_BLOB {
            return Err(BlobError::TooLarge);
        }
        let this = self.clone();
        apart(move || {
            let id = BlobId::of(&bytes);
            let path = this.path(scope, id);
            if durable::read(&path)?.as_ref() == Some(&bytes) {
                return Ok(id);
            }
            if let Some(dir) = path.parent() {
                durable::directory(dir)?;
            }
            durable::replace(&this.0, &path, &bytes)?;
            Ok(id)
        })
        .await
    }

    async fn get(&self, scope: Scope, id: BlobId) -> Result<Option<Vec<u8>>, BlobError> {
        let path = self.path(scope, id);
        let read = apart(move || {
            let bytes = durable::read(&path)?;
            Ok(bytes.map(|bytes| (BlobId::of(&bytes) == id).then_some(bytes)))
        });
        match read.await? {
            Some(None) => Err(BlobError::Damaged(id)),
            Some(whole) => Ok(whole),
            None => Ok(None),
        }
    }

    async fn get_part(
        &self,
        scope: Scope,
        id: BlobId,
        range: Range<u64>,
    ) -> Result<Option<Vec<u8>>, BlobError> {
        let path = self.path(scope, id);
        apart(move || {
            let Some(file) = found(File::open(&path))? else { return Ok(None) };
            let end = range.end.min(file.metadata()?.len());
            let length = end.saturating_sub(range.start);
            let mut part = vec![0; usize::try_from(length).map_err(io::Error::other)?];
            file.read_exact_at(&mut part, range.start)?;
            Ok(Some(part))
        })
        .await
    }

    async fn size(&self, scope: Scope, id: BlobId) -> Result<Option<u64>, BlobError> {
        let path = self.path(scope, id);
        apart(move || Ok(found(path.metadata())?.map(|metadata| metadata.len()))).await
    }

    async fn delete(&self, scope: Scope, id: BlobId) -> Result<(), BlobError> {
        let path = self.path(scope, id);
        apart(move || durable::remove(&path)).await
    }
}

fn found<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

async fn apart<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, BlobError> {
    let done = tokio::task::spawn_blocking(work).await.map_err(io::Error::other).flatten();
    done.map_err(|error| BlobError::Unavailable(Box::new(error)))
}
