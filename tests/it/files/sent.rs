//! The same files where a container has them and keeps none: its shim sends what became of them.

use app::shim::ShimCaller;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use domain::workspace::{Entry, Extent, Manifest, Node, Pack, WorkspacePath};
use domain::{AgentId, Digest, SnapshotId, Timestamp};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tests::sample::Ids;
use wire::shim::keep::{Answer, Ask, Kept, MAX_PIECE, Refusal, Sent, Wanted};

use crate::in_process::{InProcess, SIGNING_KEY};

fn digest(bytes: &[u8]) -> Digest {
    Digest::new(Sha256::digest(bytes).into())
}

/// The shim of the container of an agent.
struct Shim<'a> {
    reeve: &'a InProcess,
    caller: ShimCaller,
    agent: AgentId,
}

impl<'a> Shim<'a> {
    /// That of the container in which the session's agent runs, or of another start of it.
    async fn of(reeve: &'a InProcess, ids: &Ids, generations_ago: u32) -> Self {
        let agent: AgentId = ids["agentId"].parse().unwrap();
        let generation = reeve.run_container(&ids["sessionId"]).await - generations_ago;
        let claim = format!("st_{}_{}_{generation}", reeve.realm.ulid(), agent.ulid());
        let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(&SIGNING_KEY).unwrap();
        mac.update(claim.as_bytes());
        let token = format!("{claim}_{}", hex::encode(mac.finalize().into_bytes()));
        Self { reeve, caller: reeve.app.authenticate_shim(Some(&token)).unwrap(), agent }
    }

    async fn ask_about(&self, agent: AgentId, what: Wanted) -> Answer {
        self.reeve.app.shim_asked(self.caller, &Ask { number: 0, agent, what }).await.unwrap()
    }

    async fn ask(&self, what: Wanted) -> Answer {
        self.ask_about(self.agent, what).await
    }

    /// Puts a pack, and says where in it the bytes lie.
    async fn put(&self, kind: Pack, bytes: &[u8]) -> Extent {
        let header = kind.header(self.agent);
        let pack = [header.as_slice(), bytes].concat();
        let there = Answer::Put(digest(&pack));
        assert_eq!(self.ask(Wanted::Put(BASE64_STANDARD.encode(&pack))).await, there);
        let (offset, length) = (header.len() as u64, bytes.len() as u64);
        Extent { blob: digest(&pack), offset, length }
    }

