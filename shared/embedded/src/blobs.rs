//! Blobs as files, named by what is in them.
//!
//! What holds here: `<directory>/<realm>/<agent>/<digest>`, each written aside and renamed. A shelf
//! on which nothing is left is gone. A file that is not what its name says is never given out whole, and the next put of the
//! same bytes mends it.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use app::ports::{BlobError, BlobId, Blobs, MAX_BLOB, Shelf, Shelved};
use domain::Timestamp;

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

    fn directory(&self, whose: Shelf) -> PathBuf {
        self.0.join(whose.realm().to_string()).join(whose.agent().to_string())
    }

    fn path(&self, whose: Shelf, id: BlobId) -> PathBuf {
        self.directory(whose).join(id.to_string())
    }
}

#[async_trait::async_trait]
impl Blobs for FileBlobs {
    async fn put(&self, whose: Shelf, bytes: Vec<u8>) -> Result<BlobId, BlobError> {
        if bytes.len() > MAX_BLOB {
            return Err(BlobError::TooLarge);
        }
        let this = self.clone();
        apart(move || {
            let id = BlobId::of(&bytes);
            let path = this.path(whose, id);
            if durable::read(&path)?.as_ref() == Some(&bytes) {
                return Ok(id);
            }
            loop {
                durable::directory(&this.directory(whose))?;
                match durable::replace(&this.0, &path, &bytes) {
                    // Somebody took the last one from the shelf, and the shelf with it.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    done => return done.map(|()| id),
                }
            }
        })
        .await
    }

    async fn get(&self, whose: Shelf, id: BlobId) -> Result<Option<Vec<u8>>, BlobError> {
        let path = self.path(whose, id);
        let read = apart(move || {
            let bytes = durable::read(&path)?;
            Ok(bytes.map(|bytes| (BlobId::of(&bytes) == id).then_some(bytes)))
        });
        match read.await? {
            Some(None) => Err(BlobError::Damaged(id)),
            Some(bytes) => Ok(bytes),
            None => Ok(None),
        }
    }

    async fn get_part(
        &self,
        whose: Shelf,
        id: BlobId,
        range: Range<u64>,
    ) -> Result<Option<Vec<u8>>, BlobError> {
        let path = self.path(whose, id);
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

    async fn size(&self, whose: Shelf, id: BlobId) -> Result<Option<u64>, BlobError> {
        let path = self.path(whose, id);
        apart(move || Ok(found(path.metadata())?.map(|metadata| metadata.len()))).await
    }

    async fn delete(&self, whose: Shelf, id: BlobId) -> Result<(), BlobError> {
        let (dir, path) = (self.directory(whose), self.path(whose, id));
        apart(move || {
            // Whoever took the last one from the shelf has taken the shelf.
            found(durable::remove(&path))?;
            // Not while anything is on it.
            std::fs::remove_dir(dir).ok();
            Ok(())
        })
        .await
    }

    async fn list(
        &self,
        whose: Shelf,
        after: Option<BlobId>,
        limit: usize,
    ) -> Result<Vec<Shelved>, BlobError> {
        let dir = self.directory(whose);
        apart(move || {
            let Some(entries) = found(std::fs::read_dir(dir))? else { return Ok(Vec::new()) };
            let mut ids = Vec::new();
            for entry in entries {
                let entry = entry?;
                let id = entry.file_name().to_str().and_then(|name| name.parse::<BlobId>().ok());
                ids.extend(id.filter(|id| after.is_none_or(|after| *id > after)).zip(Some(entry)));
            }
            ids.sort_unstable_by_key(|(id, _)| *id);
            let mut shelved = Vec::new();
            for (id, entry) in ids.into_iter().take(limit) {
                let modified = entry.metadata()?.modified()?;
                let since = modified.duration_since(UNIX_EPOCH).unwrap_or_default();
                let millis = u64::try_from(since.as_millis()).map_err(io::Error::other)?;
                shelved.push(Shelved { id, put_at: Timestamp::from_millis(millis) });
            }
            Ok(shelved)
        })
        .await
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
