//! First answers, kept for a day, so that a repeated request gets the same one.
//!
//! The answer is written in the commit it answers for: there is no moment at which one is durable
//! and the other is not.

use domain::id::Ulid;
use domain::{KeyId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::document::{decode, encode};
use crate::{Error, Expect, Item, Key, Write, keys};

/// The first answer to a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    /// SHA-256 of method, path and body, in hexadecimal: the same key for another request is refused.
    pub fingerprint: String,
    /// The body, sealed under the caller's own key: an answer may hold a secret that is shown once.
    pub sealed: String,
}

/// Where the first answer to a request of `caller` is.
pub fn key(caller: KeyId, idempotency_key: &str) -> Key {
    keys::idempotency(caller, idempotency_key)
}

/// Writes a first answer, which goes by itself at `expires`.
pub fn put(key: Key, answer: &Answer, expires: Timestamp) -> Write {
    Write::Put {
        key,
        body: encode(answer),
        index: None,
        expires: Some(expires),
        expect: Expect::Absent,
    }
}

/// Notes that something which `caller` may do once was done; a conflict where it was before. Goes by
/// itself at `expires`.
pub fn used_up(caller: KeyId, once: Ulid, expires: Timestamp) -> Write {
    Write::Put {
        key: keys::used_up(caller, once),
        body: encode(&()),
        index: None,
        expires: Some(expires),
        expect: Expect::Absent,
    }
}

/// Reads a first answer.
pub fn read(item: &Item) -> Result<Answer, Error> {
    Ok(decode::<Answer>(item)?.value)
}
