//! Bodies that are bytes: received whole before anything is done with them, in memory or in a file
//! without a name.

use std::fs::File;
use std::io;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{FromRequestParts, Request};
use axum::http::request::Parts;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use sha2::{Digest, Sha256};
use tokio::io::AsyncWriteExt;
use wire::{Problem, ProblemKind};

use crate::input::Input;
use crate::pipeline::MAX_BODY;
use crate::{Failure, Operation};

/// A body, as bytes. For routes that say [`Route::upload`](crate::Route::upload). Cheap to clone.
#[derive(Clone, Debug)]
pub enum Upload {
    /// In memory.
    Memory(Bytes),
    /// In a file of this many bytes that nobody else has.
    Spooled(Arc<File>, u64),
}

impl Input for Upload {
    fn describe(operation: &mut Operation<'_>) {
        operation.bytes();
    }
}

impl<S: Sync> FromRequestParts<S> for Upload {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        // Absent only where a route asks for bytes and does not say how many: a mistake in the table.
        parts.extensions.remove::<Self>().ok_or_else(|| {
            Failure(Problem::new(ProblemKind::Internal, "the route says nothing of an upload"))
        })
    }
}

/// Why a body was not received.
pub(crate) enum Unreceived {
    /// It has more bytes than it may.
    TooLarge,
    /// It ended before it was complete.
    CutOff,
    /// There is no place for it.
    NoPlace(io::Error),
}

/// Receives a body of at most `most` bytes, and tells `hash` of them.
pub(crate) async fn receive(
    body: &mut Body,
    most: u64,
    hash: &mut Sha256,
) -> Result<Upload, Unreceived> {
    let mut memory = BytesMut::new();
    let mut file: Option<tokio::fs::File> = None;
    let mut size = 0_u64;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Unreceived::CutOff)?;
        let Ok(data) = frame.into_data() else { continue };
        size += data.len() as u64;
        if size > most {
            return Err(Unreceived::TooLarge);
        }
        hash.update(&data);
        if file.is_none() && memory.len() + data.len() > MAX_BODY {
            let mut fresh =
                tokio::fs::File::from_std(tempfile::tempfile().map_err(Unreceived::NoPlace)?);
            fresh.write_all(&std::mem::take(&mut memory)).await.map_err(Unreceived::NoPlace)?;
            file = Some(fresh);
        }
        match &mut file {
            Some(file) => file.write_all(&data).await.map_err(Unreceived::NoPlace)?,
            None => memory.extend_from_slice(&data),
        }
    }
    match file {
        Some(mut file) => {
            file.flush().await.map_err(Unreceived::NoPlace)?;
            Ok(Upload::Spooled(Arc::new(file.into_std().await), size))
        }
        None => Ok(Upload::Memory(memory.freeze())),
    }
}

/// A request whose body was received.
pub(crate) fn with(parts: Parts, upload: Upload) -> Request {
    let mut request = Request::from_parts(parts, Body::empty());
    request.extensions_mut().insert(upload);
    request
}
