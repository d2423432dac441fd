//! The use cases behind their routes in this process: a real table, and nothing that runs agents.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use app::ports::{Clock, Ids, Uploads};
use app::{App, Ports, Settings};
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::Request;
use domain::agent::{Agent, AgentState};
use domain::container::{Container, ContainerState};
use domain::key::PresentedKey;
use domain::{AgentId, ContainerId, KeyId, RealmId};
use embedded::feed::LocalFeed;
use embedded::push::LocalPush;
use embedded::sqlite::SqliteTable;
use embedded::uploads::FileUploads;
use gate::{Gate, Route};
use host::{OsIds, SystemClock};
use serde_json::{Value, json};
use store::{Commit, Error, Item, Key, Page, Query, Scope, Table, document};
use tempfile::TempDir;
use tests::blobs::Memory;
use tests::nowhere::Nowhere;
use tests::sample::{self, Ids as Given};
use tower::ServiceExt;

/// A table that counts its round trips.
#[derive(Debug)]
pub(crate) struct Counting {
    pub(crate) inner: SqliteTable,
    pub(crate) reads: AtomicUsize,
    pub(crate) commits: AtomicUsize,
}

#[async_trait::async_trait]
impl Table for Counting {
    async fn get(&self, key: &Key) -> Result<Option<Item>, Error> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.inner.get(key).await
    }

    async fn batch_get(&self, keys: &[Key]) -> Result<Vec<Option<Item>>, Error> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.inner.batch_get(keys).await
    }

    async fn query(&self, query: Query) -> Result<Page, Error> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.inner.query(query).await
    }

    async fn commit(&self, commit: Commit) -> Result<(), Error> {
        self.commits.fetch_add(1, Ordering::Relaxed);
        self.inner.commit(commit).await
    }
}

/// What signs the tokens of shims.
pub(crate) const SIGNING_KEY: [u8; 32] = [7; 32];

/// The use cases over a table, with nothing else behind them.
pub(crate) fn app_over(table: Arc<dyn Table>, clock: Arc<dyn Clock>) -> App {
    let blobs = Arc::new(Memory::at(clock.clone()));
    app_with(table, clock, blobs, Arc::new(app::ports::NoUploads))
}

fn app_with(
    table: Arc<dyn Table>,
    clock: Arc<dyn Clock>,
    blobs: Arc<Memory>,
    uploads: Arc<dyn Uploads>,
) -> App {
    let ports = Ports {
        table,
        compute: Arc::<Nowhere>::default(),
        push: Arc::new(LocalPush::default()),
        feed: Arc::new(LocalFeed::default()),
        blobs,
        uploads,
        workspaces: Arc::new(app::ports::Elsewhere),
        fetch: Arc::new(app::ports::NoFetch),
        bundles: Arc::new(app::ports::NoBundles),
        clock,
        ids: Arc::new(OsIds::default()),
    };
    App::new(ports, Settings::new(Some(SIGNING_KEY)))
}

/// An answer and what it cost.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Value,
    pub(crate) raw: Vec<u8>,
    pub(crate) reads: usize,
    pub(crate) commits: usize,
}

impl Answer {
    fn id(&self) -> String {
        self.body["id"].as_str().unwrap_or_else(|| panic!("no id: {self:?}")).to_owned()
    }
}

pub(crate) struct InProcess {
    pub(crate) table: Arc<Counting>,
    pub(crate) app: App,
    pub(crate) realm: RealmId,
    pub(crate) blobs: Arc<Memory>,
    pub(crate) dir: TempDir,
    router: Router,
    key: String,
}

impl InProcess {
    pub(crate) async fn start() -> Self {
        Self::start_at(Arc::new(SystemClock::default())).await
    }

    /// By this clock.
    pub(crate) async fn start_at(clock: Arc<dyn Clock>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let inner = SqliteTable::open(dir.path().join("reeve.db"), clock.clone()).unwrap();
        let (reads, commits) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let table = Arc::new(Counting { inner, reads, commits });
        let ulid = OsIds::default().ulid(clock.now());
        let blobs = Arc::new(Memory::at(clock.clone()));
        let uploads = dir.path().join("uploads");
        let uploads = FileUploads::open(uploads, "http://here/", clock.clone()).unwrap();
        let app = app_with(table.clone(), clock, blobs.clone(), Arc::new(uploads));
        let key = PresentedKey::spell(KeyId::new(ulid), "a-secret-of-a-test");
        let realm = app.realms().bootstrap(&key.parse().unwrap()).await.unwrap();
        let router = api::router(&routes::routes(), &Gate::new(app.clone()));
        Self { table, app, realm, blobs, dir, router, key }
    }

    /// Sends one request and counts.
    pub(crate) async fn send(&self, verb: &str, path: &str, body: Option<&Value>) -> Answer {
        let count = || {
            let Counting { reads, commits, .. } = &*self.table;
            (reads.load(Ordering::Relaxed), commits.load(Ordering::Relaxed))
        };
        let before = count();
        let request = Request::builder()
            .method(verb.to_uppercase().as_str())
            .uri(path)
            .header("authorization", format!("Bearer {}", self.key))
            .header("content-type", "application/json")
            .body(body.map_or_else(Body::empty, |body| Body::from(body.to_string())));
        let response = self.router.clone().oneshot(request.unwrap()).await.unwrap();
        let status = response.status().as_u16();
        let bytes = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        let after = count();
        let body = serde_json::from_slice(&bytes).unwrap_or_default();
        let (reads, commits) = (after.0 - before.0, after.1 - before.1);
        Answer { status, body, raw: bytes.to_vec(), reads, commits }
    }

