//! What is there before a function is invoked: a table on an emulated account, with somebody's key
//! and something of everything.

use std::sync::Arc;

use app::ports::{Clock, Ids as _};
use app::shim::ShimCaller;
use app::{App, Ports, Settings};
use aws::blobs::Bucket;
use aws::uploads::BucketUploads;
use aws::{DynamoTable, Sdk};
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::Request;
use domain::event::Event;
use domain::key::PresentedKey;
use domain::plan::ContainerPlan;
use domain::{AgentId, KeyId, RealmId, SubscriptionId, Topic};
use embedded::feed::LocalFeed;
use embedded::push::LocalPush;
use gate::{Gate, Route};
use host::{OsIds, SystemClock};
use serde_json::{Value, json};
use store::{Commit, Expect, Key, Table, Write, keys};
use tests::emulator::{Emulator, dynamo, environment};
use tests::nowhere::Nowhere;
use tests::sample::{self, Ids};
use tests::table::fresh;
use tower::ServiceExt;

/// The bucket of the account of these names.
fn bucket(names: &str) -> String {
    names.to_lowercase()
}

/// The key that signs the tokens of shims.
const SIGNING_KEY: [u8; 32] = [7; 32];

/// The ULID of everything in a sample event.
const SAMPLE: &str = "01JD3Z6V0QK5S8M2W4X7Y9ABCD";

/// The digest of everything there.
const DIGEST: &str = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

/// An account with what the template makes, and a realm in its table.
pub(crate) struct World {
    pub(crate) emulator: Emulator,
    pub(crate) app: App,
    pub(crate) key: String,
    pub(crate) realm: RealmId,
    pub(crate) names: String,
    pub(crate) clock: Arc<SystemClock>,
    compute: Arc<Nowhere>,
    router: Router,
}

impl World {
    pub(crate) async fn start() -> Self {
        let emulator = Emulator::start_own().await;
        let (names, clock, ids) =
            (fresh(), Arc::new(SystemClock::default()), Arc::new(OsIds::default()));
        let table = dynamo(emulator.endpoint(), &names, clock.clone());
        table.create().await.unwrap();
        let told = environment(emulator.endpoint(), &[("REEVE_BUCKET", &bucket(&names))]);
        let blobs = Bucket::new(&Sdk::new(&told).unwrap(), &told).unwrap();
        let key = KeyId::new(ids.ulid(clock.now()));
        let compute = Arc::<Nowhere>::default();
        let ports = Ports {
            table: Arc::new(table),
            compute: compute.clone(),
            push: Arc::new(LocalPush::default()),
            feed: Arc::new(LocalFeed::default()),
            blobs: Arc::new(blobs),
            workspaces: Arc::new(app::ports::Elsewhere),
            fetch: Arc::new(app::ports::NoFetch),
            bundles: Arc::new(app::ports::NoBundles),
            uploads: Arc::new(BucketUploads::new(&Sdk::new(&told).unwrap(), &told).unwrap()),
            clock: clock.clone(),
            ids,
        };
        let app = App::new(ports, Settings::new(Some(SIGNING_KEY)));
        let key = PresentedKey::spell(key, "a-secret-of-a-test");
        let realm = app.realms().bootstrap(&key.parse().unwrap()).await.unwrap();
        let router = api::router(&routes::routes(), &Gate::new(app.clone()));
        let world = Self { emulator, app, key, realm, names, clock, compute, router };
        world.account().await;
        world
    }

    /// Makes what the template makes, as far as functions ask for it.
    async fn account(&self) {
        let names = &self.names;
        let call = async |target: &str, body: Value| self.aws(target, body).await;
        let made = format!("{}/{}", self.emulator.endpoint(), bucket(names));
        let made = tests::http::connector().put(made).send().await.unwrap();
        assert!(made.status().is_success(), "{made:?}");
        call("AmazonSQS.CreateQueue", json!({ "QueueName": names })).await;
        call("AmazonEC2ContainerServiceV20141113.CreateCluster", json!({ "clusterName": names }))
            .await;
        for (name, value) in [("signing", hex::encode(SIGNING_KEY)), ("first", "{}".into())] {
            let secret = json!({ "Name": format!("{names}-{name}"), "SecretString": value });
            call("secretsmanager.CreateSecret", secret).await;
        }
    }

