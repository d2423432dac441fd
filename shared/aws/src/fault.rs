//! What AWS said instead of doing it, in one line that is fit for a log.

use std::error::Error;
use std::fmt::Write;

use aws_sdk_ecs::error::{ProvideErrorMetadata, SdkError};

/// A call that failed. Says which, and why, and nothing of what was sent.
#[derive(Debug, thiserror::Error)]
#[error("{call}: {why}")]
pub(crate) struct Fault {
    call: &'static str,
    why: String,
}

impl Fault {
    pub(crate) fn new(call: &'static str, why: impl Into<String>) -> Self {
        Self { call, why: why.into() }
    }

    /// What came of `call` after every retry.
    pub(crate) fn of<E, R>(call: &'static str, error: &SdkError<E, R>) -> Self
    where
        E: ProvideErrorMetadata + Error + 'static,
        R: std::fmt::Debug + 'static,
    {
        Self::new(call, said(error))
    }
}

/// The service's own code and message, or why there was none.
pub(crate) fn said<E, R>(error: &SdkError<E, R>) -> String
where
    E: ProvideErrorMetadata + Error + 'static,
    R: std::fmt::Debug + 'static,
{
    if let Some(service) = error.as_service_error() {
        let message = service.message().unwrap_or("no message");
        return format!("{} ({message})", service.code().unwrap_or("an error without a code"));
    }
    let mut said = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        // A string takes all that is written to it.
        let _ = write!(said, ": {cause}");
        source = cause.source();
    }
    said
}
