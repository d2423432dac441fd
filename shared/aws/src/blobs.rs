//! Blobs in an S3 bucket.
//!
//! What holds here: an object is `blobs/<realm>/<agent>/<digest>`. It is put only where none is (`If-None-Match`),
//! so it is written once, and with its SHA-256, which S3 compares before it keeps it. One request
//! for each put: [`MAX_BLOB`] is far below what one takes. Encryption at rest is the bucket's.
//!
//! Its role needs `s3:GetObject`, `PutObject` and `DeleteObject` on `blobs/*`, and `s3:ListBucket` on
//! the bucket: without that, S3 does not say of an object that it is not there.

use std::ops::Range;
use std::time::Duration;

use app::ports::{BlobError, BlobId, Blobs, MAX_BLOB, Shelf, Shelved};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::ResponseChecksumValidation;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::ByteStream;
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;
use domain::Timestamp;

use crate::fault::Fault;
use crate::{Environment, EnvironmentError, Sdk};

/// How long all attempts of one call may take together, and how many there are.
const DEADLINE: Duration = Duration::from_mins(1);
const ATTEMPTS: u32 = 5;
const FIRST_BACKOFF: Duration = Duration::from_millis(100);
const MAX_BACKOFF: Duration = Duration::from_secs(2);

/// How often a put is made again because S3 was asked by several at once and decided for none.
const CONFLICTS: u32 = 5;

/// The Blobs port on S3.
#[derive(Clone, Debug)]
pub struct Bucket {
    client: Client,
    bucket: String,
}

impl Bucket {
    /// Blobs in the bucket that `environment` names.
    pub fn new(sdk: &Sdk, environment: &Environment) -> Result<Self, EnvironmentError> {
        let config = config(sdk)
            // What is read is compared with its name here: once is enough.
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
            .build();
        Ok(Self { client: Client::from_conf(config), bucket: environment.bucket()?.to_owned() })
    }

    async fn read(
        &self,
        whose: Shelf,
        id: BlobId,
        range: Option<String>,
    ) -> Result<Option<Vec<u8>>, BlobError> {
        let get = self.client.get_object().bucket(&self.bucket).key(key(whose, id));
        let object = match get.set_range(range).send().await {
            Ok(object) => object,
            Err(error) if status(&error) == Some(404) => return Ok(None),
            // The range begins behind the end.
            Err(error) if status(&error) == Some(416) => return Ok(Some(Vec::new())),
            Err(error) => return Err(unavailable(Fault::of("GetObject", &error))),
        };
        let length = object.content_length().and_then(|length| usize::try_from(length).ok());
        if length.is_some_and(|length| length > MAX_BLOB) {
            return Err(BlobError::Damaged(id));
        }
        let bytes = object.body.collect().await.map_err(unavailable)?;
        Ok(Some(bytes.to_vec()))
    }
}

#[async_trait::async_trait]
impl Blobs for Bucket {
    async fn put(&self, whose: Shelf, bytes: Vec<u8>) -> Result<BlobId, BlobError> {
        if bytes.len() > MAX_BLOB {
            return Err(BlobError::TooLarge);
        }
        let id = BlobId::of(&bytes);
        let bytes = bytes::Bytes::from(bytes);
        let mut conflicts = 0;
        loop {
            let put = self
                .client
                .put_object()
                .bucket(&self.bucket)
                .key(key(whose, id))
                .if_none_match("*")
                .checksum_sha256(aws_smithy_types::base64::encode(id.as_bytes()))
                .body(ByteStream::from(bytes.clone()))
                .send()
                .await;
            match put {
                Ok(_) => return Ok(id),
                // It is there.
                Err(error) if status(&error) == Some(412) => return Ok(id),
                // Somebody deletes it, or puts the same, at this moment.
                Err(error) if status(&error) == Some(409) && conflicts < CONFLICTS => {
                    conflicts += 1;
                }
                Err(error) => return Err(unavailable(Fault::of("PutObject", &error))),
            }
        }
    }

