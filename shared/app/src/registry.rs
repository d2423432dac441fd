//! The catalog of agents: what the installation's registry lists, and what a realm adds by hand.
//!
//! What holds here: where the registry's document comes from is the operator's to say, never a
//! caller's. A sync applies what is new entry by entry and remembers the document's `ETag` last: cut
//! short, it is done again. What the document shows no more is marked and kept, and so is the last good
//! version of an entry that does not read. Of the errands that sync, one at a time counts: each quotes
//! the round it was planned in.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use domain::RealmId;
use domain::due::Errand;
use domain::registry::{self, Entry, Listed, MAX_DOCUMENT, MAX_ENTRY, MAX_FAULTS, Sync};
use domain::text::{Prose, RegistryId, Version};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use store::document::{self, Loaded};
use store::realm::{Counter, count};
use store::{Cursor, Direction, Expect, Query, Range, Scope, Write, keys};
use wire::Page;
use wire::registry::{NewRegistryAgent, RegistryAgentView, RegistryView};

use crate::agents::{Paging, page};
use crate::commit::retry_conflict;
use crate::errands::Outcome;
use crate::ports::{FetchError, FetchRequest, Fetched};
use crate::{App, Caller, Error};

/// Where agents of the catalog come from: the operator's choice, the same for every realm.
#[derive(Clone, Debug)]
pub struct Sources {
    /// The registry's document: an http(s) URL, or `file:` and an absolute path.
    pub registry: String,
    /// How long after a sync the next one is due; none: only when somebody asks.
    pub interval: Option<Duration>,
    /// The npm registry, without a slash at the end.
    pub npm: String,
    /// The Python package index, without a slash at the end.
    pub pypi: String,
}

impl Sources {
    /// The official ones, asked every hour once somebody has asked first.
    pub fn official() -> Self {
        Self {
            registry: "https://cdn.agentclientprotocol.com/registry/v1/latest/registry.json"
                .to_owned(),
            interval: Some(Duration::from_hours(1)),
            npm: "https://registry.npmjs.org".to_owned(),
            pypi: "https://pypi.org".to_owned(),
        }
    }
}

/// The most agents that a realm adds to its catalog.
pub(crate) const MAX_OWN: u32 = 1000;

/// How often a registry that does not answer is asked in one round.
const TRIES: u32 = 4;

/// The longest a document may take.
const TIMEOUT: Duration = Duration::from_secs(20);

/// How many agents one commit writes: each has its versions, and a commit has an end.
const AT_ONCE: usize = 8;

/// How many agents one read brings.
const PER_READ: usize = 100;

/// The use cases about the catalog.
#[derive(Clone, Copy, Debug)]
pub struct Registry<'a>(&'a App);

impl App {
    /// The use cases about the catalog.
    pub const fn registry(&self) -> Registry<'_> {
        Registry(self)
    }
}