    /// Sends a tree of these files as the workspace and as the home.
    async fn send(&self, after: Option<SnapshotId>, files: &[(&str, File<'_>)]) -> Answer {
        let mut trees = Vec::new();
        for kind in [Pack::Workspace, Pack::Home] {
            let manifest = self.manifest(kind, files).await;
            let json = serde_json::to_vec(&manifest).unwrap();
            trees.push(Some(vec![self.put(Pack::Sheet, &json).await]));
        }
        let (home, workspace) = (trees.pop().unwrap(), trees.pop().unwrap());
        let sent = Sent { run: None, after, workspace, home };
        self.ask(Wanted::Keep(Box::new(sent))).await
    }

    async fn manifest(&self, kind: Pack, files: &[(&str, File<'_>)]) -> Manifest {
        let mut manifest = Manifest::empty(self.agent);
        for (path, file) in files {
            let (extents, digest, size) = match file {
                File::Of(bytes) => {
                    let extent = self.put(kind, bytes).await;
                    (vec![extent], digest(bytes), bytes.len() as u64)
                }
                File::Claimed(extent, digest) => (vec![*extent], *digest, extent.length),
            };
            let modified = Timestamp::default();
            let node = Node::File { digest, size, executable: false, modified, extents };
            let path = WorkspacePath::new(*path).unwrap();
            manifest.entries.insert(path, Entry { node, stamp: None });
        }
        manifest
    }

    async fn kept(&self) -> Kept {
        let answer = self.ask(Wanted::Latest).await;
        let Answer::Kept(kept) = answer else { panic!("{answer:?}") };
        kept
    }
}

enum File<'a> {
    /// With these bytes, which are put first.
    Of(&'a [u8]),
    /// That is said to lie there and to hash to this.
    Claimed(Extent, Digest),
}

/// Another agent of the realm that has a file and a session.
async fn another(reeve: &InProcess) -> Ids {
    let made = async |path: &str, body: Value| {
        let answer = reeve.send("post", path, Some(&body)).await;
        answer.body["id"].as_str().unwrap().to_owned()
    };
    let agent = made("/v1/agents", json!({ "name": "b", "driver": "acp" })).await;
    let session = made("/v1/sessions", json!({ "agentId": agent })).await;
    let file = format!("/v1/agents/{agent}/files/raw?path=theirs");
    assert_eq!(reeve.send("put", &file, None).await.status, 204);
    Ids::from([("agentId", agent), ("sessionId", session)])
}

async fn history(reeve: &InProcess, agent: &str) -> Vec<Value> {
    let path = format!("/v1/agents/{agent}/snapshots");
    reeve.send("get", &path, None).await.body["items"].as_array().unwrap().clone()
}

#[tokio::test]
async fn what_a_shim_sends_is_what_everybody_sees_and_what_the_next_one_gets() {
    let reeve = InProcess::start().await;
    let ids = reeve.everything().await;
    let shim = Shim::of(&reeve, &ids, 0).await;
    let began = shim.kept().await;
    assert_eq!(began.snapshot, Some(ids["snapshotId"].parse().unwrap()));
    let Answer::Kept(kept) = shim.send(began.snapshot, &[("a", File::Of(b"one"))]).await else {
        panic!("it is kept");
    };
    assert_eq!(kept, shim.kept().await);
    let file = format!("/v1/agents/{}/files/raw?path=a", ids["agentId"]);
    assert_eq!(reeve.send("get", &file, None).await.raw, b"one");
    let all = history(&reeve, &ids["agentId"]).await;
    let latest = &all[0];
    assert_eq!((&latest["cause"], &latest["changed"]["added"]), (&json!("stop"), &json!(1)));
    assert_eq!(latest["changed"]["deleted"], 1);
    // Said again because the answer was lost, it is there already.
    let again = shim.send(began.snapshot, &[("a", File::Of(b"one"))]).await;
    assert_eq!(again, Answer::Kept(kept.clone()));
    assert_eq!(history(&reeve, &ids["agentId"]).await, all);
    // The manifests are there in pieces, of the home as of the workspace.
    for extent in [kept.workspace.unwrap(), kept.home.unwrap()] {
        let Answer::Bytes(text) = shim.ask(Wanted::Read(extent)).await else { panic!() };
        let manifest: Manifest =
            serde_json::from_slice(&BASE64_STANDARD.decode(text).unwrap()).unwrap();
        let paths: Vec<_> = manifest.entries.keys().map(ToString::to_string).collect();
        assert_eq!(paths, ["a"]);
    }
    // The home is what it is now: what it was is not kept.
    let Answer::Kept(next) = shim.send(kept.snapshot, &[("b", File::Of(b"two"))]).await else {
        panic!("it is kept");
    };
    let before = shim.ask(Wanted::Read(kept.home.unwrap())).await;
    assert_eq!(before, Answer::Refused(Refusal::NoSuchBlob));
    assert!(matches!(shim.ask(Wanted::Read(kept.workspace.unwrap())).await, Answer::Bytes(_)));
    assert_ne!(next.home, kept.home);
}

#[tokio::test]
async fn nothing_is_believed_because_a_shim_says_so() {
    let reeve = InProcess::start().await;
    let (ids, other) = (reeve.everything().await, another(&reeve).await);
    let shim = Shim::of(&reeve, &ids, 0).await;
    let neighbour = Shim::of(&reeve, &other, 0).await;
    let began = shim.kept().await;
    let theirs = neighbour.put(Pack::Workspace, b"s3cret").await;
    let mine = shim.put(Pack::Workspace, b"mine").await;
    let secret = digest(b"s3cret");
    for (claimed, hash, refusal) in [
        (theirs, secret, Refusal::NoSuchBlob),
        (mine, secret, Refusal::Unfit),
        (Extent { offset: mine.offset - 1, ..mine }, digest(b"\0min"), Refusal::Unfit),
        (Extent { length: 5, ..mine }, digest(b"mine"), Refusal::Unfit),
        (Extent { offset: u64::MAX, ..mine }, digest(b"mine"), Refusal::Unfit),
        (Extent { blob: digest(b"nothing"), ..mine }, digest(b"mine"), Refusal::NoSuchBlob),
    ] {
        let answer = shim.send(began.snapshot, &[("a", File::Claimed(claimed, hash))]).await;
        assert_eq!(answer, Answer::Refused(refusal), "{claimed:?}");
    }
    // A manifest is one only where manifests are sent, and only one's own.
    let foreign = serde_json::to_vec(&Manifest::empty(neighbour.agent)).unwrap();
    for (kind, json) in [
        (Pack::Sheet, foreign),
        (Pack::Sheet, b"{}".to_vec()),
        (Pack::Workspace, serde_json::to_vec(&Manifest::empty(shim.agent)).unwrap()),
    ] {
        let workspace = Some(vec![shim.put(kind, &json).await]);
        let sent = Sent { run: None, after: began.snapshot, workspace, home: None };
        let answer = shim.ask(Wanted::Keep(Box::new(sent))).await;
        assert!(matches!(answer, Answer::Refused(_)), "{answer:?}");
    }
    // Neither bytes nor packs of another agent, nor one that is not in this container.
    assert_eq!(shim.ask(Wanted::Read(theirs)).await, Answer::Refused(Refusal::NoSuchBlob));
    let of_theirs = neighbour.kept().await.workspace.unwrap();
    assert_eq!(shim.ask(Wanted::Read(of_theirs)).await, Answer::Refused(Refusal::NoSuchBlob));
    let pack = BASE64_STANDARD.encode(Pack::Workspace.header(neighbour.agent));
    assert_eq!(shim.ask(Wanted::Put(pack)).await, Answer::Refused(Refusal::Unfit));
    let stale = Answer::Refused(Refusal::Stale);
    assert_eq!(shim.ask_about(neighbour.agent, Wanted::Latest).await, stale);
    // Nor more than a frame holds.
    let long = [Pack::Home.header(shim.agent), vec![0; MAX_PIECE]].concat();
    let long = Wanted::Put(BASE64_STANDARD.encode(long));
    assert_eq!(shim.ask(long).await, Answer::Refused(Refusal::Unfit));
    assert_eq!(shim.kept().await, began, "and nothing has changed");
    assert_eq!(history(&reeve, &ids["agentId"]).await.len(), 1);
    // Who began with something else has not seen what is there.
    let late = shim.send(None, &[("a", File::Of(b"one"))]).await;
    assert_eq!(late, Answer::Refused(Refusal::Moved));
}

#[tokio::test]
async fn a_start_that_is_over_keeps_nothing() {
    let reeve = InProcess::start().await;
    let ids = reeve.everything().await;
    let shim = Shim::of(&reeve, &ids, 1).await;
    let stale = Answer::Refused(Refusal::Stale);
    assert_eq!(shim.ask(Wanted::Latest).await, stale);
    let pack = BASE64_STANDARD.encode(Pack::Workspace.header(shim.agent));
    assert_eq!(shim.ask(Wanted::Put(pack)).await, stale);
    let sent = Sent { run: None, after: None, workspace: None, home: None };
    assert_eq!(shim.ask(Wanted::Keep(Box::new(sent))).await, stale);
}
