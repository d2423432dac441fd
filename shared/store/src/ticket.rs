//! Tickets in the table: each opens one stream, once, within a minute.

use domain::{KeyId, RealmId, TicketId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::document::Document;
use crate::{Key, keys};

/// A ticket as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ticket {
    /// How it is found.
    pub id: TicketId,
    /// SHA-256 of its secret, in lower-case hexadecimal.
    pub secret_sha256: String,
    /// The realm of who asked for it.
    pub realm: RealmId,
    /// The key of who asked for it.
    pub key: KeyId,
    /// When it stops working.
    pub expires_at: Timestamp,
}

impl Document for Ticket {
    fn key(&self) -> Key {
        keys::ticket(self.id)
    }
}
