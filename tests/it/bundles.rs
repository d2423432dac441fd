//! Bundles: what is downloaded, verified, kept, found spoiled, and run.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use app::ports::{Bundles, KeptContent, MakeError};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use domain::Digest;
use domain::bundle::{Content, Pinned};
use embedded::bundles::{BundleStore, Config, Limits};
use host::fetch::{HttpFetch, Reach};
use serde_json::{Value, json};
use sha2::Digest as _;
use tests::http::Client;
use tests::reeve::{Options, Reeve};

use crate::outside::{Outside, Says};

/// Where installers are found, and whom they trust.
fn environment() -> BTreeMap<String, String> {
    let names = ["PATH", "NODE_EXTRA_CA_CERTS", "SSL_CERT_FILE", "PIP_CERT"];
    let get = |name: &str| std::env::vars().find(|(known, _)| known == name);
    names.into_iter().filter_map(get).collect()
}

fn store(outside: &Outside, dir: &Path) -> BundleStore {
    let limits = Limits {
        download: 1 << 20,
        bytes: 4 << 20,
        entries: 100,
        time: Duration::from_mins(1),
        unused: Duration::from_hours(1),
    };
    let fetch = HttpFetch::new(Reach::default().vouch(&outside.url)).unwrap();
    let (npm, pypi) = (outside.url.clone(), outside.url.clone());
    let config = Config { dir: dir.to_owned(), npm, pypi, environment: environment(), limits };
    BundleStore::open(config, Arc::new(fetch)).unwrap()
}

fn sha256(bytes: &[u8]) -> Digest {
    Digest::new(sha2::Sha256::digest(bytes).into())
}

fn binary(url: String, cmd: &str, sha256: Option<Digest>) -> Pinned {
    Pinned::Binary { url, cmd: cmd.to_owned(), sha256 }
}

/// The digests of what is kept in `dir`, beside which there is nothing.
fn kept(dir: &Path) -> Vec<String> {
    let names = |dir: &Path| -> Vec<String> {
        let entries = std::fs::read_dir(dir).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    assert_eq!(names(dir), ["manifests", "sources", "trees"]);
    let (trees, manifests) = (names(&dir.join("trees")), names(&dir.join("manifests")));
    assert_eq!(trees, manifests);
    trees
}

fn code(made: Result<Content, MakeError>) -> String {
    match made {
        Err(MakeError::Failed(fault)) => fault.code,
        other => panic!("{other:?}"),
    }
}

/// What is to be in a tar: path, kind, and text or target.
type Entry<'a> = (&'a str, tar::EntryType, &'a [u8]);

fn tar(entries: &[Entry<'_>]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (path, kind, held) in entries {
        let mut header = tar::Header::new_old();
        // As somebody who means harm writes it: the crate would refuse.
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_entry_type(*kind);
        header.set_mode(0o4755);
        let file = kind.is_file();
        if !file {
            header.as_old_mut().linkname[..held.len()].copy_from_slice(held);
        }
        header.set_size(if file { held.len() as u64 } else { 0 });
        header.set_cksum();
        archive.append(&header, if file { *held } else { b"" }).unwrap();
    }
    archive.into_inner().unwrap()
}

fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    packed.write_all(bytes).unwrap();
    packed.finish().unwrap()
}

