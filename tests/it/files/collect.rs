//! Histories end: what is too much of one goes, with the blobs that nobody names any more, and whatever
//! is kept is whole.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use app::ports::{BlobId, Blobs, Clock, Shelf};
use domain::workspace::{Manifest, Pack, Snapshot};
use domain::{AgentId, Digest};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use reqwest::Method;
use serde_json::{Value, json};
use store::{Direction, Query, Range, Scope, document, keys};
use tests::clock::Hand;
use tests::given::at_last;
use tests::http::Client;
use tests::reeve::{Options, Reeve};

use super::{get, raw};
use crate::in_process::{Answer, InProcess};

const DAY: Duration = Duration::from_hours(25);

async fn history(client: &Client, agent: &str) -> Vec<Value> {
    client.all(&format!("/v1/agents/{agent}/snapshots?order=asc")).await
}

/// Where the blobs of an agent are.
fn shelf_of(reeve: &Reeve, agent: &str) -> PathBuf {
    let realms = fs::read_dir(reeve.data().join("blobs")).unwrap();
    let mut shelves = realms.map(|realm| realm.unwrap().path().join(agent));
    shelves.find(|shelf| shelf.exists()).unwrap_or_else(|| reeve.data().join("blobs/none"))
}

fn blobs_on(shelf: &Path) -> BTreeMap<String, Vec<u8>> {
    let Ok(entries) = fs::read_dir(shelf) else { return BTreeMap::new() };
    let read = |path: PathBuf| {
        (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read(path).unwrap())
    };
    entries.map(|entry| read(entry.unwrap().path())).collect()
}

/// Puts a blob past everybody, of this age.
fn orphan(shelf: &Path, bytes: &[u8], age: Duration) -> String {
    let name = BlobId::of(bytes).to_string();
    fs::write(shelf.join(&name), bytes).unwrap();
    let file = File::options().write(true).open(shelf.join(&name)).unwrap();
    let now = file.metadata().unwrap().modified().unwrap();
    file.set_modified(now - age).unwrap();
    name
}

/// One change after the other, each with a snapshot; which text each snapshot has.
async fn change(
    client: &Client,
    agent: &str,
    texts: std::ops::Range<u32>,
) -> Vec<(String, String)> {
    let mut made = Vec::new();
    for n in texts {
        let text = format!("text {n:03}.");
        client.put_file(agent, "a", text.as_bytes()).await;
        client.put_file(agent, "b", b"the same in all").await;
        let path = format!("/v1/agents/{agent}/snapshots");
        made.push((client.made(&path, Value::Null).await, text));
    }
    made
}

#[tokio::test]
async fn a_history_is_as_long_as_its_realm_says_and_all_of_it_is_there() {
    let reeve = Reeve::start(Options::default()).await;
    let client = reeve.realm_with(json!({ "maxSnapshots": 4 })).await;
    let (agent, twin) = (client.agent().await, client.agent().await);
    let elsewhere = reeve.realm().await;
    let other = elsewhere.agent().await;
    change(&elsewhere, &other, 0..3).await;
    let theirs = blobs_on(&shelf_of(&reeve, &other));
    assert!(!theirs.is_empty());
    let of_twin = change(&client, &twin, 0..4).await;
    let mut made = change(&client, &agent, 0..3).await;
    let shelf = shelf_of(&reeve, &agent);
    let old = orphan(&shelf, b"nobody knows what for", 2 * DAY);
    let young = orphan(&shelf, b"somebody is about to say what for", Duration::ZERO);
    made.extend(change(&client, &agent, 3..13).await);

    // Four, and for a while one more.
    at_last("the rest is gone", async || history(&client, &agent).await.len() <= 5).await;
    at_last("and what it was", async || {
        let left = blobs_on(&shelf);
        let lies = |text: &str| {
            left.values().any(|blob| blob.windows(text.len()).any(|some| some == text.as_bytes()))
        };
        !left.contains_key(&old) && !lies("text 003.") && lies("text 012.")
    })
    .await;
    assert!(blobs_on(&shelf).contains_key(&young));
    client.put_file(&agent, "a", b"now").await;
    for one in history(&client, &agent).await {
        let path = format!("/v1/agents/{agent}/snapshots/{}", one["id"].as_str().unwrap());
        let (_, text) = made.iter().find(|(id, _)| one["id"] == **id).unwrap();
        let diff = client.get(&format!("{path}/diff?against=now")).await.is(200);
        assert!(diff["files"][0]["patch"].as_str().unwrap().contains(text), "{diff:#}");
        // Also with the one before, which may be gone.
        assert_eq!(client.get(&format!("{path}/diff")).await.is(200)["changed"], one["changed"]);
    }
    let gone = format!("/v1/agents/{agent}/snapshots/{}/rollback", made[0].0);
    assert_eq!(client.post(&gone, Value::Null).await.is(404)["code"], "not_found");
    let last = &history(&client, &agent).await[0];
    let back = format!("/v1/agents/{agent}/snapshots/{}/rollback", last["id"].as_str().unwrap());
    client.post(&back, Value::Null).await.is(201);
    let (_, text) = made.iter().find(|(id, _)| last["id"] == **id).unwrap();
    assert_eq!(get(&client, &agent, "a", &[]).await.raw, text.as_bytes());
    // Nobody else has lost anything.
    assert_eq!(blobs_on(&shelf_of(&reeve, &other)), theirs);
    assert_eq!(history(&client, &twin).await.len(), of_twin.len());

    // With its agent all of it goes, whoever put it there.
    client.delete(&format!("/v1/agents/{agent}")).await.is(204);
    at_last("nothing is left", async || !shelf.exists()).await;
    assert_eq!(blobs_on(&shelf_of(&reeve, &other)), theirs);
}

