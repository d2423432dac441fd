//! Uploads: bytes that come before the request they are for, because they are more than a request brings.
//!
//! What holds here
//! - Whoever announces an upload gets an address at which exactly that many bytes can be put, without a
//!   key. Where that is, the platform says ([`Uploads`]).
//! - An upload is named in its realm only. It is taken by the commit of what takes it, so once; what
//!   fails leaves it there for another try.
//! - After an hour it can neither be put nor taken, and the platform removes what was put by itself.

use std::fmt;

use domain::UploadId;
use domain::upload::Upload;
use domain::workspace::MAX_TRANSFER;
use store::document::{self, Loaded};
use store::{Expect, keys};
use wire::files::UploadView;

use crate::files::Incoming;
use crate::{App, Caller, Error};

/// The platform did not do it this time.
#[derive(Debug, thiserror::Error)]
#[error("uploads are not there right now: {0}")]
pub struct UploadError(#[source] pub Box<dyn std::error::Error + Send + Sync>);

/// Where bytes wait for the request they are for.
#[async_trait::async_trait]
pub trait Uploads: Send + Sync + fmt::Debug {
    /// A URL at which exactly the bytes of `upload` can be put by `PUT` until it expires: by whoever has
    /// it, with no header but those that every client sends. They can be put again until they are taken:
    /// the last counts.
    async fn address(&self, upload: &Upload) -> Result<String, UploadError>;

    /// What was put there; nothing, where nothing was.
    async fn content(&self, upload: &Upload) -> Result<Option<Incoming>, UploadError>;

    /// Removes what was put there, which nobody will ask for again. A platform that removes everything
    /// after a while does nothing.
    async fn forget(&self, upload: &Upload) -> Result<(), UploadError>;
}

/// Where nothing can be put.
#[derive(Clone, Copy, Debug)]
pub struct NoUploads;

#[async_trait::async_trait]
impl Uploads for NoUploads {
    async fn address(&self, _: &Upload) -> Result<String, UploadError> {
        Err(UploadError("there is no place for any".into()))
    }

    async fn content(&self, _: &Upload) -> Result<Option<Incoming>, UploadError> {
        Err(UploadError("there is no place for any".into()))
    }

    async fn forget(&self, _: &Upload) -> Result<(), UploadError> {
        Err(UploadError("there is no place for any".into()))
    }
}

/// The use cases about uploads.
#[derive(Clone, Copy, Debug)]
pub struct Announced<'a>(&'a App);

impl App {
    /// The use cases about uploads.
    pub const fn uploads(&self) -> Announced<'_> {
        Announced(self)
    }
}

impl Announced<'_> {
    /// Announces an upload of `size` bytes. No read, one commit.
    pub async fn open(&self, caller: &Caller, size: u64) -> Result<UploadView, Error> {
        if size > MAX_TRANSFER {
            return Err(Error::TransferTooLarge);
        }
        let now = self.0.now();
        let upload = Upload::new(UploadId::new(self.0.ulid(now)), caller.realm(), size, now);
        let url = self.0.ports.uploads.address(&upload).await?;
        let (id, expires_at) = (upload.id, upload.expires_at);
        let view = UploadView { id, url, method: "PUT".to_owned(), expires_at };
        let writes = vec![document::put_until(&upload, expires_at, Expect::Absent)];
        self.0.commit(caller, "upload.open", id, writes, &view).await?;
        Ok(view)
    }

    /// What a request is about: its own `body`, or the upload it names in place of one. The caller's
    /// next commit takes that. One read, where an upload is named.
    pub async fn content(
        &self,
        caller: Caller,
        named: Option<UploadId>,
        body: Incoming,
    ) -> Result<(Caller, Incoming), Error> {
        let Some(id) = named else { return Ok((caller, body)) };
        if body.size() > 0 {
            let detail = "is taken in place of a body: send one or the other";
            return Err(Error::Parameter { field: "upload", detail });
        }
        let found = self.find(&caller, id).await?;
        let size = found.value.size;
        let content = self.0.ports.uploads.content(&found.value).await?;
        let Some(content) = content.filter(|content| content.size() == size) else {
            // Or somebody has taken it meanwhile.
            self.find(&caller, id).await?;
            return Err(Error::UploadIncomplete(size));
        };
        Ok((caller.taking(found), content))
    }

    async fn find(&self, caller: &Caller, id: UploadId) -> Result<Loaded<Upload>, Error> {
        let key = keys::upload(caller.scope, id);
        let found = document::get::<Upload>(self.0.table(), &key).await?;
        let found = found.filter(|found| found.value.is_open(self.0.now()));
        found.ok_or(Error::NoSuchUpload)
    }

    /// Removes what the caller's commit has taken. What stays, because this did not work, goes when it
    /// expires.
    pub async fn taken(&self, caller: &Caller) {
        let Some(upload) = caller.takes() else { return };
        if let Err(error) = self.0.ports.uploads.forget(upload).await {
            tracing::warn!(upload.id = %upload.id, %error, "what was taken stays a while");
        }
    }
}