fn zip(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (path, held) in entries {
        let options = zip::write::SimpleFileOptions::default().unix_permissions(0o755);
        archive.start_file(*path, options).unwrap();
        archive.write_all(held).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

use tar::EntryType as T;

#[tokio::test]
async fn a_download_becomes_content_with_one_digest_however_it_is_packed() {
    let (outside, dir) = (Outside::start().await, tempfile::tempdir().unwrap());
    let store = store(&outside, dir.path());
    let program = b"#!/bin/sh\necho hello\n";
    let packed = tar(&[("./bin/", T::Directory, b""), ("./bin/agent", T::Regular, program)]);
    outside.says("/a.tar.gz", Says::Bytes(gz(&packed)));
    outside.says("/a.tgz?x=1", Says::Bytes(gz(&packed)));
    let mut bz = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::best());
    bz.write_all(&packed).unwrap();
    outside.says("/a.tar.bz2", Says::Bytes(bz.finish().unwrap()));
    outside.says("/a.zip", Says::Bytes(zip(&[("bin/agent", program)])));
    outside.says("/raw", Says::Bytes(program.to_vec()));
    let mut digests = Vec::new();
    for path in ["/a.tar.gz", "/a.tgz?x=1", "/a.tar.bz2", "/a.zip", "/raw"] {
        let content = store.make(&binary(outside.at(path), "./bin/agent", None)).await.unwrap();
        assert_eq!(content.entrypoint, ["{bundle}/bin/agent"], "{path}");
        assert_eq!((content.files, content.bytes), (1, program.len() as u64), "{path}");
        digests.push(content.digest);
    }
    assert!(digests.iter().all(|digest| *digest == digests[0]), "{digests:?}");
    let at = BundleStore::tree(dir.path(), digests[0]).join("bin/agent");
    let out = std::process::Command::new(at).output().unwrap();
    assert_eq!(out.stdout, b"hello\n");
}

#[tokio::test]
async fn what_is_not_what_it_should_be_is_refused_and_leaves_nothing() {
    let (outside, dir) = (Outside::start().await, tempfile::tempdir().unwrap());
    let store = store(&outside, dir.path());
    let bomb = vec![0; 5 << 20];
    let many: Vec<String> = (0..101).map(|n| format!("f{n}")).collect();
    let many: Vec<Entry<'_>> = many.iter().map(|n| (n.as_str(), T::Regular, &b"x"[..])).collect();
    let good = ("agent", T::Regular, &b"x"[..]);
    let tars: &[(&str, &str, Vec<u8>)] = &[
        ("traversal", "bad_archive", tar(&[good, ("../out", T::Regular, b"x")])),
        ("absolute", "bad_archive", tar(&[good, ("/tmp/out", T::Regular, b"x")])),
        ("link-out", "bad_archive", tar(&[good, ("l", T::Symlink, b"../../etc/passwd")])),
        ("link-absolute", "bad_archive", tar(&[good, ("l", T::Symlink, b"/etc/passwd")])),
        ("hard-link-out", "bad_archive", tar(&[good, ("l", T::Link, b"/etc/passwd")])),
        (
            "through-a-link",
            "bad_archive",
            tar(&[
                good,
                ("d/", T::Directory, b""),
                ("l", T::Symlink, b"d"),
                ("l/x", T::Regular, b"x"),
            ]),
        ),
        (
            "link-below-a-link",
            "bad_archive",
            tar(&[good, ("d", T::Symlink, b"."), ("d/l", T::Symlink, b"x")]),
        ),
        ("twice", "bad_archive", tar(&[good, good])),
        ("device", "bad_archive", tar(&[good, ("dev", T::Char, b"")])),
        ("bomb", "too_large", tar(&[good, ("big", T::Regular, &bomb)])),
        ("many", "too_large", tar(&many)),
        ("no-program", "no_command", tar(&[("other", T::Regular, b"x")])),
    ];
    for (what, expected, packed) in tars {
        let path = format!("/{what}.tar.gz");
        outside.says(&path, Says::Bytes(gz(packed)));
        let made = store.make(&binary(outside.at(&path), "agent", None)).await;
        assert_eq!(code(made), *expected, "{what}");
    }
    let zips: &[(&str, &str, Vec<u8>)] = &[
        ("slip", "bad_archive", zip(&[("agent", b"x"), ("../../out", b"x")])),
        ("bomb", "too_large", zip(&[("agent", b"x"), ("big", &bomb)])),
        ("nonsense", "bad_archive", b"not a zip".to_vec()),
    ];
    for (what, expected, packed) in zips {
        let path = format!("/{what}.zip");
        outside.says(&path, Says::Bytes(packed.clone()));
        let made = store.make(&binary(outside.at(&path), "agent", None)).await;
        assert_eq!(code(made), *expected, "{what}");
    }
    outside.says("/raw", Says::Bytes(b"one".to_vec()));
    let wrong = store.make(&binary(outside.at("/raw"), "agent", Some(sha256(b"other")))).await;
    assert_eq!(code(wrong), "digest_mismatch");
    outside.says("/large", Says::Bytes(vec![0; (1 << 20) + 1]));
    assert_eq!(code(store.make(&binary(outside.at("/large"), "a", None)).await), "too_large");
    let inside = store.make(&binary("https://169.254.169.254/x".to_owned(), "a", None)).await;
    assert_eq!(code(inside), "forbidden_address");
    outside.says("/half", Says::Half(vec![b'x'; 100]));
    let half = store.make(&binary(outside.at("/half"), "agent", None)).await;
    assert!(matches!(half, Err(MakeError::Passing(_))), "{half:?}");
    assert_eq!(kept(dir.path()), [""; 0]);
}

#[tokio::test]
async fn the_same_is_downloaded_once_and_again_when_it_is_spoiled() {
    let (outside, dir) = (Outside::start().await, tempfile::tempdir().unwrap());
    let store = self::store(&outside, dir.path());
    outside.says("/raw", Says::Bytes(b"one".to_vec()));
    let pinned = binary(outside.at("/raw"), "agent", Some(sha256(b"one")));
    let all = futures::future::join_all((0..8).map(|_| store.make(&pinned))).await;
    let digest = all[0].as_ref().unwrap().digest;
    assert!(all.iter().all(|made| made.as_ref().unwrap().digest == digest));
    assert_eq!(outside.times("/raw"), 1);
    // Another process finds it, too.
    drop(store);
    let store = self::store(&outside, dir.path());
    assert_eq!(store.make(&pinned).await.unwrap().digest, digest);
    assert_eq!(store.check(digest).await.unwrap(), KeptContent::Whole);
    assert_eq!(outside.times("/raw"), 1);
    // Whatever is changed is noticed, even by one who keeps length and time.
    let file = BundleStore::tree(dir.path(), digest).join("agent");
    let time = std::fs::metadata(&file).unwrap().modified().unwrap();
    std::fs::write(&file, "two").unwrap();
    std::fs::File::options().write(true).open(&file).unwrap().set_modified(time).unwrap();
    assert_eq!(store.check(digest).await.unwrap(), KeptContent::Damaged);
    assert_eq!(store.check(digest).await.unwrap(), KeptContent::Gone);
    assert_eq!(store.make(&pinned).await.unwrap().digest, digest);
    assert_eq!((outside.times("/raw"), std::fs::read(&file).unwrap()), (2, b"one".to_vec()));
}

#[tokio::test]
async fn what_nobody_uses_is_removed_and_what_somebody_does_is_not() {
    let (outside, dir) = (Outside::start().await, tempfile::tempdir().unwrap());
    let store = store(&outside, dir.path());
    let make = async |name: &str| {
        outside.says(&format!("/{name}"), Says::Bytes(name.as_bytes().to_vec()));
        store.make(&binary(outside.at(&format!("/{name}")), "agent", None)).await.unwrap().digest
    };
    let (unused, asked, runs) = (make("unused").await, make("asked").await, make("runs").await);
    for content in [unused, asked, runs] {
        let manifest = dir.path().join("manifests").join(content.hex());
        let long_ago = std::time::SystemTime::UNIX_EPOCH;
        std::fs::File::open(manifest).unwrap().set_modified(long_ago).unwrap();
    }
    assert_eq!(store.check(asked).await.unwrap(), KeptContent::Whole);
    let held = std::fs::File::open(BundleStore::tree(dir.path(), runs)).unwrap();
    rustix::fs::flock(&held, rustix::fs::FlockOperation::LockShared).unwrap();
    let new = make("new").await;
    let mut expected = [asked.hex(), runs.hex(), new.hex()];
    expected.sort();
    assert_eq!(kept(dir.path()), expected);
    drop(held);
    let newer = make("newer").await;
    let mut expected = [asked.hex(), new.hex(), newer.hex()];
    expected.sort();
    assert_eq!(kept(dir.path()), expected);
    // Who needs it again has it made again.
    assert_eq!(store.check(unused).await.unwrap(), KeptContent::Gone);
    assert_eq!(make("unused").await, unused);
    assert_eq!(outside.times("/unused"), 2);
}

/// A package of npm that is an agent, as a registry of packages shows it.
fn publish(outside: &Outside, name: &str, version: &str, files: &[(&str, &str)]) {
    let bin = json!({ (name): "agent.js" });
    let manifest = json!({ "name": name, "version": version, "bin": bin }).to_string();
    let mut entries = vec![("package/package.json".to_owned(), manifest)];
    entries
        .extend(files.iter().map(|(path, text)| (format!("package/{path}"), (*text).to_owned())));
    let entries: Vec<Entry<'_>> =
        entries.iter().map(|(path, text)| (path.as_str(), T::Regular, text.as_bytes())).collect();
    let packed = gz(&tar(&entries));
    let tarball = format!("/{name}/-/{name}-{version}.tgz");
    let integrity = format!("sha512-{}", STANDARD.encode(sha2::Sha512::digest(&packed)));
    let dist = json!({ "tarball": outside.at(&tarball), "integrity": integrity });
    let one = json!({ "name": name, "version": version, "bin": bin, "dist": dist });
    outside.says(&tarball, Says::Bytes(packed));
    outside.json(&format!("/{name}/{version}"), &one);
    outside.json(&format!("/{name}/latest"), &one);
    outside.json(
        &format!("/{name}"),
        &json!({ "name": name, "dist-tags": { "latest": version }, "versions": { version: one } }),
    );
}

/// Speaks as much ACP as it takes to answer a prompt.
const AGENT: &str = r#"#!/usr/bin/env node
const say = (message) => process.stdout.write(JSON.stringify({ jsonrpc: "2.0", ...message }) + "\n");
require("readline").createInterface({ input: process.stdin }).on("line", (line) => {
  const { id, method, params } = JSON.parse(line);
  if (method === "initialize") {
    say({ id, result: { protocolVersion: 1, agentCapabilities: {}, authMethods: [] } });
  } else if (method === "session/new") {
    say({ id, result: { sessionId: "one" } });
  } else if (method === "session/prompt") {
    let text = [process.argv.slice(2).join(" "), process.env.COLOUR, __dirname].join("|");
    if (params.prompt[0].text === "what else is there?") {
      try {
        text = "|" + require("fs").readdirSync("/bundles").join();
      } catch (error) {
        text = "|" + error.code;
      }
    }
    const update = { sessionUpdate: "agent_message_chunk", content: { type: "text", text } };
    say({ method: "session/update", params: { sessionId: params.sessionId, update } });
    say({ id, result: { stopReason: "end_turn" } });
  } else if (id !== undefined) {
    say({ id, error: { code: -32601, message: "no such method" } });
  }
});
"#;

async fn with_packages(outside: &Outside) -> Reeve {
    let options = Options::default().arg("--npm-registry").arg(&outside.url);
    Reeve::start(options.arg("--vouch").arg(&outside.url)).await
}

async fn add(client: &Client, id: &str, distribution: Value) {
    let new = json!({ "id": id, "name": id, "version": "1.0.0", "distribution": distribution });
    client.post("/v1/registry/agents", new).await.is(201);
}

/// The bundle, once it is resolved or has failed.
async fn resolved(client: &Client, id: &str) -> Value {
    let asked = client.post("/v1/bundles", json!({ "registryAgent": id })).await.is(202);
    let path = format!("/v1/bundles/{}", asked["id"].as_str().unwrap());
    let done = async || client.get(&path).await.is(200)["state"] != "resolving";
    tests::given::at_last("it is resolved", done).await;
    client.get(&path).await.is(200)
}

#[tokio::test]
async fn an_agent_of_the_catalog_runs_from_its_bundle_by_a_plan() {
    let outside = Outside::start().await;
    publish(&outside, "acp-parrot", "1.0.0", &[("agent.js", AGENT)]);
    let reeve = with_packages(&outside).await;
    let client = reeve.client();
    let npx =
        json!({ "package": "acp-parrot@1.0.0", "args": ["--acp"], "env": { "COLOUR": "red" } });
    add(&client, "parrot", json!({ "npx": npx })).await;
    let agent = client.agent_with(json!({ "registryAgent": "parrot" })).await;
    let session = client.session(&agent).await;
    // The run waits for the download.
    let run = client.prompt(&session, "hello").await;
    let ended = client.ended(&run).await;
    assert_eq!(ended["state"], "completed", "{ended:#} {}", reeve.log());
    let bundle = resolved(&client, "parrot").await;
    let content = bundle["digest"].as_str().unwrap();
    let place = format!("/bundles/{}/node_modules/acp-parrot", &content[7..]);
    assert_eq!(client.said(&session, &run).await, format!("--acp|red|{place}"));
    assert_eq!(client.get(&format!("/v1/bundles/{content}")).await.is(200), bundle);

    // The run says by which plan it was executed, and that plan says of what.
    let path = format!("/v1/plans/{}", ended["plan"].as_str().unwrap());
    let plan = client.get(&path).await.is(200);
    assert_eq!(plan["plan"]["bundle"]["content"], content);
    assert_eq!(plan["plan"]["process"]["env"], json!({ "COLOUR": "red" }));
    assert_eq!(client.ask(&session, "again").await, format!("--acp|red|{place}"));
    let runs = client.all(&format!("/v1/sessions/{session}/runs?limit=10")).await;
    assert!(runs.iter().all(|run| run["plan"] == ended["plan"]), "{runs:#?}");
    assert_eq!(outside.times("/acp-parrot/-/acp-parrot-1.0.0.tgz"), 1);
    reeve.realm().await.get(&path).await.is(404);

    // What is spoiled while nothing runs is made again before it is run.
    client.post(&format!("/v1/agents/{agent}/pause"), Value::Null).await.is(200);
    let tree = reeve.data().join("bundles/trees").join(&content[7..]);
    let program = tree.join("node_modules/acp-parrot/agent.js");
    std::fs::write(program, "process.exit(1)").unwrap();
    assert_eq!(client.ask(&session, "still").await, format!("--acp|red|{place}"));
    assert_eq!(outside.times("/acp-parrot/-/acp-parrot-1.0.0.tgz"), 2);
}

#[tokio::test]
async fn an_agent_of_the_catalog_is_put_where_another_runs_and_sees_its_own_bundle() {
    let outside = Outside::start().await;
    let reeve = with_packages(&outside).await;
    let client = reeve.client();
    // Two files that tell one package from the other.
    for (id, text) in [("acp-parrot", "p"), ("acp-crow", "c")] {
        publish(&outside, id, "1.0.0", &[("agent.js", AGENT), ("own.txt", text)]);
        add(&client, id, json!({ "npx": { "package": format!("{id}@1.0.0") } })).await;
    }
    let mut places = Vec::new();
    for id in ["acp-parrot", "acp-crow"] {
        let session = client.post("/v1/sessions", json!({ "agentId": id })).await.is(201);
        let at = session["id"].as_str().unwrap();
        let run = client.prompt(at, "hello").await;
        let ended = client.ended(&run).await;
        assert_eq!(ended["state"], "completed", "{ended:#} {}", reeve.log());
        let said = client.said(at, &run).await;
        assert!(said.ends_with(&format!("/node_modules/{id}")), "{said}");
        let plan = format!("/v1/plans/{}", ended["plan"].as_str().unwrap());
        let plan = client.get(&plan).await.is(200);
        assert_eq!(plan["plan"]["bundle"]["agent"], id, "it runs by a plan");
        places.push(session["containerId"].clone());
        // What others have is not listed where agents are users of their own.
        let listed = client.ask(at, "what else is there?").await;
        assert_eq!(listed == "|EACCES", rustix::process::geteuid().is_root(), "{listed}");
    }
    assert!(places[0].is_string() && places[0] == places[1], "{places:?}");
}

#[tokio::test]
async fn an_agent_that_is_described_where_it_is_needed_runs_from_a_bundle() {
    let outside = Outside::start().await;
    publish(&outside, "acp-parrot", "1.0.0", &[("agent.js", AGENT)]);
    outside.says("/parrot", Says::Bytes(AGENT.as_bytes().to_vec()));
    let reeve = with_packages(&outside).await;
    let client = reeve.client();
    let open = async |distribution: &Value| {
        let env = json!({ "COLOUR": "red" });
        let manual = json!({ "id": "parrot", "default_env": env, "distribution": distribution });
        client.post("/v1/sessions", json!({ "manual_agent": manual })).await.is(201)
    };
    let of = |session: &Value| session["id"].as_str().unwrap().to_owned();
    let npx = json!({ "package": "acp-parrot", "version": "1.0.0", "args": ["--acp"] });
    let package = json!({ "type": "npx", "npx": npx });
    let session = open(&package).await;
    let said = client.ask(&of(&session), "hello").await;
    assert!(said.starts_with("--acp|red|/bundles/"), "{said}");
    assert_eq!(open(&package).await["agentId"], session["agentId"], "described again, the same");
    let listed = client.all("/v1/registry/agents").await;
    let agent = client.get(&format!("/v1/agents/{}", session["agentId"].as_str().unwrap())).await;
    let reference = format!("{}@manual", listed[0]["id"].as_str().unwrap());
    assert_eq!((listed.len(), &listed[0]["origin"]), (1, &json!("manual")));
    assert_eq!(agent.text("/registryAgent"), reference);

    let digest = |bytes: &[u8]| sha256(bytes).hex();
    let mut place = json!({ "url": outside.at("/parrot"), "executable": "./parrot",
        "args": ["--raw"], "sha256": digest(AGENT.as_bytes()) });
    let program = json!({ "type": "binary", "binary": place });
    let said = client.ask(&of(&open(&program).await), "hello").await;
    assert!(said.starts_with("--raw|red|/bundles/"), "{said}");
    place["sha256"] = digest(b"another").into();
    let wrong = of(&open(&json!({ "type": "binary", "binary": place })).await);
    let run = client.prompt(&wrong, "hello").await;
    assert_eq!(client.ended(&run).await["code"], "bundle_digest_mismatch");
}

#[tokio::test]
async fn an_agent_without_a_bundle_fails_its_run_and_says_why() {
    let outside = Outside::start().await;
    let reeve = with_packages(&outside).await;
    let client = reeve.client();
    outside.says("/agent", Says::Bytes(b"one".to_vec()));
    let place = |n: usize| {
        json!({ "archive": outside.at("/agent"), "cmd": "./agent",
        "sha256": sha256(&[u8::try_from(n).unwrap()]).hex() })
    };
    let all = |place: Value| json!({ "binary": { "linux/amd64": place, "linux/arm64": place } });
    add(&client, "wrong", all(place(1))).await;
    add(&client, "inside", all(json!({ "archive": "https://169.254.169.254/x", "cmd": "x" })))
        .await;
    add(&client, "absent", json!({ "npx": { "package": "absent@1.0.0" } })).await;
    for (id, code) in
        [("wrong", "digest_mismatch"), ("inside", "forbidden_address"), ("absent", "not_found")]
    {
        let agent = client.agent_with(json!({ "registryAgent": id })).await;
        let run = client.prompt(&client.session(&agent).await, "hello").await;
        let ended = client.ended(&run).await;
        let expected = (json!("failed"), json!(format!("bundle_{code}")));
        assert_eq!((ended["state"].clone(), ended["code"].clone()), expected, "{ended:#}");
        let bundle = resolved(&client, id).await;
        assert_eq!((&bundle["state"], &bundle["fault"]["code"]), (&json!("failed"), &json!(code)));
    }
    let unknown = json!({ "name": "x", "driver": "acp", "registryAgent": "nobody" });
    assert_eq!(client.post("/v1/agents", unknown).await.is(404)["code"], "not_found");
    add(&client, "leaves", json!({ "npx": { "package": "leaves@1.0.0" } })).await;
    let left = client.agent_with(json!({ "registryAgent": "leaves" })).await;
    client.delete("/v1/registry/agents/leaves").await.is(204);
    let run = client.prompt(&client.session(&left).await, "hello").await;
    assert_eq!(client.ended(&run).await["code"], "bundle_not_found");
    // What was wrong and is right is tried again by the next who asks.
    outside.says("/agent", Says::Bytes(vec![1]));
    assert_eq!(resolved(&client, "wrong").await["state"], "ready");
    // What is not pinned is refused, unless the realm's policy lets it; then it is pinned.
    publish(&outside, "loose", "2.3.4", &[("agent.js", AGENT)]);
    add(&client, "loose", json!({ "npx": { "package": "loose@latest" } })).await;
    let refused = client.post("/v1/bundles", json!({ "registryAgent": "loose" })).await;
    assert_eq!(refused.is(403)["code"], "policy_refused");
    let loose = json!({ "name": "x", "driver": "acp", "registryAgent": "loose" });
    assert_eq!(client.post("/v1/agents", loose).await.is(403)["code"], "policy_refused");
    let realm = format!("/v1/realms/{}", reeve.realm_id);
    client.patch(&realm, json!({ "policy": { "unpinnedPackages": true } })).await.is(200);
    let bundle = resolved(&client, "loose").await;
    assert_eq!(
        (&bundle["state"], &bundle["packageVersion"]),
        (&json!("ready"), &json!("2.3.4")),
        "{bundle:#}"
    );
}

#[tokio::test]
async fn a_death_in_the_middle_of_a_download_leaves_no_half_bundle() {
    let outside = Outside::start().await;
    outside.says("/agent", Says::Nothing);
    let options = || Options::default().arg("--vouch").arg(&outside.url);
    let mut reeve = Reeve::start(options()).await;
    let client = reeve.client();
    let place = json!({ "archive": outside.at("/agent"), "cmd": "agent" });
    add(&client, "slow", json!({ "binary": { "linux-x86_64": place, "linux-aarch64": place } }))
        .await;
    let asked = client.post("/v1/bundles", json!({ "registryAgent": "slow" })).await.is(202);
    outside.was_asked("/agent", 1).await;
    reeve.kill9();
    outside.says("/agent", Says::Bytes(b"whole".to_vec()));
    reeve.restart(options()).await;
    let client = reeve.client();
    let path = format!("/v1/bundles/{}", asked["id"].as_str().unwrap());
    let ready = async || client.get(&path).await.is(200)["state"] == "ready";
    tests::given::at_last("it is made by the next", ready).await;
    let digest = client.get(&path).await.text("/digest");
    assert_eq!(kept(&reeve.data().join("bundles")), [&digest[7..]]);
}

#[tokio::test]
async fn packages_of_the_real_indexes_are_installed() {
    let dir = tempfile::tempdir().unwrap();
    let fetch = HttpFetch::new(Reach::default()).unwrap();
    let config = Config {
        dir: dir.path().to_owned(),
        npm: "https://registry.npmjs.org".to_owned(),
        pypi: "https://pypi.org".to_owned(),
        environment: environment(),
        limits: Limits::default(),
    };
    let store = BundleStore::open(config, Arc::new(fetch)).unwrap();
    let semver = |integrity: &str| Pinned::Npx {
        name: "semver".to_owned(),
        version: "7.7.2".to_owned(),
        integrity: integrity.to_owned(),
        cmd: None,
    };
    let integrity = "sha512-RF0Fw+rO5AMf9MAyaRXI4AV0Ulj5lMHqVxxdSgiVbixSCXoEmmX/jk0CuJw4+3SqroYO9VoUh+HcuJivvtJemA==";
    let made = store.make(&semver(integrity)).await.unwrap();
    let program = made.entrypoint[0]
        .replace("{bundle}", BundleStore::tree(dir.path(), made.digest).to_str().unwrap());
    let out = std::process::Command::new(program).arg("1.2.3").output().unwrap();
    assert_eq!(out.stdout, b"1.2.3\n");
    assert_eq!(code(store.make(&semver("sha512-AAAA")).await), "digest_mismatch");

    let cowsay = |sha256: &str| Pinned::Uvx {
        name: "cowsay".to_owned(),
        version: "6.1".to_owned(),
        sha256: vec![Digest::from_hex(sha256).unwrap()],
        cmd: None,
    };
    let sha256 = "274b1e6fc1b966d53976333eb90ac94cb07a450a700b455af9fbdf882244b30a";
    let made = store.make(&cowsay(sha256)).await.unwrap();
    let tree = BundleStore::tree(dir.path(), made.digest);
    let placed = |text: &String| text.replace("{bundle}", tree.to_str().unwrap());
    let program: Vec<String> = made.entrypoint.iter().map(placed).collect();
    let env = made.env.iter().map(|(name, value)| (name, placed(value)));
    let mut start = std::process::Command::new(&program[0]);
    let out = start.args(&program[1..]).args(["-t", "moo"]).envs(env).output().unwrap();
    assert!(String::from_utf8_lossy(&out.stdout).contains("| moo |"), "{out:?}");
    assert_eq!(code(store.make(&cowsay(&"0".repeat(64))).await), "digest_mismatch");
}
