//! Answers that are more than Lambda passes on, left in the bucket for who asked.
//!
//! What holds here: an object is `outgoing/<256 bits that nobody can guess>`, and the address of one is
//! signed, for a few minutes. Bytes go there as they come, so an answer takes the memory of a few
//! parts, however long it is. What is there a day later, whole or not, the bucket removes by itself:
//! nobody has to remember it, and no function needs the right to list or to delete.
//!
//! Its role needs `s3:PutObject` on `outgoing/*`, which is all that an upload in parts takes, and
//! `s3:GetObject` there: whoever follows the address does it with the rights of who signed it.

use std::error::Error;
use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::{RequestChecksumCalculation, ResponseChecksumValidation};
use aws_sdk_s3::presigning::PresigningConfig;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use bytes::{Bytes, BytesMut};
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};

use crate::fault::Fault;
use crate::{Environment, EnvironmentError, Sdk, blobs};

/// How many bytes a part has; the last may have less, and S3 takes no smaller others than 5 MiB.
const PART: usize = 8 * 1024 * 1024;

/// How many parts are on their way at once: one more is made meanwhile.
const AT_ONCE: usize = 2;

/// For how long an address opens what it names. Who has begun to read may take longer.
const OPENS_FOR: Duration = Duration::from_mins(10);

/// What is said of the bytes where they are fetched.
#[derive(Clone, Debug, Default)]
pub struct Label {
    /// The `Content-Type`.
    pub form: Option<String>,
    /// The `Content-Disposition`.
    pub disposition: Option<String>,
}

/// Why an answer was not left.
#[derive(Debug, thiserror::Error)]
pub enum OutgoingError {
    /// It ended before it was complete.
    #[error("the content ended: {0}")]
    CutOff(#[source] Box<dyn Error + Send + Sync>),
    /// The bucket did not take it.
    #[error("{0}")]
    Unavailable(#[source] Box<dyn Error + Send + Sync>),
}

/// Where answers are left.
#[derive(Clone, Debug)]
pub struct Outgoing {
    client: Client,
    bucket: String,
}

impl Outgoing {
    /// The bucket that `environment` names. Asks nothing of the network.
    pub fn new(sdk: &Sdk, environment: &Environment) -> Result<Self, EnvironmentError> {
        let config = blobs::config(sdk)
            // Every part is signed with its SHA-256, which S3 compares.
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            // Who follows an address has no header to ask for more with.
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
            .build();
        Ok(Self { client: Client::from_conf(config), bucket: environment.bucket()?.to_owned() })
    }

    /// Leaves `content` and says where it is, for ten minutes and whoever has the address. One call for
    /// every 8 MiB, and two more. Dropped before it is done, it leaves nothing that could be read.
    pub async fn leave<E>(
        &self,
        label: Label,
        content: BoxStream<'_, Result<Bytes, E>>,
    ) -> Result<String, OutgoingError>
    where
        E: Error + Send + Sync + 'static,
    {
        let key = key()?;
        let (bucket, key) = (self.bucket.as_str(), key.as_str());
        let begun = self
            .client
            .create_multipart_upload()
            .bucket(bucket)
            .key(key)
            .set_content_type(label.form)
            .set_content_disposition(label.disposition)
            .cache_control("private, no-store")
            .send()
            .await
            .map_err(|error| unavailable(Fault::of("CreateMultipartUpload", &error)))?;
        let unsaid = || unavailable(Fault::new("CreateMultipartUpload", "no upload was named"));
        let upload = begun.upload_id.ok_or_else(unsaid)?;
        let send = |(part, number): (Result<Bytes, E>, i32)| {
            let upload = upload.as_str();
            async move {
                let part = part.map_err(|error| OutgoingError::CutOff(Box::new(error)))?;
                let sent = self.client.upload_part().bucket(bucket).key(key).upload_id(upload);
                let sent = sent.part_number(number).body(ByteStream::from(part)).send().await;
                let sent = sent.map_err(|error| unavailable(Fault::of("UploadPart", &error)))?;
                let part = CompletedPart::builder().part_number(number).set_e_tag(sent.e_tag);
                Ok(part.build())
            }
        };
        let parts = parts(content).zip(stream::iter(1..)).map(send).buffered(AT_ONCE);
        let parts = CompletedMultipartUpload::builder().set_parts(Some(parts.try_collect().await?));
        self.client
            .complete_multipart_upload()
            .bucket(bucket)
            .key(key)
            .upload_id(&upload)
            .multipart_upload(parts.build())
            .send()
            .await
            .map_err(|error| unavailable(Fault::of("CompleteMultipartUpload", &error)))?;
        let opens = PresigningConfig::expires_in(OPENS_FOR).map_err(unavailable)?;
        let get = self.client.get_object().bucket(bucket).key(key).presigned(opens).await;
        let get = get.map_err(|error| unavailable(Fault::of("GetObject", &error)))?;
        Ok(get.uri().to_owned())
    }
}

fn key() -> Result<String, OutgoingError> {
    let mut random = [0; 32];
    getrandom::fill(&mut random).map_err(unavailable)?;
    Ok(format!("outgoing/{}", hex::encode(random)))
}

/// The same bytes, in parts.
fn parts<'a, E: Send + 'a>(
    content: BoxStream<'a, Result<Bytes, E>>,
) -> BoxStream<'a, Result<Bytes, E>> {
    let next = async |mut content: stream::Fuse<BoxStream<'a, Result<Bytes, E>>>| {
        let mut part = BytesMut::new();
        while part.len() < PART
            && let Some(piece) = content.try_next().await?
        {
            part.extend_from_slice(&piece);
        }
        Ok((!part.is_empty()).then(|| (part.freeze(), content)))
    };
    stream::try_unfold(content.fuse(), next).boxed()
}

fn unavailable(error: impl Error + Send + Sync + 'static) -> OutgoingError {
    OutgoingError::Unavailable(Box::new(error))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    #[tokio::test]
    async fn parts_are_large_but_for_the_last_and_add_up() {
        let content: Vec<u8> = (0..=250).cycle().take(2 * PART + 7).collect();
        let pieces = content.chunks(1_000_003).map(|piece| Ok(Bytes::copy_from_slice(piece)));
        let parts: Result<Vec<Bytes>, Infallible> =
            parts(stream::iter(pieces).boxed()).try_collect().await;
        let parts = parts.unwrap();
        let (last, others) = parts.split_last().unwrap();
        assert!(others.iter().all(|part| part.len() >= PART), "{:?}", parts.len());
        assert!(!last.is_empty());
        assert_eq!(parts.concat(), content);
    }
}