#[tokio::test]
async fn killed_while_old_snapshots_go_a_history_is_whole() {
    for step in [
        "workspace.collect:before",
        "workspace.collect:after",
        "workspace.collected:before",
        "workspace.collected:after",
    ] {
        let mut reeve =
            Reeve::start(Options::default().env("FAILPOINTS", format!("{step}=return"))).await;
        let new = json!({ "name": "theirs", "limits": { "maxSnapshots": 2 } });
        let key = reeve.client().post("/v1/realms", new).await.text("/apiKey");
        let client = reeve.client().with_key(Some(&key));
        let agent = client.agent().await;
        let path = format!("/v1/agents/{agent}/snapshots");
        let mut made = BTreeMap::new();
        for n in 0.. {
            assert!(n < 100, "it does not die at {step}");
            let text = format!("text {n:03}.");
            let put = client.request(Method::PUT, &raw(&agent, "a")).body(text.clone());
            if Client::try_send(put).await.is_err() {
                break;
            }
            let Ok(reply) = client.post_once(&path, &n.to_string(), Value::Null).await else {
                break;
            };
            made.insert(reply.text("/id"), text);
        }
        reeve.ended().await;
        reeve.restart(Options::default()).await;
        let client = reeve.client().with_key(Some(&key));
        client.put_file(&agent, "a", b"now").await;
        at_last("the rest is gone", async || history(&client, &agent).await.len() <= 2).await;
        let left = history(&client, &agent).await;
        assert_eq!(left.len(), 2, "{step}");
        for one in left {
            let diff = format!("{path}/{}/diff?against=now", one["id"].as_str().unwrap());
            let diff = client.get(&diff).await.is(200);
            // The answer to the last one may be lost.
            let text = made.get(one["id"].as_str().unwrap()).map_or("text ", String::as_str);
            assert!(diff["files"][0]["patch"].as_str().unwrap().contains(text), "{diff:#}");
        }
    }
}

#[tokio::test]
async fn more_than_a_realm_keeps_is_refused_and_nothing_is_lost() {
    let reeve = Reeve::start(Options::default()).await;
    for limits in [json!({ "maxWorkspaceFiles": 2 }), json!({ "maxWorkspaceBytes": 10 })] {
        let client = reeve.realm_with(limits).await;
        let agent = client.agent().await;
        let path = format!("/v1/agents/{agent}/snapshots");
        client.put_file(&agent, "a", b"12345").await;
        client.put_file(&agent, "b", b"12345").await;
        let first = client.made(&path, Value::Null).await;
        client.put_file(&agent, "c", b"6").await;
        let refused = client.post(&path, Value::Null).await;
        assert_eq!(refused.is(413)["code"], "workspace_too_large");
        // Neither is what has no snapshot overwritten.
        let back = client.post(&format!("{path}/{first}/rollback"), Value::Null).await;
        assert_eq!(back.is(413)["code"], "workspace_too_large");
        assert_eq!(get(&client, &agent, "c", &[]).await.raw, b"6");
        // A run that leaves it so is told to have no snapshot.
        let session = client.session(&agent).await;
        let run = client.prompt(&session, "hello").await;
        let mut events = client.events(&format!("/v1/sessions/{session}/events"), None).await;
        let told = events.until("workspace_not_kept").await;
        let told = told.last().unwrap();
        assert_eq!(told.data["runId"], json!(run));
        let reason = told.data["data"]["reason"].as_str().unwrap();
        assert!(reason.contains("maxWorkspaceFiles"), "{reason}");
        client.delete(&raw(&agent, "c")).await.is(204);
        assert_eq!(client.made(&path, Value::Null).await, first, "as it was");
    }
    // Where the workspace is only what is kept of it, nothing more comes in.
    let reeve = InProcess::start().await;
    let ids = reeve.everything().await;
    limit(&reeve, json!({ "maxWorkspaceFiles": 1 })).await;
    let file = format!("/v1/agents/{}/files/raw?path=another", ids["agentId"]);
    let refused = reeve.send("put", &file, None).await;
    assert_eq!((refused.status, &refused.body["code"]), (413, &json!("workspace_too_large")));
    assert_eq!(reeve.send("get", &file, None).await.status, 404);
}

