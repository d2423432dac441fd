//! Realms: make, read, rename, suspend, resume; and the first realm of an installation.

use domain::due::Errand;
use domain::key::{ApiKey, PresentedKey, Scope as KeyScope};
use domain::realm::{Realm, RealmEvent, RealmLifecycle, RealmLimits, RealmPolicy, RealmState};
use domain::text::Name;
use domain::workspace::MAX_BYTES;
use domain::{Machine, RealmId};
use store::document::{self, Loaded};
use store::{Expect, Query, Scope, keys};
use wire::realm::{CreatedRealm, NewRealm, RealmPatch, RealmView};
use wire::{Field, Page};

use crate::agents::{Paging, page};
use crate::caller::digest;
use crate::commit::retry_conflict;
use crate::{App, Caller, Error};

/// The use cases about realms.
#[derive(Clone, Copy, Debug)]
pub struct Realms<'a>(&'a App);

impl App {
    /// The use cases about realms.
    pub const fn realms(&self) -> Realms<'_> {
        Realms(self)
    }
}

impl Realms<'_> {
    /// Sees that `key` works, as an operator of the installation's first realm, which is made where
    /// there is none. For the process that starts an installation, and nobody else.
    pub async fn bootstrap(&self, key: &PresentedKey) -> Result<RealmId, Error> {
        retry_conflict(self.0, || async {
            let app = self.0;
            let known = document::get::<ApiKey>(app.table(), &keys::api_key(key.id)).await?;
            if let Some(known) = known {
                if known.value.secret_sha256 == digest(key.secret()) {
                    return Ok(known.value.realm);
                }
                let detail = "names a key that exists with another secret".to_owned();
                return Err(Error::Invalid { field: "REEVE_BOOTSTRAP_KEY", detail });
            }
            let first = Query {
                on_index: true,
                ..Paging { limit: 1, order: wire::Order::Asc, cursor: None }.query(keys::realms())?
            };
            let realms = document::list::<Realm>(app.table(), first).await?.items;
            let now = app.now();
            let mut writes = Vec::new();
            let realm = if let Some(realm) = realms.into_iter().next() {
                realm.id
            } else {
                let name = Name::new("default").map_err(|_| Error::Bug("a constant name"))?;
                let realm = self.new_realm(name, RealmLimits::default(), RealmPolicy::default());
                writes.push(document::put(&realm, Expect::Absent));
                realm.id
            };
            let name = Name::new("bootstrap").map_err(|_| Error::Bug("a constant name"))?;
            let api_key = ApiKey {
                id: key.id,
                realm,
                name,
                secret_sha256: digest(key.secret()),
                scopes: KeyScope::all(),
                expires_at: None,
                revoked_at: None,
                created_at: now,
            };
            writes.push(document::put(&api_key, Expect::Absent));
            app.commit_own("realm.bootstrap", writes).await?;
            Ok(realm)
        })
        .await
    }

    fn new_realm(self, name: Name, limits: RealmLimits, policy: RealmPolicy) -> Realm {
        let now = self.0.now();
        Realm {
            id: RealmId::new(self.0.ulid(now)),
            name,
            state: RealmState::Active,
            limits,
            policy,
            created_at: now,
            updated_at: now,
        }
    }

    /// Makes a realm with its first key, which is shown once. Operators only. One commit.
    pub async fn create(&self, caller: &Caller, new: NewRealm) -> Result<CreatedRealm, Error> {
        check_limits(&new.limits)?;
        let realm = self.new_realm(new.name, new.limits, new.policy);
        let name = Name::new("first").map_err(|_| Error::Bug("a constant name"))?;
        let (key, api_key) = self.0.mint(realm.id, name, KeyScope::of_a_realm(), None);
        let created = CreatedRealm { realm: RealmView::from(&realm), api_key };
        let writes =
            vec![document::put(&realm, Expect::Absent), document::put(&key, Expect::Absent)];
        self.0.commit(caller, "realm.create", realm.id, writes, &created).await?;
        Ok(created)
    }

    /// A page of realms: all of them for an operator, one's own for anybody else. One read.
    pub async fn list(&self, caller: &Caller, paging: Paging) -> Result<Page<RealmView>, Error> {
        let query = Query { on_index: true, ..paging.query(keys::realms())? };
        if !caller.may(KeyScope::Operator) {
            return Ok(page([RealmView::from(&caller.realm)].into_iter(), None));
        }
        let listed = document::list::<Realm>(self.0.table(), query).await?;
        Ok(page(listed.items.iter().map(RealmView::from), listed.next.as_ref()))
    }

    /// One realm: any for an operator, one's own for anybody else. One read.
    pub async fn get(&self, caller: &Caller, id: RealmId) -> Result<RealmView, Error> {
        Ok(RealmView::from(&self.load(caller, id).await?.value))
    }

    async fn load(&self, caller: &Caller, id: RealmId) -> Result<Loaded<Realm>, Error> {
        let scope = if id == caller.realm() {
            caller.scope
        } else if caller.may(KeyScope::Operator) {
            #[expect(
                clippy::disallowed_methods,
                reason = "an operator names realms, and nothing in them"
            )]
            Scope::grant(id)
        } else {
            return Err(Error::NotFound("realm"));
        };
        let key = keys::realm(scope);
        document::get(self.0.table(), &key).await?.ok_or(Error::NotFound("realm"))
    }

    /// Renames a realm; an operator may change its limits, too. One read, one commit.
    pub async fn update(
        &self,
        caller: &Caller,
        id: RealmId,
        patch: RealmPatch,
    ) -> Result<RealmView, Error> {
        if !patch.limits.is_absent() || !patch.policy.is_absent() {
            App::authorise(caller, KeyScope::Operator)?;
        }
        if let Field::Value(limits) = &patch.limits {
            check_limits(limits)?;
        }
        retry_conflict(self.0, || async {
            let before = self.load(caller, id).await?;
            let realm = Realm {
                name: patch.name.clone().unwrap_or_else(|| before.value.name.clone()),
                limits: patch.limits.clone().overlay(before.value.limits, RealmLimits::default()),
                policy: patch.policy.clone().overlay(before.value.policy, RealmPolicy::default()),
                updated_at: self.0.now(),
                ..before.value.clone()
            };
            let view = RealmView::from(&realm);
            let mut writes = vec![document::put(&realm, before.expect())];
            if realm.limits != before.value.limits {
                // There may be room for who waits.
                let errand = self.0.due(id, Errand::Admit, realm.updated_at);
                writes.push(store::due::put(&errand));
            }
            self.0.commit(caller, "realm.update", id, writes, &view).await?;
            Ok(view)
        })
        .await
    }

    /// Stops a realm: its keys are refused from now on, and what it runs is stopped. Nothing is
    /// lost. Operators only, and not their own. One read, one commit.
    pub async fn suspend(&self, caller: &Caller, id: RealmId) -> Result<RealmView, Error> {
        if id == caller.realm() {
            let detail = "is the realm of the key that asks: it would lock itself out".to_owned();
            return Err(Error::Invalid { field: "realmId", detail });
        }
        self.turn(caller, id, RealmEvent::Suspend, "realm.suspend").await
    }

    /// Lets a suspended realm go on. Operators only. One read, one commit.
    pub async fn resume(&self, caller: &Caller, id: RealmId) -> Result<RealmView, Error> {
        self.turn(caller, id, RealmEvent::Resume, "realm.resume").await
    }

    async fn turn(
        &self,
        caller: &Caller,
        id: RealmId,
        event: RealmEvent,
        name: &'static str,
    ) -> Result<RealmView, Error> {
        retry_conflict(self.0, || async {
            let before = self.load(caller, id).await?;
            let now = self.0.now();
            let state = RealmLifecycle::step(before.value.state, event)?;
            let realm = Realm { state, updated_at: now, ..before.value.clone() };
            let mut writes = vec![document::put(&realm, before.expect())];
            let errand = match state {
                RealmState::Suspended => Errand::Quell,
                RealmState::Active => Errand::Admit,
            };
            writes.push(store::due::put(&self.0.due(id, errand, now)));
            let view = RealmView::from(&realm);
            self.0.commit(caller, name, id, writes, &view).await?;
            Ok(view)
        })
        .await
    }
}