impl Registry<'_> {
    /// A page of the catalog: the realm's own agents first, then those of the registry, by id. An id
    /// may be on it twice: the realm's own counts. Two reads at most.
    pub async fn list(
        &self,
        caller: &Caller,
        paging: Paging,
    ) -> Result<Page<RegistryAgentView>, Error> {
        let after = paging.after()?;
        let (own, after) = match after.as_ref().map(Cursor::sk) {
            None => (true, None),
            Some(sk) => match sk.split_once('#') {
                Some(("own", id)) => (true, Some(id.to_owned())),
                Some(("registry", id)) => (false, (!id.is_empty()).then(|| id.to_owned())),
                _ => return Err(Error::Cursor),
            },
        };
        let mut views = Vec::new();
        if own {
            let pk = keys::own_registry_agents(caller.scope);
            let listed = self.some(pk, after.clone(), paging.limit).await?;
            views.extend(listed.items.iter().filter_map(|l| shown(&l.value)));
            if let Some(next) = listed.next {
                return Ok(page(
                    views.into_iter(),
                    Some(&Cursor::behind(format!("own#{}", next.sk()))),
                ));
            }
        }
        if views.len() >= paging.limit {
            return Ok(page(views.into_iter(), Some(&Cursor::behind("registry#"))));
        }
        let (pk, room) = (keys::registry_agents(), paging.limit - views.len());
        let listed = self.some(pk, after.filter(|_| !own), room).await?;
        views.extend(listed.items.iter().filter_map(|l| shown(&l.value)));
        let next = listed.next.map(|next| Cursor::behind(format!("registry#{}", next.sk())));
        Ok(page(views.into_iter(), next.as_ref()))
    }

    async fn some(
        &self,
        pk: String,
        after: Option<String>,
        limit: usize,
    ) -> Result<document::Listed<Loaded<Listed>>, Error> {
        let query = Query {
            pk,
            on_index: false,
            range: Range::Prefix(String::new()),
            direction: Direction::Ascending,
            after: after.map(Cursor::behind),
            limit,
        };
        Ok(document::list_versions(self.0.table(), query).await?)
    }

    /// One agent of the catalog, at one version or the present one. One read.
    pub async fn get(
        &self,
        caller: &Caller,
        id: &RegistryId,
        version: Option<&Version>,
    ) -> Result<RegistryAgentView, Error> {
        let listed = self.listed(caller.scope, id).await?;
        let entry = listed.entry(version).ok_or(Error::NotFound("version of the agent"))?;
        Ok(RegistryAgentView::new(&listed, entry))
    }

    /// An agent of the catalog: the realm's own before the registry's. One read.
    pub(crate) async fn listed(&self, scope: Scope, id: &RegistryId) -> Result<Listed, Error> {
        let (own, registry) = document::get_both::<Listed, Listed>(
            self.0.table(),
            &keys::own_registry_agent(scope, id),
            &keys::registry_agent(id),
        )
        .await?;
        own.or(registry).map(|l| l.value).ok_or(Error::NotFound("agent in the catalog"))
    }

    /// Adds an agent to the realm's catalog, or a version to one that is there, if the realm's policy
    /// lets it. One read, one commit.
    pub async fn add(
        &self,
        caller: &Caller,
        new: NewRegistryAgent,
    ) -> Result<RegistryAgentView, Error> {
        if !caller.realm.policy.manual_agents {
            return Err(Error::Policy("the realm's policy allows agents of the registry only"));
        }
        let entry = entry(new)?;
        retry_conflict(self.0, || async {
            let (listed, writes) = self.with(caller, &entry).await?;
            let view = RegistryAgentView::new(&listed, &entry);
            self.0.commit(caller, "registry.add", &entry.id, writes, &view).await?;
            Ok(view)
        })
        .await
    }

    /// What the realm's catalog has of an agent with this version, and what makes it so. One read.
    pub(crate) async fn with(
        &self,
        caller: &Caller,
        entry: &Entry,
    ) -> Result<(Listed, Vec<Write>), Error> {
        let now = self.0.now();
        let key = keys::own_registry_agent(caller.scope, &entry.id);
        if let Some(before) = document::get::<Listed>(self.0.table(), &key).await? {
            let listed = before.value.seen(entry, now).unwrap_or_else(|| before.value.clone());
            let writes = vec![document::put(&listed, before.expect())];
            return Ok((listed, writes));
        }
        let listed = Listed::new(Some(caller.realm()), entry.clone(), now);
        let put = document::put(&listed, Expect::Absent);
        let one_more = count(caller.scope, Counter::CatalogAgents, 1, i64::from(MAX_OWN));
        Ok((listed, vec![put, one_more]))
    }

    /// Removes an agent that the realm added. Bundles and plans made of it stay. One read, one commit.
    pub async fn remove(&self, caller: &Caller, id: &RegistryId) -> Result<(), Error> {
        retry_conflict(self.0, || async {
            let key = keys::own_registry_agent(caller.scope, id);
            let before = document::get::<Listed>(self.0.table(), &key).await?;
            let before = before.ok_or(Error::NotFound("agent that the realm added"))?;
            let writes = vec![
                document::delete(&before),
                count(caller.scope, Counter::CatalogAgents, -1, i64::from(MAX_OWN)),
            ];
            self.0.commit(caller, "registry.remove", id, writes, &()).await
        })
        .await
    }

    /// How far the registry is synced. One read.
    pub async fn state(&self) -> Result<RegistryView, Error> {
        let state = document::get::<Sync>(self.0.table(), &keys::registry()).await?;
        Ok(self.view(state.map(|state| state.value)))
    }

    fn view(self, state: Option<Sync>) -> RegistryView {
        let source = self.0.settings.sources.registry.clone();
        let state = state.unwrap_or_else(|| never(&source));
        RegistryView {
            source,
            etag: state.etag,
            version: state.version,
            agents: state.agents,
            checked_at: state.checked_at,
            changed_at: state.changed_at,
            next_at: state.next_at,
            error: state.error,
            faults: state.faults,
        }
    }

    /// Has the registry synced as soon as may be, and from then on as often as the operator says.
    /// Operators only. One read, one commit; the answer comes before anything is fetched.
    pub async fn request(&self, caller: &Caller) -> Result<RegistryView, Error> {
        retry_conflict(self.0, || async {
            let (state, writes) = self.plan_sync(caller.realm()).await?;
            let view = self.view(Some(state));
            self.0.commit(caller, "registry.sync", "registry", writes, &view).await?;
            Ok(view)
        })
        .await
    }

    /// The same, for the process that starts an installation whose operator named a registry.
    pub async fn schedule(&self, realm: RealmId) -> Result<(), Error> {
        retry_conflict(self.0, || async {
            let (_, writes) = self.plan_sync(realm).await?;
            self.0.commit_own("registry.schedule", writes).await
        })
        .await
    }

    async fn plan_sync(&self, realm: RealmId) -> Result<(Sync, Vec<Write>), Error> {
        let before = document::get::<Sync>(self.0.table(), &keys::registry()).await?;
        let expect = before.as_ref().map_or(Expect::Absent, Loaded::expect);
        let state = before.map_or_else(|| never(&self.0.settings.sources.registry), |b| b.value);
        let now = self.0.now();
        let state = Sync { round: state.round + 1, next_at: Some(now), ..state };
        let errand = self.0.due(realm, Errand::SyncRegistry { round: state.round }, now);
        let writes = vec![document::put(&state, expect), store::due::put(&errand)];
        Ok((state, writes))
    }

    /// The registry's document as it is known here, in the official form, and its `ETag`: so that
    /// another installation may sync from this one. A read for each hundred agents.
    pub async fn document(&self) -> Result<(String, String), Error> {
        let listed = self.all().await?;
        let agents: Vec<&Entry> = listed
            .values()
            .filter(|listed| listed.value.removed_at.is_none())
            .filter_map(|listed| listed.value.latest())
            .collect();
        let text = json!({ "version": "1.0.0", "agents": agents, "extensions": [] }).to_string();
        let digest = domain::Digest::new(Sha256::digest(text.as_bytes()).into());
        Ok((format!("\"{}\"", digest.hex()), text))
    }

    async fn all(&self) -> Result<BTreeMap<RegistryId, Loaded<Listed>>, Error> {
        let (mut all, mut after) = (BTreeMap::new(), None);
        loop {
            let listed = self.some(keys::registry_agents(), after, PER_READ).await?;
            for item in listed.items {
                if let Some(id) = item.value.latest().map(|entry| entry.id.clone()) {
                    all.insert(id, item);
                }
            }
            match listed.next {
                Some(next) => after = Some(next.sk().to_owned()),
                None => return Ok(all),
            }
        }
    }

    /// Asks the registry whether it lists something new, and applies what it does. What it costs
    /// where nothing is new: one read, one request, one commit.
    pub(crate) async fn sync(
        &self,
        realm: RealmId,
        round: u64,
        attempt: u32,
    ) -> Result<Outcome, Error> {
        let app = self.0;
        let Some(before) = document::get::<Sync>(app.table(), &keys::registry()).await? else {
            return Ok(Outcome::Done);
        };
        if before.value.round != round {
            return Ok(Outcome::Done);
        }
        let source = &app.settings.sources.registry;
        let known = before.value.source == *source;
        let request = FetchRequest {
            url: source.clone(),
            etag: before.value.etag.clone().filter(|_| known),
            accept: "application/json",
            limit: MAX_DOCUMENT as u64,
            timeout: TIMEOUT,
        };
        let mut body = Vec::new();
        let now = app.now();
        let asked = Sync { checked_at: Some(now), error: None, ..before.value.clone() };
        let next = match app.ports.fetch.fetch(&request, &mut body).await {
            Ok(Fetched::Unchanged) => asked,
            Ok(Fetched::Found { etag, .. }) => match self.apply(&body).await {
                Ok((agents, document)) => Sync {
                    source: source.clone(),
                    etag,
                    agents,
                    version: document.version,
                    faults: document.faults.into_iter().take(MAX_FAULTS).collect(),
                    changed_at: Some(now),
                    ..asked
                },
                Err(NotApplied::Unfit(error)) => Sync { error: Some(error), ..asked },
                Err(NotApplied::Failed(error)) => return Err(error),
            },
            Err(error) => {
                tracing::warn!(source, %error, "the registry could not be read");
                if error.is_passing() && attempt < TRIES {
                    return Err(Error::Unavailable(Box::new(error)));
                }
                Sync { error: Some(said(&error)), ..asked }
            }
        };
        self.settle(realm, &before, next).await?;
        Ok(Outcome::Done)
    }

    /// Keeps what a round came to and plans the next.
    async fn settle(&self, realm: RealmId, before: &Loaded<Sync>, next: Sync) -> Result<(), Error> {
        let app = self.0;
        let at = app.settings.sources.interval.map(|interval| app.now().after(interval));
        let next = Sync { round: next.round + 1, next_at: at, ..next };
        let mut writes = vec![document::put(&next, before.expect())];
        if let Some(at) = at {
            let errand = Errand::SyncRegistry { round: next.round };
            writes.push(store::due::put(&app.due(realm, errand, at)));
        }
        match app.commit_own("registry.synced", writes).await {
            // Somebody has asked in between: their round does it.
            Err(Error::Conflict) => Ok(()),
            done => done,
        }
    }

    async fn apply(&self, body: &[u8]) -> Result<(usize, registry::Document), NotApplied> {
        let document =
            registry::parse(body).map_err(|error| NotApplied::Unfit(error.to_string()))?;
        if document.entries.is_empty() {
            let error = "the document lists no agent that reads; what was known stays";
            return Err(NotApplied::Unfit(error.to_owned()));
        }
        retry_conflict(self.0, || async {
            let (known, now) = (self.all().await?, self.0.now());
            let mut writes = Vec::new();
            for entry in &document.entries {
                match known.get(&entry.id) {
                    None => writes.push(document::put(
                        &Listed::new(None, entry.clone(), now),
                        Expect::Absent,
                    )),
                    Some(before) => {
                        let seen = before.value.seen(entry, now);
                        writes.extend(seen.map(|listed| document::put(&listed, before.expect())));
                    }
                }
            }
            // What does not read today is not gone.
            let here: BTreeSet<&str> = (document.entries.iter().map(|entry| entry.id.as_str()))
                .chain(document.faults.iter().filter_map(|fault| fault.id.as_deref()))
                .collect();
            for (_, before) in known.iter().filter(|(id, _)| !here.contains(id.as_str())) {
                let gone = before.value.gone(now);
                writes.extend(gone.map(|listed| document::put(&listed, before.expect())));
            }
            while !writes.is_empty() {
                let rest = writes.split_off(writes.len().min(AT_ONCE));
                self.0.commit_own("registry.apply", std::mem::replace(&mut writes, rest)).await?;
            }
            Ok(())
        })
        .await
        .map_err(NotApplied::Failed)?;
        Ok((document.entries.len(), document))
    }
}

