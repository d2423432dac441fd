//! Uploads in an S3 bucket.
//!
//! What holds here: an upload is `incoming/<realm>/<id>`, and its address is a signed `PUT` of exactly as
//! many bytes as were announced: S3 refuses every other length. What is there a day later the bucket
//! removes by itself, so no function needs the right to delete. Encryption at rest is the bucket's.
//!
//! Who says where an upload is put needs `s3:PutObject` on `incoming/*`: whoever puts it does it with
//! the rights of who signed. Who takes one needs `s3:GetObject` there, and `s3:ListBucket` on the
//! bucket, without which S3 does not say of an object that it is not there.

use std::sync::Arc;

use app::files::Incoming;
use app::ports::{UploadError, Uploads};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::{RequestChecksumCalculation, ResponseChecksumValidation};
use aws_sdk_s3::presigning::PresigningConfig;
use domain::upload::{LIFE, Upload};
use tokio::io::AsyncWriteExt;

use crate::fault::Fault;
use crate::{Environment, EnvironmentError, Sdk, blobs};

/// The Uploads port on S3.
#[derive(Clone, Debug)]
pub struct BucketUploads {
    sdk: Sdk,
    bucket: String,
}

impl BucketUploads {
    /// Uploads in the bucket that `environment` names.
    pub fn new(sdk: &Sdk, environment: &Environment) -> Result<Self, EnvironmentError> {
        Ok(Self { sdk: sdk.clone(), bucket: environment.bucket()?.to_owned() })
    }

    /// Made when an upload is asked about: most requests bring their bytes themselves.
    fn client(&self) -> Client {
        let config = blobs::config(&self.sdk)
            // Whoever puts the bytes says no more of them than how many they are.
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
        Client::from_conf(config.build())
    }
}

#[async_trait::async_trait]
impl Uploads for BucketUploads {
    async fn address(&self, upload: &Upload) -> Result<String, UploadError> {
        let put = self
            .client()
            .put_object()
            .bucket(&self.bucket)
            .key(key(upload))
            .content_length(i64::try_from(upload.size).map_err(unavailable)?)
            .presigned(PresigningConfig::expires_in(LIFE).map_err(unavailable)?)
            .await
            .map_err(|error| unavailable(Fault::of("PutObject", &error)))?;
        // Of what is signed, every client says host and length by itself.
        Ok(put.uri().to_owned())
    }

    async fn content(&self, upload: &Upload) -> Result<Option<Incoming>, UploadError> {
        let get = self.client().get_object().bucket(&self.bucket).key(key(upload)).send().await;
        let mut object = match get {
            Ok(object) => object,
            Err(error) if blobs::status(&error) == Some(404) => return Ok(None),
            Err(error) => return Err(unavailable(Fault::of("GetObject", &error))),
        };
        let mut file = tokio::fs::File::from_std(tempfile::tempfile().map_err(unavailable)?);
        let mut size = 0;
        while let Some(piece) = object.body.try_next().await.map_err(unavailable)? {
            file.write_all(&piece).await.map_err(unavailable)?;
            size += piece.len() as u64;
        }
        file.flush().await.map_err(unavailable)?;
        Ok(Some(Incoming::Spooled(Arc::new(file.into_std().await), size)))
    }

    /// The bucket does it.
    async fn forget(&self, _: &Upload) -> Result<(), UploadError> {
        Ok(())
    }
}

fn key(upload: &Upload) -> String {
    format!("incoming/{}/{}", upload.realm, upload.id)
}

fn unavailable(error: impl std::error::Error + Send + Sync + 'static) -> UploadError {
    UploadError(Box::new(error))
}