    /// Calls the account as one of its SDKs would.
    pub(crate) async fn aws(&self, target: &str, body: Value) -> Value {
        let service = match target.split_once('.') {
            Some(("AmazonSQS", _)) => "sqs",
            Some(("secretsmanager", _)) => "secretsmanager",
            _ => "ecs",
        };
        let scope = format!("Credential=test/20260101/us-east-1/{service}/aws4_request");
        let request = tests::http::connector();
        let request = request
            .post(self.emulator.endpoint())
            .header("x-amz-target", target)
            .header("authorization", format!("AWS4-HMAC-SHA256 {scope}, Signature=none"))
            .header("content-type", "application/x-amz-json-1.1");
        let response = request.body(body.to_string()).send().await.unwrap();
        let (status, text) = (response.status(), response.text().await.unwrap());
        assert!(status.is_success(), "{target}: {status} {text}");
        serde_json::from_str(&text).unwrap_or_default()
    }

    /// The URL of the queue of nudges.
    pub(crate) fn queue(&self) -> String {
        format!("{}/000000000000/{}", self.emulator.endpoint(), self.names)
    }

    /// What the template tells every function.
    pub(crate) fn environment(&self) -> Vec<(&'static str, String)> {
        let endpoint = self.emulator.endpoint().to_owned();
        let named = |what: &str| format!("{}-{what}", self.names);
        vec![
            ("AWS_ACCESS_KEY_ID", "test".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "test".to_owned()),
            ("AWS_REGION", "us-east-1".to_owned()),
            ("AWS_ENDPOINT_URL", endpoint.clone()),
            ("REEVE_TABLE", self.names.clone()),
            ("REEVE_BUCKET", bucket(&self.names)),
            ("REEVE_CLUSTER", self.names.clone()),
            ("REEVE_SUBNETS", "subnet-1".to_owned()),
            ("REEVE_SECURITY_GROUPS", "sg-1".to_owned()),
            ("REEVE_TASK_FAMILY", self.names.clone()),
            ("REEVE_CAPACITY", "FARGATE".to_owned()),
            ("REEVE_EGRESS", "egress:8080".to_owned()),
            ("REEVE_SIGNING_SECRET", named("signing")),
            ("REEVE_BOOTSTRAP_SECRET", named("first")),
            ("REEVE_ERRANDS_QUEUE", self.queue()),
            ("REEVE_CONNECTIONS", endpoint.clone()),
            ("REEVE_STREAM_URL", "wss://stream.example/v1".to_owned()),
            ("REEVE_EVENTS_URL", "https://events.example/".to_owned()),
        ]
    }

    /// Sends one request to the use cases, beside any function.
    async fn send(&self, verb: &str, path: &str, body: Value) -> Value {
        let request = Request::builder()
            .method(verb)
            .uri(path)
            .header("authorization", format!("Bearer {}", self.key))
            .header("content-type", "application/json")
            .body(if body.is_null() { Body::empty() } else { Body::from(body.to_string()) });
        let response = self.router.clone().oneshot(request.unwrap()).await.unwrap();
        let status = response.status();
        let bytes = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        assert!(status.is_success(), "{verb} {path}: {status} {}", String::from_utf8_lossy(&bytes));
        serde_json::from_slice(&bytes).unwrap_or_default()
    }

    pub(crate) async fn made(&self, path: &str, body: Value) -> String {
        self.send("POST", path, body).await["id"].as_str().expect("an id").to_owned()
    }

    /// Does what needs no body.
    pub(crate) async fn post(&self, path: &str) {
        self.send("POST", path, Value::Null).await;
    }

    /// Puts a file into the workspace of an agent.
    pub(crate) async fn put_file(&self, agent: &str, path: &str, content: &[u8]) {
        let request = Request::builder()
            .method("PUT")
            .uri(format!("/v1/agents/{agent}/files/raw?path={path}"))
            .header("authorization", format!("Bearer {}", self.key))
            .body(Body::from(content.to_vec()));
        let response = self.router.clone().oneshot(request.unwrap()).await.unwrap();
        assert_eq!(response.status(), 204);
    }

    /// Stores so many events of a session, each with this text.
    pub(crate) async fn tell(&self, ids: &Ids, count: u64, text: &str) {
        let (agent, session) = (ids["agentId"].parse().unwrap(), ids["sessionId"].parse().unwrap());
        let table = self.table();
        for seq in 1..=count {
            let event = self.event(seq, text);
            let written = store::event::append(self.scope(), agent, session, &[event], None);
            let writes = written.into_iter().collect();
            table.commit(Commit { name: "test.tell", writes }).await.unwrap();
        }
    }