async fn limit(reeve: &InProcess, limits: Value) {
    let realm = format!("/v1/realms/{}", reeve.realm);
    let limits = json!({ "limits": limits });
    assert_eq!(reeve.send("patch", &realm, Some(&limits)).await.status, 200);
}

/// What may happen to one of two agents.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// A file gets one of a few contents, while somebody looks what may go.
    Put { agent: usize, file: u8, content: u8 },
    /// A file goes.
    Remove { agent: usize, file: u8 },
    /// One of its snapshots comes back, while somebody looks what may go.
    Back { agent: usize, which: usize },
    /// A pack comes that nobody names.
    Orphan { agent: usize, content: u8 },
    /// Hours pass.
    Hours(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let agent = || 0..2_usize;
    let step = prop_oneof![
        6 => (agent(), 0..3_u8, 0..3_u8)
            .prop_map(|(agent, file, content)| Step::Put { agent, file, content }),
        2 => (agent(), 0..3_u8).prop_map(|(agent, file)| Step::Remove { agent, file }),
        3 => (agent(), 0..8_usize).prop_map(|(agent, which)| Step::Back { agent, which }),
        1 => (agent(), 0..3_u8).prop_map(|(agent, content)| Step::Orphan { agent, content }),
        2 => (1..40_u64).prop_map(Step::Hours),
    ];
    prop::collection::vec(step, 1..40)
}

/// Two agents, and a clock that the test moves.
struct World {
    reeve: InProcess,
    clock: Arc<Hand>,
    agents: [AgentId; 2],
}

impl World {
    async fn start() -> Self {
        let clock = Arc::new(Hand::default());
        let reeve = InProcess::start_at(clock.clone()).await;
        // Agents whom nobody needs for long stay what they are.
        limit(&reeve, json!({ "maxSnapshots": 3, "reclaimAfterDays": 0 })).await;
        let mut agents = Vec::new();
        for _ in 0..2 {
            let new = json!({ "name": "a", "driver": "acp" });
            let made = reeve.send("post", "/v1/agents", Some(&new)).await;
            agents.push(made.body["id"].as_str().unwrap().parse().unwrap());
        }
        Self { reeve, clock, agents: agents.try_into().unwrap() }
    }

    fn scope(&self) -> Scope {
        #[expect(clippy::disallowed_methods, reason = "looks at what there is")]
        Scope::grant(self.reeve.realm)
    }

    async fn drain(&self) {
        let until = self.clock.now().after(Duration::from_secs(9));
        workers::scheduler::drain(&self.reeve.app, &*self.clock, until).await.unwrap();
    }

    async fn snapshots(&self, agent: AgentId) -> Vec<Snapshot> {
        let query = Query {
            pk: keys::snapshots_of(self.scope(), agent),
            on_index: false,
            range: Range::Prefix(String::new()),
            direction: Direction::Ascending,
            after: None,
            limit: 100,
        };
        document::list::<Snapshot>(&*self.reeve.table, query).await.unwrap().items
    }

    /// Asks again where others were faster: waiting takes no time by this clock, and a disk may.
    async fn insist(&self, verb: &str, path: &str, body: Option<&Value>) -> Answer {
        loop {
            let answer = self.reeve.send(verb, path, body).await;
            if answer.body["code"] != "conflict" {
                return answer;
            }
        }
    }

    async fn take(&self, step: Step) {
        let path = |agent: usize| format!("/v1/agents/{}", self.agents[agent]);
        let file = |agent: usize, file| format!("{}/files/raw?path=f{file}", path(agent));
        match step {
            Step::Put { agent, file: name, content } => {
                let (path, body) = (file(agent, name), json!(format!("content {content}")));
                let (put, ()) = tokio::join!(self.insist("put", &path, Some(&body)), self.drain());
                assert_eq!(put.status, 204, "{:?}", put.body);
            }
            Step::Remove { agent, file: name } => {
                let removed = self.reeve.send("delete", &file(agent, name), None).await;
                assert!([204, 404].contains(&removed.status), "{:?}", removed.body);
            }
            Step::Back { agent, which } => {
                let there = self.snapshots(self.agents[agent]).await;
                let Some(one) = there.get(which % there.len().max(1)) else { return };
                let back = format!("{}/snapshots/{}/rollback", path(agent), one.id);
                let (back, ()) = tokio::join!(self.insist("post", &back, None), self.drain());
                // It may go just then.
                assert!([201, 404].contains(&back.status), "{:?}", back.body);
            }
            Step::Orphan { agent, content } => {
                let agent = self.agents[agent];
                // As it would be put by who is about to say what it is for.
                let file = json!(format!("content {content}")).to_string();
                let bytes = [Pack::Workspace.header(agent), file.into_bytes()].concat();
                self.reeve.blobs.put(Shelf::of(self.scope(), agent), bytes).await.unwrap();
            }
            Step::Hours(hours) => {
                self.clock.advance(Duration::from_hours(hours));
                self.drain().await;
            }
        }
    }

