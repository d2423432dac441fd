//! Realms.

use domain::realm::{Realm, RealmLimits, RealmPolicy, RealmState};
use domain::text::Name;
use domain::{RealmId, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Field;

/// A realm to be made.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewRealm {
    /// What people call it.
    pub name: Name,
    /// How much it may hold and do; what is left out has its default.
    #[serde(default)]
    pub limits: RealmLimits,
    /// What its agents may be made of; what is left out has its default.
    #[serde(default)]
    pub policy: RealmPolicy,
}

/// What to change of a realm.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RealmPatch {
    /// What people call it.
    #[serde(default)]
    pub name: Option<Name>,
    /// How much it may hold and do. Operators only. Replaces all limits.
    #[serde(default)]
    pub limits: Field<RealmLimits>,
    /// What its agents may be made of. Operators only. Replaces all of the policy.
    #[serde(default)]
    pub policy: Field<RealmPolicy>,
}

/// A realm.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RealmView {
    /// Its id.
    pub id: RealmId,
    /// What people call it.
    pub name: Name,
    /// Whether it may act.
    pub state: RealmState,
    /// How much it may hold and do.
    pub limits: RealmLimits,
    /// What its agents may be made of.
    pub policy: RealmPolicy,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

impl From<&Realm> for RealmView {
    fn from(realm: &Realm) -> Self {
        Self {
            id: realm.id,
            name: realm.name.clone(),
            state: realm.state,
            limits: realm.limits,
            policy: realm.policy,
            created_at: realm.created_at,
            updated_at: realm.updated_at,
        }
    }
}

/// A realm that was just made, with its first key.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CreatedRealm {
    /// The realm.
    #[serde(flatten)]
    pub realm: RealmView,
    /// Its first key, with every scope of a realm. Shown this once.
    pub api_key: String,
}
