//! Who calls: authentication, authorisation, and the first answer to a repeated request.

use std::collections::BTreeSet;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use domain::key::{ApiKey, PresentedKey, Scope as KeyScope};
use domain::realm::{Realm, RealmState};
use domain::upload::Upload;
use domain::{KeyId, RealmId};
use serde::Serialize;
use sha2::{Digest, Sha256};
use store::document::{self, Loaded};
use store::{Scope, idempotency};
use subtle::ConstantTimeEq;

use crate::{App, Error};

/// Somebody with a working key. Holding one proves that the key was checked and the realm is active.
#[derive(Clone)]
pub struct Caller {
    pub(crate) key: KeyId,
    pub(crate) scope: Scope,
    pub(crate) realm: Realm,
    pub(crate) scopes: BTreeSet<KeyScope>,
    // None for who came with something else than the key itself.
    presented: Option<PresentedKey>,
    once: Option<Once>,
    taking: Option<Loaded<Upload>>,
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Caller({} in {})", self.key, self.realm.id)
    }
}

/// What makes two requests the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Once {
    /// The caller's word for it.
    pub key: String,
    /// A digest of the whole request.
    pub fingerprint: String,
}

impl Caller {
    /// The realm it acts in.
    pub fn realm(&self) -> RealmId {
        self.realm.id
    }

    /// The key it presented.
    pub fn key(&self) -> KeyId {
        self.key
    }

    /// The same caller, whose next commit keeps its answer under `once`.
    #[must_use]
    pub fn once(self, once: Once) -> Self {
        Self { once: Some(once), ..self }
    }

    /// The same caller, whose next commit takes this upload.
    #[must_use]
    pub(crate) fn taking(self, upload: Loaded<Upload>) -> Self {
        Self { taking: Some(upload), ..self }
    }

    /// The upload that its next commit takes, or its last has taken.
    pub(crate) fn takes(&self) -> Option<&Upload> {
        self.taking.as_ref().map(|upload| &upload.value)
    }

    /// What takes it.
    pub(crate) fn take(&self) -> Option<store::Write> {
        self.taking.as_ref().map(document::delete)
    }

    pub(crate) fn may(&self, scope: KeyScope) -> bool {
        self.scopes.contains(&scope)
    }

    /// The first answer of this request, for the commit it answers for.
    pub(crate) fn answer(&self, app: &App, body: &[u8]) -> Result<Option<store::Write>, Error> {
        self.once.as_ref().map(|once| self.sealed(app, once, body)).transpose()
    }

    /// The first answer to what `once` names, for the commit it answers for: beside that of the request.
    pub(crate) fn answer_of<T: Serialize>(
        &self,
        app: &App,
        once: &Once,
        answer: &T,
    ) -> Result<store::Write, Error> {
        let body = serde_json::to_vec(answer).map_err(|_| Error::Bug("an answer serialises"))?;
        self.sealed(app, once, &body)
    }

    fn sealed(&self, app: &App, once: &Once, body: &[u8]) -> Result<store::Write, Error> {
        let random = app.ports.ids.secret();
        let nonce = XNonce::try_from(&random[..24]).map_err(|_| Error::Bug("nonce length"))?;
        let sealed = self
            .cipher()?
            .encrypt(&nonce, Payload { msg: body, aad: once.fingerprint.as_bytes() })
            .map_err(|_| Error::Bug("sealing an answer"))?;
        let sealed = STANDARD_NO_PAD.encode([&random[..24], &sealed].concat());
        let answer = idempotency::Answer { fingerprint: once.fingerprint.clone(), sealed };
        let expires = app.now().after(std::time::Duration::from_hours(24));
        Ok(idempotency::put(idempotency::key(self.key, &once.key), &answer, expires))
    }

    fn cipher(&self) -> Result<XChaCha20Poly1305, Error> {
        let presented = self.presented.as_ref();
        let presented = presented.ok_or(Error::Bug("who changes something has presented a key"))?;
        let sealing = Sha256::new()
            .chain_update("reeve/first-answer/1\0")
            .chain_update(presented.secret())
            .finalize();
        XChaCha20Poly1305::new_from_slice(&sealing).map_err(|_| Error::Bug("key length"))
    }

    /// What is kept of the secret that was presented.
    pub(crate) fn kept_secret(&self) -> Option<String> {
        self.presented.as_ref().map(|presented| digest(presented.secret()))
    }