    /// Every blob that a snapshot names, each of which is there.
    async fn whole(&self, whose: Shelf, manifest: Digest) -> BTreeSet<BlobId> {
        let blobs = &self.reeve.blobs;
        let json = blobs.get(whose, manifest.into()).await.unwrap();
        let json = json.unwrap_or_else(|| panic!("the manifest {manifest} is gone"));
        let read: Manifest = serde_json::from_slice(&json).unwrap();
        let mut named = BTreeSet::from([BlobId::from(manifest)]);
        for blob in read.blobs() {
            let there = blobs.size(whose, blob.into()).await.unwrap();
            assert!(there.is_some(), "the pack {blob} of {manifest} is gone");
            named.insert(blob.into());
        }
        named
    }

    /// Whatever is listed is there. What is named.
    async fn check(&self, agent: AgentId) -> BTreeSet<BlobId> {
        let whose = Shelf::of(self.scope(), agent);
        let mut named = BTreeSet::new();
        for (n, one) in self.snapshots(agent).await.iter().enumerate() {
            named.extend(self.whole(whose, one.manifest).await);
            // What it is compared with is there as well.
            if let Some((_, parent)) = one.parent.filter(|_| n == 0) {
                named.extend(self.whole(whose, parent).await);
            }
        }
        named
    }
}

async fn tell(steps: Vec<Step>) {
    let world = World::start().await;
    for step in steps {
        world.take(step).await;
        for agent in world.agents {
            world.check(agent).await;
        }
    }
    // Once it is quiet for long enough, there is what is needed and nothing else. Where nothing comes that
    // has to go before, the next look is when the oldest of what is kept has grown too old.
    for agent in 0..2 {
        world.take(Step::Put { agent, file: 0, content: 0 }).await;
    }
    for days in [1, 1, 1, 1, 30] {
        world.clock.advance(DAY * days);
        world.drain().await;
    }
    for agent in world.agents {
        let named = world.check(agent).await;
        let there = world.snapshots(agent).await.len();
        assert!((1..=3).contains(&there), "{there} snapshots");
        let shelf = Shelf::of(world.scope(), agent);
        let left = world.reeve.blobs.list(shelf, None, 1000).await.unwrap();
        let left: BTreeSet<_> = left.into_iter().map(|one| one.id).collect();
        assert_eq!(left, named);
    }
}

#[test]
fn whatever_happens_every_snapshot_that_is_listed_is_whole() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    // Somebody fails to say what it was for, and nothing else comes.
    runtime.block_on(tell(vec![
        Step::Put { agent: 1, file: 0, content: 0 },
        Step::Put { agent: 1, file: 0, content: 0 },
        Step::Hours(24),
        Step::Orphan { agent: 1, content: 1 },
    ]));
    let config = Config { cases: 32, failure_persistence: None, ..Config::default() };
    TestRunner::new(config)
        .run(&steps(), |steps| {
            runtime.block_on(tell(steps));
            Ok(())
        })
        .unwrap();
}

#[tokio::test]
async fn in_the_cloud_too_a_deleted_agent_leaves_nothing_however_late_it_comes() {
    let world = World::start().await;
    let [agent, other] = world.agents;
    for step in [
        Step::Put { agent: 0, file: 0, content: 0 },
        Step::Put { agent: 1, file: 0, content: 0 },
        Step::Put { agent: 0, file: 0, content: 1 },
        Step::Orphan { agent: 0, content: 1 },
    ] {
        world.take(step).await;
    }
    let theirs = world.check(other).await;
    let deleted = world.reeve.send("delete", &format!("/v1/agents/{agent}"), None).await;
    assert_eq!(deleted.status, 204);
    world.drain().await;
    let shelf = Shelf::of(world.scope(), agent);
    let left = async || world.reeve.blobs.list(shelf, None, 10).await.unwrap().len();
    assert_eq!(left().await, 0);
    // Of a request that began before.
    world.reeve.blobs.put(shelf, b"late".to_vec()).await.unwrap();
    world.clock.advance(Duration::from_hours(2));
    world.drain().await;
    assert_eq!(left().await, 0);
    assert_eq!(world.check(other).await, theirs);
}
