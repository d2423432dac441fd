//! The secrets of one realm as a vault keeps them: one document, whatever the platform seals it with
//! and puts it into. Vaults differ in how they read and replace it, and in nothing else.
//!
//! What holds here: every change makes the next revision, and what it changes gets that revision as
//! its version. So versions grow, and none is given twice.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;

use domain::text::Slug;
use serde::{Deserialize, Serialize};

use crate::ports::{Kept, Named, VaultError};

/// The most bytes of one value.
pub const MAX_SECRET: usize = 16 * 1024;

/// The most bytes of all secrets of a realm as JSON, names and versions among them. A managed secret
/// holds 64 KiB.
pub const MAX_SECRETS: usize = 60 * 1024;

/// The value of a secret. It is shown to who asks for it with [`expose`](Self::expose), and to
/// nobody else.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SecretValue(String);

impl SecretValue {
    /// Checks the length of `text`: 1 to [`MAX_SECRET`] bytes.
    pub fn new(text: impl Into<String>) -> Result<Self, VaultError> {
        let text = text.into();
        if text.is_empty() || text.len() > MAX_SECRET {
            return Err(VaultError::Refused(format!("a secret has 1 to {MAX_SECRET} bytes")));
        }
        Ok(Self(text))
    }

    /// The text, for whoever gives it to where it is meant for.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretValue(…)")
    }
}

/// All secrets of a realm.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Secrets {
    /// How many changes there have been.
    revision: u64,
    secrets: BTreeMap<Slug, Entry>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    version: u64,
    value: SecretValue,
}

impl Secrets {
    /// How many changes there have been. 0 is a realm that never had a secret.
    pub const fn revision(&self) -> u64 {
        self.revision
    }

    /// See [`Vault::get`](crate::ports::Vault::get).
    pub fn get(&self, name: &Slug) -> Option<Kept> {
        let entry = self.secrets.get(name)?;
        Some(Kept { version: entry.version, value: entry.value.clone() })
    }

    /// See [`Vault::list`](crate::ports::Vault::list).
    pub fn list(&self, after: Option<&Slug>, limit: usize) -> Vec<Named> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let names = self.secrets.range((from, Bound::Unbounded)).take(limit);
        names.map(|(name, entry)| Named { name: name.clone(), version: entry.version }).collect()
    }

    /// See [`Vault::put`](crate::ports::Vault::put).
    pub fn put(&mut self, name: &Slug, value: &SecretValue) -> Result<u64, VaultError> {
        if self.secrets.contains_key(name) {
            return Err(VaultError::Exists);
        }
        self.set(name, value)
    }

    /// See [`Vault::rotate`](crate::ports::Vault::rotate).
    pub fn rotate(
        &mut self,
        name: &Slug,
        version: u64,
        value: &SecretValue,
    ) -> Result<u64, VaultError> {
        match self.secrets.get(name) {
            None => Err(VaultError::Missing),
            Some(entry) if entry.version != version => Err(VaultError::Stale),
            Some(_) => self.set(name, value),
        }
    }

    /// See [`Vault::delete`](crate::ports::Vault::delete). Answers whether anything has changed.
    pub fn delete(&mut self, name: &Slug) -> bool {
        let removed = self.secrets.remove(name).is_some();
        self.revision += u64::from(removed);
        removed
    }

    /// The document as text, for a vault to seal.
    pub fn to_text(&self) -> Result<String, VaultError> {
        serde_json::to_string(self).map_err(|error| VaultError::Unavailable(Box::new(error)))
    }

    /// Reads what [`to_text`](Self::to_text) wrote.
    pub fn from_text(text: &str) -> Result<Self, VaultError> {
        // What serde says of a document may quote it.
        serde_json::from_str(text).map_err(|error| {
            let place = format!("line {} column {}", error.line(), error.column());
            VaultError::Unavailable(format!("the realm's secrets do not parse: {place}").into())
        })
    }

    fn set(&mut self, name: &Slug, value: &SecretValue) -> Result<u64, VaultError> {
        let version = self.revision + 1;
        let before = self.secrets.insert(name.clone(), Entry { version, value: value.clone() });
        if self.to_text()?.len() > MAX_SECRETS {
            match before {
                Some(entry) => self.secrets.insert(name.clone(), entry),
                None => self.secrets.remove(name),
            };
            return Err(VaultError::Refused(format!(
                "the secrets of a realm have at most {MAX_SECRETS} bytes together: delete some first"
            )));
        }
        self.revision = version;
        Ok(version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Slug {
        Slug::new(text).unwrap()
    }

    fn value(text: &str) -> SecretValue {
        SecretValue::new(text).unwrap()
    }

    #[test]
    fn what_is_refused_changes_nothing() {
        let mut secrets = Secrets::default();
        secrets.put(&name("a"), &value("1")).unwrap();
        let before = secrets.clone();
        assert!(matches!(secrets.put(&name("a"), &value("2")), Err(VaultError::Exists)));
        assert!(matches!(secrets.rotate(&name("a"), 2, &value("2")), Err(VaultError::Stale)));
        assert!(matches!(secrets.rotate(&name("b"), 1, &value("2")), Err(VaultError::Missing)));
        assert!(!secrets.delete(&name("b")));
        assert_eq!(secrets, before);
    }

    #[test]
    fn what_does_not_fit_is_taken_back() {
        let mut secrets = Secrets::default();
        let large = value(&"x".repeat(MAX_SECRET));
        for one in ["a", "b", "c"] {
            secrets.put(&name(one), &large).unwrap();
        }
        secrets.put(&name("d"), &value("small")).unwrap();
        let before = secrets.clone();
        for refused in [secrets.put(&name("e"), &large), secrets.rotate(&name("d"), 4, &large)] {
            assert!(matches!(refused, Err(VaultError::Refused(_))), "{refused:?}");
        }
        assert_eq!(secrets, before);
    }

    #[test]
    fn nothing_shows_a_value() {
        let mut secrets = Secrets::default();
        secrets.put(&name("a"), &value("hush")).unwrap();
        let shown = format!("{secrets:?} {:?} {:?}", secrets.get(&name("a")), value("hush"));
        assert!(!shown.contains("hush"), "{shown}");
        let text = secrets.to_text().unwrap().replace("\"hush\"", "hush");
        let error = Secrets::from_text(&text).unwrap_err();
        assert!(!format!("{error:?} {error}").contains("hush"), "{error:?}");
    }
}