enum NotApplied {
    /// The document is none.
    Unfit(String),
    /// It could not be stored.
    Failed(Error),
}

fn said(error: &FetchError) -> String {
    error.to_string().chars().take(500).collect()
}

fn never(source: &str) -> Sync {
    Sync {
        round: 0,
        source: source.to_owned(),
        etag: None,
        version: None,
        agents: 0,
        checked_at: None,
        changed_at: None,
        next_at: None,
        error: None,
        faults: Vec::new(),
    }
}

fn shown(listed: &Listed) -> Option<RegistryAgentView> {
    listed.latest().map(|entry| RegistryAgentView::new(listed, entry))
}

/// The entry that a request makes.
pub(crate) fn entry(new: NewRegistryAgent) -> Result<Entry, Error> {
    let text = |text: &str| Prose::new(text).map_err(|_| Error::Bug("a line is prose"));
    let entry = Entry {
        id: new.id,
        name: new.name,
        version: match new.version {
            Some(version) => version,
            None => Version::new("manual").map_err(|_| Error::Bug("a constant version"))?,
        },
        description: text(new.description.as_ref().map_or("", |d| d.as_str()))?,
        distribution: new.distribution,
        more: serde_json::Map::new(),
    };
    let invalid = |field, detail| Error::Invalid { field, detail };
    if let Some((field, detail)) = entry.broken_rule() {
        return Err(invalid(field, detail));
    }
    let size = serde_json::to_vec(&entry).map_or(usize::MAX, |json| json.len());
    if size > MAX_ENTRY {
        return Err(invalid(
            "distribution",
            format!("must have at most {MAX_ENTRY} bytes of JSON"),
        ));
    }
    Ok(entry)
}
