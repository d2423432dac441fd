//! API keys and what they may do.
//!
//! A key is written `rk_<id>_<secret>`. Only the SHA-256 of the secret is kept; the id is how the
//! key is found, so authentication costs the same however many keys there are.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::{EnumString, IntoStaticStr, VariantArray};

use crate::id::Ulid;
use crate::text::Name;
use crate::{KeyId, RealmId, Timestamp};

/// One thing a key may do. A key holds a set of them; a route names the one it needs.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    JsonSchema,
    VariantArray,
    IntoStaticStr,
    EnumString,
)]
pub enum Scope {
    /// Make, list, change and suspend realms: the operator of the installation.
    #[serde(rename = "operator")]
    #[strum(serialize = "operator")]
    Operator,
    /// Read the realm, its limits and its audit log.
    #[serde(rename = "realm:read")]
    #[strum(serialize = "realm:read")]
    RealmRead,
    /// Change the realm's name.
    #[serde(rename = "realm:write")]
    #[strum(serialize = "realm:write")]
    RealmWrite,
    /// List keys.
    #[serde(rename = "keys:read")]
    #[strum(serialize = "keys:read")]
    KeysRead,
    /// Make and revoke keys, never with a scope the maker lacks.
    #[serde(rename = "keys:write")]
    #[strum(serialize = "keys:write")]
    KeysWrite,
    /// Read templates and agents.
    #[serde(rename = "agents:read")]
    #[strum(serialize = "agents:read")]
    AgentsRead,
    /// Make, change and delete templates and agents; pause and resume agents.
    #[serde(rename = "agents:write")]
    #[strum(serialize = "agents:write")]
    AgentsWrite,
    /// Read sessions, runs and events.
    #[serde(rename = "sessions:read")]
    #[strum(serialize = "sessions:read")]
    SessionsRead,
    /// Open and close sessions, prompt and cancel.
    #[serde(rename = "sessions:write")]
    #[strum(serialize = "sessions:write")]
    SessionsWrite,
}

impl Scope {
    /// Every scope inside one realm: what a realm's first key holds.
    pub fn of_a_realm() -> BTreeSet<Self> {
        Self::VARIANTS.iter().copied().filter(|&scope| scope != Self::Operator).collect()
    }

    /// Every scope there is: what an installation's first key holds.
    pub fn all() -> BTreeSet<Self> {
        Self::VARIANTS.iter().copied().collect()
    }
}

/// A key as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApiKey {
    /// How it is found.
    pub id: KeyId,
    /// The realm it acts in.
    pub realm: RealmId,
    /// What people call it.
    pub name: Name,
    /// SHA-256 of the secret, in lower-case hexadecimal.
    pub secret_sha256: String,
    /// What it may do.
    pub scopes: BTreeSet<Scope>,
    /// When it stops working by itself.
    pub expires_at: Option<Timestamp>,
    /// When somebody stopped it.
    pub revoked_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
}

impl ApiKey {
    /// Whether the key works at `now`.
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|at| now < at)
    }
}

/// A key as its holder presents it. Neither `Debug` nor `Display` shows the secret.
#[derive(Clone)]
pub struct PresentedKey {
    /// How the key is found.
    pub id: KeyId,
    secret: String,
}

impl PresentedKey {
    /// The secret half.
    pub fn secret(&self) -> &str {
        &self.secret
    }

    /// Spells the whole key, once, for the one who asked for it.
    pub fn spell(id: KeyId, secret: &str) -> String {
        format!("rk_{}_{secret}", id.ulid())
    }
}

impl fmt::Debug for PresentedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PresentedKey({})", self.id)
    }
}

/// The text is not an API key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an API key is rk_<id>_<secret>")]
pub struct NotAKey;

impl FromStr for PresentedKey {
    type Err = NotAKey;

    fn from_str(text: &str) -> Result<Self, NotAKey> {
        let (id, secret) =
            text.strip_prefix("rk_").and_then(|rest| rest.split_once('_')).ok_or(NotAKey)?;
        let ulid = Ulid::from_string(id).map_err(|_| NotAKey)?;
        let fits = (16..=128).contains(&secret.len())
            && secret.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
            && ulid.to_string() == id;
        if fits {
            Ok(Self { id: KeyId::new(ulid), secret: secret.to_owned() })
        } else {
            Err(NotAKey)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_as_it_is_spelled_and_never_printed() {
        let id = KeyId::new(Ulid::from_parts(1, 2));
        let spelled = PresentedKey::spell(id, "a_secret_of_some_length");
        let key: PresentedKey = spelled.parse().unwrap();
        assert_eq!((key.id, key.secret()), (id, "a_secret_of_some_length"));
        assert!(!format!("{key:?}").contains("a_secret"));
    }

    #[test]
    fn what_is_not_a_key_is_refused() {
        for bad in [
            "",
            "rk_",
            "rk_x_y",
            "tk_live_x",
            "rk_01JD3Z6V0QK5S8M2W4X7Y9ABCD",
            "rk_01JD3Z6V0QK5S8M2W4X7Y9ABCD_short",
        ] {
            assert!(bad.parse::<PresentedKey>().is_err(), "{bad}");
        }
    }
}
