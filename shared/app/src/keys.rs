//! API keys: make, list, revoke.

use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::due::Errand;
use domain::key::{ApiKey, PresentedKey, Scope};
use domain::text::Name;
use domain::{KeyId, RealmId, Timestamp};
use store::document::{self, Loaded};
use store::{Expect, Query};
use wire::Page;
use wire::key::{CreatedKey, KeyView, Me, NewKey};
use wire::realm::RealmView;

use crate::agents::{Paging, page};
use crate::caller::digest;
use crate::commit::retry_conflict;
use crate::{App, Caller, Error};

/// The use cases about keys.
#[derive(Clone, Copy, Debug)]
pub struct Keys<'a>(&'a App);

impl App {
    /// The use cases about keys.
    pub const fn keys(&self) -> Keys<'_> {
        Keys(self)
    }

    /// A new key and its spelling, which is known to nobody else and kept nowhere.
    pub(crate) fn mint(
        &self,
        realm: RealmId,
        name: Name,
        scopes: BTreeSet<Scope>,
        expires_at: Option<Timestamp>,
    ) -> (ApiKey, String) {
        let now = self.now();
        let id = KeyId::new(self.ulid(now));
        let secret = URL_SAFE_NO_PAD.encode(self.ports.ids.secret());
        let key = ApiKey {
            id,
            realm,
            name,
            secret_sha256: digest(&secret),
            scopes,
            expires_at,
            revoked_at: None,
            created_at: now,
        };
        (key, PresentedKey::spell(id, &secret))
    }

    /// Who is asking. No read: authentication has read it.
    pub fn me(caller: &Caller) -> Me {
        Me {
            key_id: caller.key,
            scopes: caller.scopes.clone(),
            realm: RealmView::from(&caller.realm),
        }
    }
}

impl Keys<'_> {
    /// Makes a key in the caller's realm, with no scope that the caller lacks. One commit.
    pub async fn create(&self, caller: &Caller, new: NewKey) -> Result<CreatedKey, Error> {
        let scopes = new.scopes.unwrap_or_else(|| caller.scopes.clone());
        if let Some(&lacking) = scopes.difference(&caller.scopes).next() {
            return Err(Error::ScopeMissing(lacking));
        }
        if new.expires_at.is_some_and(|at| at <= self.0.now()) {
            let detail = "must be in the future".to_owned();
            return Err(Error::Invalid { field: "expiresAt", detail });
        }
        let (key, api_key) = self.0.mint(caller.realm(), new.name, scopes, new.expires_at);
        let created = CreatedKey { key: KeyView::from(&key), api_key };
        let writes = vec![document::put(&key, Expect::Absent)];
        self.0.commit(caller, "key.create", key.id, writes, &created).await?;
        Ok(created)
    }

    /// A page of the realm's keys, revoked and expired ones too. One read.
    pub async fn list(&self, caller: &Caller, paging: Paging) -> Result<Page<KeyView>, Error> {
        let pk = store::keys::api_keys(caller.scope);
        let query = Query { on_index: true, ..paging.query(pk)? };
        let listed = document::list::<ApiKey>(self.0.table(), query).await?;
        Ok(page(listed.items.iter().map(KeyView::from), listed.next.as_ref()))
    }

    /// Stops a key, at once and for good. Revoking a revoked key changes nothing. One read, one
    /// commit.
    pub async fn revoke(&self, caller: &Caller, id: KeyId) -> Result<(), Error> {
        retry_conflict(self.0, || async {
            let key = document::get::<ApiKey>(self.0.table(), &store::keys::api_key(id))
                .await?
                .filter(|key| key.value.realm == caller.realm())
                .ok_or(Error::NotFound("key"))?;
            let now = self.0.now();
            let expect = key.expect();
            let Loaded { value, .. } = key;
            let revoked = ApiKey { revoked_at: Some(value.revoked_at.unwrap_or(now)), ..value };
            let errand = self.0.due(caller.realm(), Errand::Disconnect { key: id }, now);
            let writes = vec![document::put(&revoked, expect), store::due::put(&errand)];
            self.0.commit(caller, "key.revoke", id, writes, &()).await
        })
        .await
    }
}
