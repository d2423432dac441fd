//! The vault as sealed files: one for each realm, under a key that is a file, too.
//!
//! What holds here
//! - A file is sealed with XChaCha20-Poly1305 under a fresh nonce and for its realm: one that was
//!   changed, cut, or moved to another realm's place is not opened.
//! - The key is made once, with mode 0600, and never again: where there are sealed files and no key,
//!   or somebody else may read it, the vault does not open and says what to do.
//! - A change is on the disk before it is answered, and is there whole or not at all.
//!
//! Deliberately absent: protection from who may read the key and the files as this user, or puts an
//! older file of the same realm back.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use app::ports::{Kept, Named, SecretValue, Vault, VaultError};
use app::secrets::Secrets;
use chacha20poly1305::aead::{Aead, Generate, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use domain::RealmId;
use domain::text::Slug;
use store::Scope;

use crate::durable;

/// The key's file in the vault's directory.
pub const KEY: &str = "key";

/// How the name of a realm's file ends.
const SEALED: &str = ".sealed";

/// Bound into every file, beside its realm.
const PURPOSE: &str = "reeve vault 1";

/// The bytes of a nonce, which a file begins with.
const NONCE: usize = 24;

/// The vault cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Others may read the key.
    #[error("{} has mode {mode:o}: whoever else may read it may have the secrets. Make it 600", .path.display())]
    Open {
        /// The key's file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// There are secrets, and no key to them.
    #[error("{} is gone, and there are secrets sealed under it: put it back from a backup", .0.display())]
    NoKey(PathBuf),
    /// The file is not a key.
    #[error("{} is not a key of 32 bytes: put it back from a backup", .0.display())]
    NotAKey(PathBuf),
    /// The file system refused.
    #[error("cannot use {}", .dir.display())]
    Io {
        /// The vault's directory.
        dir: PathBuf,
        /// What it said.
        #[source]
        source: io::Error,
    },
}

/// The Vault port as sealed files in a directory that no other process writes to. Cheap to clone.
#[derive(Clone)]
pub struct FileVault(Arc<Inner>);

struct Inner {
    dir: PathBuf,
    cipher: XChaCha20Poly1305,
    /// Held by whoever changes something.
    change: Mutex<()>,
}

impl std::fmt::Debug for FileVault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileVault").field("dir", &self.0.dir).finish_non_exhaustive()
    }
}

impl FileVault {
    /// Opens the vault in `dir`, which is made where it is absent, and with it the key.
    pub fn open(dir: impl Into<PathBuf>) -> Result<Self, OpenError> {
        let dir = dir.into();
        let io = |source| OpenError::Io { dir: dir.clone(), source };
        durable::directory(&dir).map_err(io)?;
        durable::clear(&dir).map_err(io)?;
        let path = dir.join(KEY);
        let key = match durable::read(&path).map_err(io)? {
            Some(key) => {
                let mode = fs::metadata(&path).map_err(io)?.permissions().mode() & 0o777;
                if mode & 0o077 != 0 {
                    return Err(OpenError::Open { path, mode });
                }
                key.try_into().map_err(|_| OpenError::NotAKey(path))?
            }
            None if holds_secrets(&dir).map_err(io)? => return Err(OpenError::NoKey(path)),
            None => {
                let mut key = [0; 32];
                getrandom::fill(&mut key).map_err(|error| io(io::Error::other(error)))?;
                durable::replace(&dir, &path, &key).map_err(io)?;
                key
            }
        };
        let cipher = XChaCha20Poly1305::new(&key.into());
        Ok(Self(Arc::new(Inner { dir, cipher, change: Mutex::default() })))
    }

    async fn read<T: Send + 'static>(
        &self,
        scope: Scope,
        look: impl FnOnce(&Secrets) -> T + Send + 'static,
    ) -> Result<T, VaultError> {
        let inner = Arc::clone(&self.0);
        apart(move || Ok(look(&inner.load(scope.realm())?))).await
    }

    /// Changes the secrets of a realm, and keeps them where `change` says that it did.
    async fn change<T: Send + 'static>(
        &self,
        scope: Scope,
        change: impl FnOnce(&mut Secrets) -> Result<T, VaultError> + Send + 'static,
    ) -> Result<T, VaultError> {
        let inner = Arc::clone(&self.0);
        apart(move || {
            // It protects nothing in memory: a panic leaves the files as they are.
            let _one = inner.change.lock().unwrap_or_else(PoisonError::into_inner);
            let mut secrets = inner.load(scope.realm())?;
            let before = secrets.revision();
            let answer = change(&mut secrets)?;
            if secrets.revision() != before {
                inner.store(scope.realm(), &secrets)?;
            }
            Ok(answer)
        })
        .await
    }
}