fn check_limits(limits: &RealmLimits) -> Result<(), Error> {
    let rules = [
        (limits.max_agents <= 1_000_000, "maxAgents must be at most 1000000"),
        (limits.max_containers <= 1_000_000, "maxContainers must be at most 1000000"),
        (limits.max_running_containers <= 100_000, "maxRunningContainers must be at most 100000"),
        (limits.max_waiting <= 100_000, "maxWaiting must be at most 100000"),
        (limits.archive_after_hours <= 87_600, "archiveAfterHours must be at most 87600"),
        (limits.reclaim_after_days <= 3650, "reclaimAfterDays must be at most 3650"),
        (limits.max_queued_runs <= 1000, "maxQueuedRuns must be at most 1000"),
        ((10..=86_400).contains(&limits.idle_seconds), "idleSeconds must be 10 to 86400"),
        ((1..=3650).contains(&limits.retention_days), "retentionDays must be 1 to 3650"),
        ((1..=10_000).contains(&limits.max_snapshots), "maxSnapshots must be 1 to 10000"),
        (limits.max_workspace_bytes <= MAX_BYTES, "maxWorkspaceBytes must be at most 10737418240"),
        (limits.max_workspace_files <= 100_000, "maxWorkspaceFiles must be at most 100000"),
    ];
    match rules.iter().find(|(kept, _)| !kept) {
        Some((_, detail)) => Err(Error::Invalid { field: "limits", detail: (*detail).to_owned() }),
        None => Ok(()),
    }
}
