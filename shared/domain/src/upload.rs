//! An upload: bytes that come before the request they are for, because they are more than a request
//! brings. It is taken once, in the commit of what takes it, or expires.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{RealmId, Timestamp, UploadId};

/// How long an upload may be put and taken.
pub const LIFE: Duration = Duration::from_hours(1);

/// An upload that somebody has announced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Upload {
    /// Its id.
    pub id: UploadId,
    /// The realm of who announced it.
    pub realm: RealmId,
    /// How many bytes it has, no more and no less.
    pub size: u64,
    /// When it can neither be put nor taken any more.
    pub expires_at: Timestamp,
}

impl Upload {
    /// An upload of `size` bytes, announced now.
    pub fn new(id: UploadId, realm: RealmId, size: u64, now: Timestamp) -> Self {
        Self { id, realm, size, expires_at: now.after(LIFE) }
    }

    /// Whether it can still be put and taken.
    pub fn is_open(&self, now: Timestamp) -> bool {
        now < self.expires_at
    }
}