impl Inner {
    fn path(&self, realm: RealmId) -> PathBuf {
        self.dir.join(format!("{realm}{SEALED}"))
    }

    fn load(&self, realm: RealmId) -> Result<Secrets, VaultError> {
        let path = self.path(realm);
        let Some(sealed) = durable::read(&path).map_err(unavailable)? else {
            return Ok(Secrets::default());
        };
        let opened = sealed.split_first_chunk::<NONCE>().and_then(|(nonce, msg)| {
            let aad = bound(realm);
            self.cipher.decrypt(&XNonce::from(*nonce), Payload { msg, aad: &aad }).ok()
        });
        let text = opened.and_then(|bytes| String::from_utf8(bytes).ok());
        let text = text.ok_or_else(|| {
            let what = format!("{} was changed, or sealed under another key", path.display());
            VaultError::Unavailable(what.into())
        })?;
        Secrets::from_text(&text)
    }

    fn store(&self, realm: RealmId, secrets: &Secrets) -> Result<(), VaultError> {
        let text = secrets.to_text()?;
        let nonce = XNonce::try_generate().map_err(unavailable)?;
        let aad = bound(realm);
        let payload = Payload { msg: text.as_bytes(), aad: &aad };
        let Ok(body) = self.cipher.encrypt(&nonce, payload) else {
            return Err(VaultError::Unavailable("the secrets could not be sealed".into()));
        };
        durable::replace(&self.dir, &self.path(realm), &[nonce.as_slice(), &body].concat())
            .map_err(unavailable)
    }
}

#[async_trait::async_trait]
impl Vault for FileVault {
    async fn put(&self, scope: Scope, name: &Slug, value: &SecretValue) -> Result<u64, VaultError> {
        let (name, value) = (name.clone(), value.clone());
        self.change(scope, move |secrets| secrets.put(&name, &value)).await
    }

    async fn get(&self, scope: Scope, name: &Slug) -> Result<Option<Kept>, VaultError> {
        let name = name.clone();
        self.read(scope, move |secrets| secrets.get(&name)).await
    }

    async fn rotate(
        &self,
        scope: Scope,
        name: &Slug,
        version: u64,
        value: &SecretValue,
    ) -> Result<u64, VaultError> {
        let (name, value) = (name.clone(), value.clone());
        self.change(scope, move |secrets| secrets.rotate(&name, version, &value)).await
    }

    async fn delete(&self, scope: Scope, name: &Slug) -> Result<(), VaultError> {
        let name = name.clone();
        self.change(scope, move |secrets| {
            secrets.delete(&name);
            Ok(())
        })
        .await
    }

    async fn list(
        &self,
        scope: Scope,
        after: Option<&Slug>,
        limit: usize,
    ) -> Result<Vec<Named>, VaultError> {
        let after = after.cloned();
        self.read(scope, move |secrets| secrets.list(after.as_ref(), limit)).await
    }
}

fn bound(realm: RealmId) -> Vec<u8> {
    format!("{PURPOSE} {realm}").into_bytes()
}

fn holds_secrets(dir: &Path) -> io::Result<bool> {
    let sealed = |entry: io::Result<fs::DirEntry>| {
        entry.map(|entry| entry.file_name().as_encoded_bytes().ends_with(SEALED.as_bytes()))
    };
    Ok(fs::read_dir(dir)?.map(sealed).collect::<io::Result<Vec<_>>>()?.contains(&true))
}

fn unavailable(error: impl std::error::Error + Send + Sync + 'static) -> VaultError {
    VaultError::Unavailable(Box::new(error))
}

async fn apart<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, VaultError> + Send + 'static,
) -> Result<T, VaultError> {
    tokio::task::spawn_blocking(work).await.map_err(unavailable)?
}