    /// Calls a route as it should be called.
    pub(crate) async fn call(&self, route: &Route, ids: &Given) -> Answer {
        let body = sample::body(route, ids);
        self.send(route.verb.as_str(), &sample::path(route, ids), body.as_ref()).await
    }

    /// Gives a session a prompt, and lets its container run, as if its shim had connected. Answers which
    /// start of it that is.
    pub(crate) async fn run_container(&self, session: &str) -> u32 {
        let prompt = format!("/v1/sessions/{session}/prompt");
        self.made(&prompt, json!({ "prompt": "hello" })).await;
        let session = self.send("get", &format!("/v1/sessions/{session}"), None).await;
        let agent: AgentId = session.body["agentId"].as_str().unwrap().parse().unwrap();
        #[expect(clippy::disallowed_methods, reason = "stands for the shim")]
        let scope = Scope::grant(self.realm);
        let key = store::keys::container(scope, ContainerId::new(agent.ulid()));
        let loaded = document::get::<Container>(&*self.table, &key).await.unwrap().unwrap();
        let (state, generation) = (ContainerState::Busy, loaded.value.generation + 1);
        let running = Container { state, generation, ..loaded.value.clone() };
        let writes = vec![document::put(&running, loaded.expect())];
        self.table.commit(Commit { name: "test.run_container", writes }).await.unwrap();
        running.generation
    }

    /// Has an agent reclaimed, as if its time had come; what it had on disk is still there.
    pub(crate) async fn reclaim(&self, id: &str) {
        #[expect(clippy::disallowed_methods, reason = "stands for the worker")]
        let key = store::keys::agent(Scope::grant(self.realm), id.parse().unwrap());
        let loaded = document::get::<Agent>(&*self.table, &key).await.unwrap().unwrap();
        let now = loaded.value.updated_at;
        let archived = loaded.value.moved(AgentState::Archived, now, None);
        let reclaimed = Agent { reclaimed_at: Some(now), ..archived };
        let writes = vec![document::put(&reclaimed, loaded.expect())];
        self.table.commit(Commit { name: "test.reclaim", writes }).await.unwrap();
    }

    /// Has a container failed, as if its platform had.
    pub(crate) async fn fail_container(&self, id: &str) {
        #[expect(clippy::disallowed_methods, reason = "stands for the platform")]
        let key = store::keys::container(Scope::grant(self.realm), id.parse().unwrap());
        let loaded = document::get::<Container>(&*self.table, &key).await.unwrap().unwrap();
        let failed = Container { state: ContainerState::Failed, ..loaded.value.clone() };
        let writes = vec![document::put(&failed, loaded.expect())];
        self.table.commit(Commit { name: "test.fail_container", writes }).await.unwrap();
    }

    async fn made(&self, path: &str, body: Value) -> String {
        self.send("post", path, Some(&body)).await.id()
    }

    /// One of everything, new; the agent and the session at rest, the run in flight, of another.
    pub(crate) async fn everything(&self) -> Given {
        let agent = json!({ "name": "a", "driver": "acp", "labels": { "team": "one" } });
        let (idle, busy) =
            (self.made("/v1/agents", agent.clone()).await, self.made("/v1/agents", agent).await);
        let session = self.made("/v1/sessions", json!({ "agentId": idle })).await;
        let working = self.made("/v1/sessions", json!({ "agentId": busy })).await;
        let prompt = format!("/v1/sessions/{working}/prompt");
        let run = self.made(&prompt, json!({ "prompt": "hello" })).await;
        let template = json!({ "name": "t", "driver": "acp" });
        let file = format!("/v1/agents/{idle}/files/raw?path={}", sample::FILE);
        assert_eq!(self.send("put", &file, None).await.status, 204);
        let snapshot = format!("/v1/agents/{idle}/snapshots");
        let snapshot = self.send("post", &snapshot, None).await.id();
        let container = self.made("/v1/containers", json!({})).await;
        let install = format!("/v1/containers/{container}/agents");
        let instance = self.made(&install, json!({ "manualAgent": sample::manual() })).await;
        let listed = sample::catalogued(&self.realm.to_string());
        let listed = self.made("/v1/registry/agents", listed).await;
        let bundle = self.made("/v1/bundles", json!({ "registryAgent": listed })).await;
        let plan = self.send("get", &format!("/v1/agents/{idle}"), None).await.body["plan"].clone();
        Given::from([
            ("registryAgentId", listed.clone()),
            ("registryAgent", listed),
            ("digest", bundle),
            ("hash", plan.as_str().unwrap().to_owned()),
            ("snapshotId", snapshot),
            ("containerId", container),
            ("instanceId", instance),
            ("realmId", self.made("/v1/realms", json!({ "name": "other" })).await),
            ("keyId", self.made("/v1/keys", json!({ "name": "k" })).await),
            ("templateId", self.made("/v1/templates", template).await),
            ("agentId", idle),
            ("sessionId", session),
            ("runId", run),
            ("busySessionId", working),
        ])
    }
}