    /// A ticket for a stream, as the route makes it.
    pub(crate) async fn ticket(&self) -> String {
        let made = self.send("POST", "/v1/stream/tickets", Value::Null).await;
        made["ticket"].as_str().expect("a ticket").to_owned()
    }

    /// A batch of changes, with one event of a session that has this number.
    pub(crate) fn change_of(&self, ids: &Ids, seq: u64) -> String {
        let event = self.event(seq, "later");
        let (agent, session) = (ids["agentId"].parse().unwrap(), ids["sessionId"].parse().unwrap());
        let write = store::event::append(self.scope(), agent, session, &[event], None);
        let Some(Write::Put { key, body, .. }) = write else { panic!("an event is put") };
        let text = |text: &str| json!({ "S": text });
        let image = json!({ "pk": text(&key.pk), "sk": text(&key.sk), "body": text(&body) });
        let change = json!({ "SequenceNumber": "1", "NewImage": image });
        json!({ "Records": [{ "eventName": "INSERT", "dynamodb": change }] }).to_string()
    }

    /// Stores what does not read, where a follower of this session would be.
    pub(crate) async fn spoil_follower(&self, ids: &Ids) {
        let id = SubscriptionId::new(OsIds::default().ulid(self.clock.now()));
        let topic = Topic::Session(ids["sessionId"].parse().unwrap());
        self.spoil(keys::subscription(self.scope(), topic, id)).await;
    }

    /// Stores what does not read, at this position of the realm's log.
    pub(crate) async fn spoil_log(&self, position: u64) {
        self.spoil(keys::log(self.scope(), position)).await;
    }

    async fn spoil(&self, key: Key) {
        let body = json!({ "v": 1, "doc": {} }).to_string();
        let put = Write::Put { key, body, index: None, expires: None, expect: Expect::Absent };
        let commit = Commit { name: "test.spoil", writes: vec![put] };
        self.table().commit(commit).await.unwrap();
    }

    /// How many batches the realm's log has.
    pub(crate) async fn logged(&self) -> usize {
        store::log::tail(&self.table(), self.scope(), None, 100).await.unwrap().len()
    }

    fn table(&self) -> DynamoTable {
        dynamo(self.emulator.endpoint(), &self.names, self.clock.clone())
    }

    #[expect(clippy::disallowed_methods, reason = "a test may enter its own realm")]
    fn scope(&self) -> store::Scope {
        store::Scope::grant(self.realm)
    }

    fn event(&self, seq: u64, text: &str) -> Event {
        let data = serde_json::value::to_raw_value(&json!({ "text": text })).unwrap();
        let kind = "agent_message_chunk".to_owned();
        Event { seq, kind, run_id: None, time: self.clock.now(), data }
    }

    /// One of everything, new, where the route will do what it does.
    pub(crate) async fn everything_for(&self, route: &Route) -> Ids {
        let agent = self.made("/v1/agents", json!({ "name": "a", "driver": "acp" })).await;
        let session = self.made("/v1/sessions", json!({ "agentId": agent })).await;
        let mut ids = Ids::from([
            ("realmId", self.made("/v1/realms", json!({ "name": "other" })).await),
            ("keyId", self.made("/v1/keys", json!({ "name": "k" })).await),
            ("agentId", agent),
            ("sessionId", session.clone()),
        ]);
        let template = json!({ "name": "t", "driver": "acp" });
        if route.id.starts_with("files.") {
            let file = format!("/v1/agents/{}/files/raw?path={}", ids["agentId"], sample::FILE);
            self.send("PUT", &file, Value::Null).await;
            let snapshots = format!("/v1/agents/{}/snapshots", ids["agentId"]);
            ids.insert("snapshotId", self.made(&snapshots, Value::Null).await);
        }
        if sample::variables(route.path).any(|name| ["digest", "registryAgentId"].contains(&name))
            || route.id == "registry.resolve"
        {
            let listed = sample::catalogued(&self.realm.to_string());
            let listed = self.made("/v1/registry/agents", listed).await;
            let asked = json!({ "registryAgent": listed });
            ids.insert("digest", self.made("/v1/bundles", asked).await);
            ids.insert("registryAgentId", listed.clone());
            ids.insert("registryAgent", listed);
        }
        let agent = format!("/v1/agents/{}", ids["agentId"]);
        if route.id == "registry.plan" {
            let plan = self.send("GET", &agent, Value::Null).await["plan"].clone();
            ids.insert("hash", plan.as_str().unwrap().to_owned());
        }
        ids.insert("templateId", self.made("/v1/templates", template).await);
        if sample::variables(route.path).any(|name| name == "runId") || route.id.ends_with("cancel")
        {
            let prompt = format!("/v1/sessions/{session}/prompt");
            ids.insert("runId", self.made(&prompt, json!({ "prompt": "hello" })).await);
        }
        if route.id == "runs.answer" {
            self.asks(&ids).await;
        }
        if route.id.starts_with("containers.") {
            let container = self.made("/v1/containers", json!({})).await;
            let install = format!("/v1/containers/{container}/agents");
            let instance = self.made(&install, json!({ "manualAgent": sample::manual() })).await;
            ids.extend([("containerId", container), ("instanceId", instance)]);
        }
        if route.id.ends_with(".recover") {
            let lost = json!({ "name": "lost", "driver": "acp", "repositories": ["none"] });
            let agent = self.made("/v1/agents", lost).await;
            let session = self.made("/v1/sessions", json!({ "agentId": agent })).await;
            let prompt = format!("/v1/sessions/{session}/prompt");
            self.made(&prompt, json!({ "prompt": "hello" })).await;
            self.drain().await;
            ids.insert("containerId", agent.replace("agt_", "ctr_"));
            ids.insert("agentId", agent);
        }
        ids
    }

