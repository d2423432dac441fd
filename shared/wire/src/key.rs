//! API keys.

use std::collections::BTreeSet;

use domain::key::ApiKey;
use domain::text::Name;
use domain::{KeyId, RealmId, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Scope;
use crate::realm::RealmView;

/// A key to be made.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewKey {
    /// What people call it.
    pub name: Name,
    /// What it may do; at most what its maker may. Left out: what its maker may.
    // Saying one twice says nothing else.
    #[schemars(with = "Option<Vec<Scope>>")]
    #[serde(default)]
    pub scopes: Option<BTreeSet<Scope>>,
    /// When it stops working by itself; must be in the future. Left out or null: never.
    #[serde(default, alias = "expires_at")]
    pub expires_at: Option<Timestamp>,
}

/// A key, without its secret.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeyView {
    /// Its id.
    pub id: KeyId,
    /// The realm it acts in.
    pub realm_id: RealmId,
    /// What people call it.
    pub name: Name,
    /// What it may do.
    pub scopes: BTreeSet<Scope>,
    /// When it stops working by itself.
    pub expires_at: Option<Timestamp>,
    /// When somebody stopped it.
    pub revoked_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
}

impl From<&ApiKey> for KeyView {
    fn from(key: &ApiKey) -> Self {
        Self {
            id: key.id,
            realm_id: key.realm,
            name: key.name.clone(),
            scopes: key.scopes.clone(),
            expires_at: key.expires_at,
            revoked_at: key.revoked_at,
            created_at: key.created_at,
        }
    }
}

/// A key that was just made.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CreatedKey {
    /// The key.
    #[serde(flatten)]
    pub key: KeyView,
    /// The whole key, `rk_<id>_<secret>`. Shown this once.
    pub api_key: String,
}

/// Who is asking.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Me {
    /// The key that was presented.
    pub key_id: KeyId,
    /// What it may do.
    pub scopes: BTreeSet<Scope>,
    /// The realm it acts in.
    pub realm: RealmView,
}