    async fn get(&self, whose: Shelf, id: BlobId) -> Result<Option<Vec<u8>>, BlobError> {
        let Some(bytes) = self.read(whose, id, None).await? else { return Ok(None) };
        if BlobId::of(&bytes) != id {
            return Err(BlobError::Damaged(id));
        }
        Ok(Some(bytes))
    }

    /// One call.
    async fn get_part(
        &self,
        whose: Shelf,
        id: BlobId,
        range: Range<u64>,
    ) -> Result<Option<Vec<u8>>, BlobError> {
        if range.is_empty() {
            return Ok(self.size(whose, id).await?.map(|_| Vec::new()));
        }
        self.read(whose, id, Some(format!("bytes={}-{}", range.start, range.end - 1))).await
    }

    async fn size(&self, whose: Shelf, id: BlobId) -> Result<Option<u64>, BlobError> {
        let head = self.client.head_object().bucket(&self.bucket).key(key(whose, id));
        match head.send().await {
            Ok(head) => {
                let length = head.content_length().and_then(|length| u64::try_from(length).ok());
                let unsaid = || unavailable(Fault::new("HeadObject", "no length was answered"));
                length.map(Some).ok_or_else(unsaid)
            }
            Err(error) if status(&error) == Some(404) => Ok(None),
            Err(error) => Err(unavailable(Fault::of("HeadObject", &error))),
        }
    }

    async fn delete(&self, whose: Shelf, id: BlobId) -> Result<(), BlobError> {
        let delete = self.client.delete_object().bucket(&self.bucket).key(key(whose, id));
        match delete.send().await {
            Ok(_) => Ok(()),
            Err(error) => Err(unavailable(Fault::of("DeleteObject", &error))),
        }
    }

    /// One call.
    async fn list(
        &self,
        whose: Shelf,
        after: Option<BlobId>,
        limit: usize,
    ) -> Result<Vec<Shelved>, BlobError> {
        let prefix = prefix(whose);
        let listed = self
            .client
            .list_objects_v2()
            .bucket(&self.bucket)
            .prefix(&prefix)
            .set_start_after(after.map(|after| key(whose, after)))
            .max_keys(i32::try_from(limit).unwrap_or(i32::MAX))
            .send()
            .await
            .map_err(|error| unavailable(Fault::of("ListObjectsV2", &error)))?;
        let shelved = listed.contents().iter().filter_map(|object| {
            let id = object.key()?.strip_prefix(&prefix)?.parse().ok()?;
            let millis = object.last_modified()?.to_millis().ok()?;
            Some(Shelved { id, put_at: Timestamp::from_millis(u64::try_from(millis).ok()?) })
        });
        Ok(shelved.collect())
    }
}

/// How calls about objects are made: with patience, as an object is more than a row.
pub(crate) fn config(sdk: &Sdk) -> aws_sdk_s3::config::Builder {
    let retries = RetryConfig::standard()
        .with_max_attempts(ATTEMPTS)
        .with_initial_backoff(FIRST_BACKOFF)
        .with_max_backoff(MAX_BACKOFF);
    let timeouts = TimeoutConfig::builder()
        .operation_timeout(DEADLINE)
        .operation_attempt_timeout(DEADLINE / 2)
        .build();
    aws_sdk_s3::config::Builder::from(sdk.config()).retry_config(retries).timeout_config(timeouts)
}

fn prefix(whose: Shelf) -> String {
    format!("blobs/{}/{}/", whose.realm(), whose.agent())
}

fn key(whose: Shelf, id: BlobId) -> String {
    format!("{}{id}", prefix(whose))
}

pub(crate) fn status<E: ProvideErrorMetadata>(
    error: &SdkError<E, aws_sdk_s3::config::http::HttpResponse>,
) -> Option<u16> {
    error.raw_response().map(|response| response.status().as_u16())
}

fn unavailable(error: impl std::error::Error + Send + Sync + 'static) -> BlobError {
    BlobError::Unavailable(Box::new(error))
}