    async fn drain(&self) {
        let until = self.clock.now().after(std::time::Duration::from_secs(20));
        workers::scheduler::drain(&self.app, &*self.clock, until).await.unwrap();
    }

    /// Lets the container of an agent come up; its shim, and what it was started with.
    pub(crate) async fn shim(&self, agent: AgentId) -> (ShimCaller, ContainerPlan) {
        self.drain().await;
        let asked = self.compute.asked();
        let plan = asked.iter().find(|plan| plan.agent == agent).expect("a container is wanted");
        (self.app.authenticate_shim(Some(&plan.token)).unwrap(), plan.clone())
    }

    /// Lets the agent of a run wait for an answer to `sample`.
    async fn asks(&self, ids: &Ids) {
        let (session, run) = (&ids["sessionId"], &ids["runId"]);
        let (shim, plan) = self.shim(ids["agentId"].parse().unwrap()).await;
        let say = async |text: Value| {
            let up = sockets::shim::read(shim, &text.to_string()).unwrap();
            let answer = sockets::shim::handle(&self.app, shim, "sample", up).await;
            assert!(matches!(answer, Ok(sockets::shim::Answer::Say(_))), "{answer:?}");
        };
        let hello = json!({ "protocol": wire::shim::PROTOCOL, "container": plan.container,
            "generation": plan.generation, "version": "0" });
        say(json!({ "hello": hello })).await;
        let asked = json!({ "request": "sample", "toolCall": { "title": "t" },
            "options": [{ "optionId": "sample", "name": "yes", "kind": "allow_once" }] });
        let events = json!([
            { "run": run, "what": { "started": { "acp_session": "s" } } },
            { "run": run, "what": { "asked": asked } },
        ]);
        say(json!({ "report": { "session": session, "first": 0, "events": events } })).await;
    }

    /// The sample event of this name, about these things.
    pub(crate) fn sample(&self, name: &str, ids: &Ids) -> String {
        let events = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../events");
        let path = events.join(format!("{name}.json"));
        let mut event = std::fs::read_to_string(&path).expect("every function has a sample event");
        for (name, id) in ids {
            event = match *name {
                "digest" | "hash" => event.replace(DIGEST, id),
                "registryAgentId" => event
                    .replace("/registry/agents/sample", &format!("/registry/agents/{id}"))
                    .replace(
                        "\"registryAgentId\": \"sample\"",
                        &format!("\"registryAgentId\": \"{id}\""),
                    ),
                "registryAgent" => event.replace(
                    "\\\"registryAgent\\\":\\\"sample\\\"",
                    &format!("\\\"registryAgent\\\":\\\"{id}\\\""),
                ),
                _ => {
                    let (prefix, _) = id.split_once('_').expect("a prefix");
                    event.replace(&format!("{prefix}_{SAMPLE}"), id)
                }
            };
        }
        event.replace(&format!("rk_{SAMPLE}_{}", "x".repeat(43)), &self.key)
    }
}