    fn open(&self, answer: &idempotency::Answer) -> Result<Vec<u8>, Error> {
        let bytes = STANDARD_NO_PAD
            .decode(&answer.sealed)
            .map_err(|_| Error::Bug("a sealed answer is not base64"))?;
        let (nonce, sealed) =
            bytes.split_at_checked(24).ok_or(Error::Bug("a sealed answer is too short"))?;
        let nonce = XNonce::try_from(nonce).map_err(|_| Error::Bug("nonce length"))?;
        self.cipher()?
            .decrypt(&nonce, Payload { msg: sealed, aad: answer.fingerprint.as_bytes() })
            .map_err(|_| Error::Bug("a sealed answer does not open"))
    }
}

/// SHA-256 of a key's secret, as it is kept.
pub(crate) fn digest(secret: &str) -> String {
    hex::encode(Sha256::digest(secret.as_bytes()))
}

impl App {
    /// Finds out who presents `bearer`. Two reads: the key and its realm.
    ///
    /// Fails alike for a malformed, unknown, expired and revoked key, at the cost of one look-up.
    pub async fn authenticate(&self, bearer: Option<&str>) -> Result<Caller, Error> {
        let bearer = bearer.ok_or(Error::Unauthenticated(
            "send an API key as `Authorization: Bearer rk_<id>_<secret>`",
        ))?;
        let refused =
            Error::Unauthenticated("the API key is malformed, unknown, expired or revoked");
        let Ok(presented) = bearer.parse::<PresentedKey>() else { return Err(refused) };
        let key =
            document::get::<ApiKey>(self.table(), &store::keys::api_key(presented.id)).await?;
        let Some(Loaded { value: key, .. }) = key else { return Err(refused) };
        let same = digest(presented.secret()).as_bytes().ct_eq(key.secret_sha256.as_bytes());
        if !bool::from(same) {
            return Err(refused);
        }
        self.caller_with(key, Some(presented)).await
    }

    /// Whoever holds `key`, if it works. One read.
    pub(crate) async fn caller_with(
        &self,
        key: ApiKey,
        presented: Option<PresentedKey>,
    ) -> Result<Caller, Error> {
        let refused =
            Error::Unauthenticated("the API key is malformed, unknown, expired or revoked");
        if !key.is_live(self.now()) {
            return Err(refused);
        }
        #[expect(clippy::disallowed_methods, reason = "this is authentication")]
        let scope = Scope::grant(key.realm);
        let realm = document::get::<Realm>(self.table(), &store::keys::realm(scope)).await?;
        let Some(Loaded { value: realm, .. }) = realm else { return Err(refused) };
        match realm.state {
            RealmState::Active => {}
            RealmState::Suspended => return Err(Error::RealmSuspended),
        }
        let (key, scopes) = (key.id, key.scopes);
        Ok(Caller { key, scope, realm, scopes, presented, once: None, taking: None })
    }

    /// Whether the caller's key and realm still work. Two reads. Where the table does not answer, it
    /// is believed for now: the reads that follow will say so.
    pub(crate) async fn still_works(&self, caller: &Caller) -> bool {
        let key = document::get::<ApiKey>(self.table(), &store::keys::api_key(caller.key)).await;
        let realm = document::get::<Realm>(self.table(), &store::keys::realm(caller.scope)).await;
        match (key, realm) {
            (Ok(key), Ok(realm)) => {
                key.is_some_and(|key| key.value.is_live(self.now()))
                    && realm.is_some_and(|realm| realm.value.state == RealmState::Active)
            }
            (Err(_), _) | (_, Err(_)) => true,
        }
    }

    /// Fails unless the caller may do what `scope` names.
    pub fn authorise(caller: &Caller, scope: KeyScope) -> Result<(), Error> {
        if caller.may(scope) { Ok(()) } else { Err(Error::ScopeMissing(scope)) }
    }

    /// The first answer to this request, if it was answered before. One read.
    pub async fn first_answer(
        &self,
        caller: &Caller,
        once: &Once,
    ) -> Result<Option<Vec<u8>>, Error> {
        let key = idempotency::key(caller.key, &once.key);
        let Some(item) = self.table().get(&key).await? else { return Ok(None) };
        let answer = idempotency::read(&item)?;
        if answer.fingerprint != once.fingerprint {
            return Err(Error::KeyReused);
        }
        caller.open(&answer).map(Some)
    }
}
