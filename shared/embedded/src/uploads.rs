//! Uploads as files.
//!
//! What holds here
//! - An address ends in 256 random bits. The file of that name says for which upload they are, so who has
//!   an address may put that upload and nothing else, also after a restart.
//! - What is put is written aside and renamed once it is whole: it is there whole or not at all.
//! - All that nobody has touched for as long as an upload lives is removed by [`FileUploads::sweep`].

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use app::files::Incoming;
use app::ports::{Clock, UploadError, Uploads};
use bytes::Bytes;
use domain::Timestamp;
use domain::upload::{LIFE, Upload};
use futures::{Stream, StreamExt};
use tokio::io::AsyncWriteExt;

use crate::durable;

/// How many bytes of chance an address has.
const CHANCE: usize = 32;

/// Why nothing was put.
#[derive(Debug, thiserror::Error)]
pub enum NotPut {
    /// Nobody has such an address, or its upload has expired.
    #[error("there is no such upload: it was taken, or has expired, or never was")]
    Unknown,
    /// There is another number of bytes than was announced.
    #[error("the upload was announced with {0} bytes")]
    OtherSize(u64),
    /// The bytes ended before all were there.
    #[error("the body ended before it was complete")]
    CutOff,
    /// There is no place for them.
    #[error("there is no place for the bytes: {0}")]
    NoPlace(#[from] io::Error),
}

/// The Uploads port as files in a directory that no other process writes to. Cheap to clone.
#[derive(Clone)]
pub struct FileUploads(Arc<Inner>);

struct Inner {
    dir: PathBuf,
    base: String,
    clock: Arc<dyn Clock>,
}

impl fmt::Debug for FileUploads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FileUploads({})", self.0.dir.display())
    }
}

impl FileUploads {
    /// Uploads in `dir`, which is made where it is absent; `base` is what addresses begin with, and what
    /// follows there is given to [`Self::put`].
    pub fn open(
        dir: impl Into<PathBuf>,
        base: impl Into<String>,
        clock: Arc<dyn Clock>,
    ) -> io::Result<Self> {
        let (dir, base) = (dir.into(), base.into());
        durable::directory(&dir)?;
        durable::clear(&dir)?;
        Ok(Self(Arc::new(Inner { dir, base, clock })))
    }

    /// Puts `body` where the address that ends in `ticket` says.
    pub async fn put<E>(
        &self,
        ticket: &str,
        mut body: impl Stream<Item = Result<Bytes, E>> + Unpin,
    ) -> Result<(), NotPut> {
        let upload = self.announced(ticket)?.ok_or(NotPut::Unknown)?;
        let aside = Aside(durable::aside(&self.0.dir, ticket)?);
        let mut file = tokio::fs::File::create_new(&aside.0).await?;
        let mut size = 0;
        while let Some(piece) = body.next().await {
            let piece = piece.map_err(|_| NotPut::CutOff)?;
            size += piece.len() as u64;
            if size > upload.size {
                return Err(NotPut::OtherSize(upload.size));
            }
            file.write_all(&piece).await?;
        }
        if size < upload.size {
            return Err(NotPut::OtherSize(upload.size));
        }
        file.sync_all().await?;
        Ok(tokio::fs::rename(&aside.0, self.path(&upload)).await?)
    }

    /// Removes what has expired.
    pub fn sweep(&self) -> io::Result<()> {
        let now = self.0.clock.now();
        for entry in fs::read_dir(&self.0.dir)? {
            let entry = entry?;
            let modified = entry.metadata()?.modified()?.duration_since(UNIX_EPOCH);
            let modified = modified.map_err(io::Error::other)?.as_millis();
            let modified = Timestamp::from_millis(u64::try_from(modified).unwrap_or(u64::MAX));
            if modified.after(LIFE) < now {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    /// The upload for which an address was made that ends in `ticket`.
    fn announced(&self, ticket: &str) -> io::Result<Option<Upload>> {
        let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if ticket.len() != CHANCE * 2 || !ticket.bytes().all(digit) {
            return Ok(None);
        }
        let Some(text) = durable::read(&self.0.dir.join(ticket))? else { return Ok(None) };
        let upload: Upload = serde_json::from_slice(&text)?;
        Ok(upload.is_open(self.0.clock.now()).then_some(upload))
    }

    fn path(&self, upload: &Upload) -> PathBuf {
        self.0.dir.join(format!("{}-{}", upload.realm, upload.id))
    }
}

/// A file that is not there any more, unless it was renamed.
struct Aside(PathBuf);

impl Drop for Aside {
    fn drop(&mut self) {
        drop(fs::remove_file(&self.0));
    }
}

#[async_trait::async_trait]
impl Uploads for FileUploads {
    async fn address(&self, upload: &Upload) -> Result<String, UploadError> {
        let mut chance = [0; CHANCE];
        getrandom::fill(&mut chance).map_err(unavailable)?;
        let ticket = hex::encode(chance);
        let text = serde_json::to_vec(upload).map_err(unavailable)?;
        let dir = &self.0.dir;
        durable::replace(dir, &dir.join(&ticket), &text).map_err(unavailable)?;
        Ok(format!("{}{ticket}", self.0.base))
    }

    async fn content(&self, upload: &Upload) -> Result<Option<Incoming>, UploadError> {
        match File::open(self.path(upload)) {
            Ok(file) => {
                let size = file.metadata().map_err(unavailable)?.len();
                Ok(Some(Incoming::Spooled(Arc::new(file), size)))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(unavailable(error)),
        }
    }

    async fn forget(&self, upload: &Upload) -> Result<(), UploadError> {
        durable::remove(&self.path(upload)).map_err(unavailable)
    }
}

fn unavailable(error: impl std::error::Error + Send + Sync + 'static) -> UploadError {
    UploadError(Box::new(error))
}
