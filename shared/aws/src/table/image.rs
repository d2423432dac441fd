//! A body as the table's change stream tells it.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::packed::{self, Unreadable};

/// The attribute `body` of an image of an item, as the stream's records spell it.
#[derive(Clone, Debug, Deserialize)]
pub enum Body {
    /// As it is.
    S(String),
    /// Packed, in base 64.
    B(String),
}

/// An image's body does not read.
#[derive(Debug, thiserror::Error)]
#[error("the body of a change does not read")]
pub struct BodyError(#[source] Box<dyn std::error::Error + Send + Sync>);

impl Body {
    /// The document.
    pub fn text(&self) -> Result<Cow<'_, str>, BodyError> {
        let packed = match self {
            Self::S(text) => return Ok(text.into()),
            Self::B(packed) => STANDARD.decode(packed).map_err(|error| BodyError(error.into()))?,
        };
        let body = packed::unpack(&packed);
        Ok(body.map_err(|error: Unreadable| BodyError(error.into()))?.into())
    }
}
