//! The registry: synced, mirrored, added to; and what is fetched at all.

use std::time::Duration;

use app::ports::{Fetch, FetchError, FetchRequest, Fetched};
use host::fetch::{HttpFetch, Reach};
use serde_json::{Value, json};
use tests::http::Client;
use tests::reeve::{Options, Reeve};

use crate::outside::{Outside, Says};

const PATH: &str = "/registry.json";

fn entry(id: &str, version: &str) -> Value {
    json!({
        "id": id, "name": id.to_uppercase(), "version": version, "description": "An agent.",
        "authors": ["Somebody"], "license": "Apache-2.0", "unknown": { "kept": true },
        "distribution": { "npx": { "package": format!("{id}@{version}"), "args": ["--acp"] } },
    })
}

fn document(agents: &[Value]) -> Value {
    json!({ "version": "1.0.0", "agents": agents, "extensions": [] })
}

async fn reeve(outside: &Outside) -> Reeve {
    let options = Options::default().arg("--registry").arg(outside.at(PATH));
    Reeve::start(options.arg("--registry-interval").arg("0")).await
}

/// The state of the registry once it has been asked `times` and what came of it is there.
async fn synced(client: &Client, outside: &Outside, times: usize) -> Value {
    outside.was_asked(PATH, times).await;
    let done = async || client.get("/v1/registry").await.is(200)["nextAt"].is_null();
    tests::given::at_last("the sync ends", done).await;
    client.get("/v1/registry").await.is(200)
}

async fn sync(client: &Client, outside: &Outside) -> Value {
    let before = outside.times(PATH);
    client.post("/v1/registry/sync", Value::Null).await.is(202);
    synced(client, outside, before + 1).await
}

#[tokio::test]
async fn the_registry_is_synced_entry_by_entry_and_nothing_new_costs_nothing() {
    let outside = Outside::start().await;
    let agents: Vec<_> = (0..30).map(|n| entry(&format!("agent-{n:02}"), "1.0.0")).collect();
    outside.json(PATH, &document(&agents));
    let reeve = reeve(&outside).await;
    let client = reeve.client();
    let state = synced(&client, &outside, 1).await;
    assert_eq!(
        (&state["agents"], &state["faults"], &state["error"]),
        (&json!(30), &json!([]), &Value::Null)
    );
    assert_eq!(client.all("/v1/registry/agents?limit=7").await.len(), 30);

    // Nothing new: the ETag says so, and nothing changes.
    let again = sync(&client, &outside).await;
    assert_eq!(outside.asked().last().unwrap(), "304 /registry.json");
    assert_eq!((&again["changedAt"], &again["etag"]), (&state["changedAt"], &state["etag"]));

    // A new version, one gone, one that does not read, one new.
    let mut changed = agents.clone();
    changed[0] = entry("agent-00", "1.1.0");
    changed[1]["distribution"] = json!({ "npx": { "package": "../../etc" } });
    changed.remove(2);
    changed.push(entry("agent-30", "1.0.0"));
    outside.json(PATH, &document(&changed));
    let state = sync(&client, &outside).await;
    assert_eq!(
        (state["faults"][0]["id"].as_str(), state["faults"][0]["index"].as_u64()),
        (Some("agent-01"), Some(1))
    );
    let of = async |id: &str| client.get(&format!("/v1/registry/agents/{id}")).await.is(200);
    let first = of("agent-00").await;
    assert_eq!(
        (&first["latest"], &first["versions"]),
        (&json!("1.1.0"), &json!(["1.1.0", "1.0.0"]))
    );
    assert_eq!(of("agent-00?version=1.0.0").await["version"], "1.0.0");
    client.get("/v1/registry/agents/agent-00?version=9.9.9").await.is(404);
    let faulty = of("agent-01").await;
    assert_eq!((&faulty["version"], &faulty["removedAt"]), (&json!("1.0.0"), &Value::Null));
    assert!(of("agent-02").await["removedAt"].is_string());
    assert_eq!(of("agent-30").await["about"]["unknown"], json!({ "kept": true }));

    // What is no registry changes nothing but what is said of it.
    for says in [
        Says::Bytes(b"<html>".to_vec()),
        Says::Bytes(b"{\"agents\":[]}".to_vec()),
        Says::Status(404),
    ] {
        outside.says(PATH, says);
        let state = sync(&client, &outside).await;
        assert!(state["error"].is_string(), "{state:#}");
        assert_eq!(client.all("/v1/registry/agents?limit=100").await.len(), 31);
    }
}

#[tokio::test]
async fn another_installation_syncs_from_this_one() {
    let outside = Outside::start().await;
    let agents: Vec<_> = (0..5).map(|n| entry(&format!("agent-{n}"), "1.0.0")).collect();
    outside.json(PATH, &document(&agents));
    let first = reeve(&outside).await;
    let client = first.client();
    synced(&client, &outside, 1).await;
    let mirror = format!("{}/v1/registry/registry.json", first.url);
    let got = client.get("/v1/registry/registry.json").await;
    let etag = got.headers["etag"].to_str().unwrap().to_owned();
    assert_eq!(got.is(200), document(&agents), "the document is the official one");
    let same = client.request(reqwest::Method::GET, "/v1/registry/registry.json");
    assert_eq!(client.send(same.header("if-none-match", &etag)).await.status, 304);

    let options = Options::default().arg("--registry").arg(&mirror);
    let second = Reeve::start(options.env("REEVE_REGISTRY_KEY", &first.key)).await;
    let client = second.client();
    let there = async || client.get("/v1/registry").await.is(200)["agents"] == 5;
    tests::given::at_last("it syncs", there).await;
    assert!(client.get("/v1/registry").await.is(200)["nextAt"].is_string(), "and goes on to");
    let shown = client.get("/v1/registry/registry.json").await;
    assert_eq!(shown.headers["etag"], etag, "what was mirrored is the same to the byte");

    // A file of the operator's does, too.
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), document(&agents[..2]).to_string()).unwrap();
    let url = format!("file://{}", file.path().display());
    let third = Reeve::start(Options::default().arg("--registry").arg(url)).await;
    let client = third.client();
    let there = async || client.get("/v1/registry").await.is(200)["agents"] == 2;
    tests::given::at_last("it reads the file", there).await;
}

#[tokio::test]
async fn a_realm_adds_agents_as_its_policy_lets_it() {
    let reeve = Reeve::start(Options::default()).await;
    let client = reeve.realm().await;
    let new = json!({ "id": "own", "name": "Ours", "version": "1.0.0",
        "distribution": { "npx": { "package": "own@1.0.0" } } });
    let made = client.post("/v1/registry/agents", new.clone()).await.is(201);
    assert_eq!((&made["origin"], &made["latest"]), (&json!("manual"), &json!("1.0.0")));
    let mut next = new.clone();
    next["version"] = json!("1.1.0");
    let made = client.post("/v1/registry/agents", next).await.is(201);
    assert_eq!(made["versions"], json!(["1.1.0", "1.0.0"]));
    assert_eq!(client.all("/v1/registry/agents?limit=1").await.len(), 1);
    assert_eq!(reeve.client().all("/v1/registry/agents?limit=1").await.len(), 0, "nobody else's");
    for bad in [
        json!({}),
        json!({ "npx": { "package": "own@^1" } }),
        json!({ "binary": { "linux-x86_64": { "archive": "file:///etc/passwd", "cmd": "x" } } }),
        json!({ "binary": { "linux-x86_64": { "archive": "https://x/y.tgz", "cmd": "../../x" } } }),
    ] {
        let mut new = new.clone();
        new["distribution"] = bad;
        let refused = client.post("/v1/registry/agents", new).await;
        assert_eq!(refused.is(422)["code"], "invalid_value");
    }
    client.delete("/v1/registry/agents/own").await.is(204);
    client.get("/v1/registry/agents/own").await.is(404);

    // The policy is an operator's word, not the realm's.
    let realm = client.get("/v1/me").await.text("/realm/id");
    let path = format!("/v1/realms/{realm}");
    let policy = json!({ "policy": { "manualAgents": false } });
    assert_eq!(client.patch(&path, policy.clone()).await.is(403)["code"], "scope_missing");
    reeve.client().patch(&path, policy).await.is(200);
    let refused = client.post("/v1/registry/agents", new).await;
    assert_eq!(refused.is(403)["code"], "policy_refused");
}

fn request(url: String) -> FetchRequest {
    FetchRequest { url, etag: None, accept: "*/*", limit: 1000, timeout: Duration::from_secs(30) }
}

async fn fetch(reach: Reach, request: &FetchRequest) -> Result<(Fetched, Vec<u8>), FetchError> {
    let mut body = Vec::new();
    let fetched = HttpFetch::new(reach).unwrap().fetch(request, &mut body).await?;
    Ok((fetched, body))
}

#[tokio::test]
async fn what_is_fetched_is_whole_bounded_and_named() {
    let outside = Outside::start().await;
    let reach = || Reach::default().vouch(&outside.url);
    outside.says("/good", Says::Bytes(b"good".to_vec()));
    outside.says("/to-good", Says::Redirect("/good".to_owned()));
    let (found, body) = fetch(reach(), &request(outside.at("/to-good"))).await.unwrap();
    let Fetched::Found { etag: Some(etag), bytes: 4 } = found else { panic!("{found:?}") };
    assert_eq!(body, b"good");
    let known = FetchRequest { etag: Some(etag), ..request(outside.at("/good")) };
    assert_eq!(fetch(reach(), &known).await.unwrap(), (Fetched::Unchanged, Vec::new()));

    outside.says("/half", Says::Half(vec![b'x'; 100]));
    outside.says("/large", Says::Bytes(vec![b'x'; 1001]));
    outside.says("/endless", Says::Endless);
    outside.says("/nothing", Says::Nothing);
    outside.says("/round", Says::Redirect("/round".to_owned()));
    let short =
        FetchRequest { timeout: Duration::from_millis(50), ..request(outside.at("/nothing")) };
    assert!(matches!(fetch(reach(), &short).await, Err(FetchError::TimedOut(_))));
    let of = async |path: &str| fetch(reach(), &request(outside.at(path))).await.unwrap_err();
    assert!(matches!(of("/half").await, FetchError::Unavailable(_)));
    assert!(matches!(of("/large").await, FetchError::TooLarge(1000)));
    assert!(matches!(of("/endless").await, FetchError::TooLarge(1000)));
    assert!(matches!(of("/missing").await, FetchError::NotFound(404)));
    assert!(matches!(of("/round").await, FetchError::Forbidden(_)));
    assert_eq!(outside.times("/round"), 6);
}

#[tokio::test]
async fn nobody_is_led_inside() {
    let outside = Outside::start().await;
    outside.says("/good", Says::Bytes(b"secret".to_vec()));
    let port = outside.url.rsplit(':').next().unwrap().to_owned();
    // Whoever is not vouched for is not asked at all.
    for url in [
        outside.at("/good"),
        format!("https://127.0.0.1:{port}/good"),
        format!("https://localhost:{port}/good"),
        format!("https://2130706433:{port}/good"),
        format!("https://0x7f.1:{port}/good"),
        format!("https://[::1]:{port}/good"),
        format!("https://[::ffff:127.0.0.1]:{port}/good"),
        "https://169.254.169.254/latest/meta-data".to_owned(),
        "https://10.0.0.1/".to_owned(),
        "file:///etc/passwd".to_owned(),
        "ftp://127.0.0.1/".to_owned(),
        "https://user:secret@example.com/".to_owned(),
        "nonsense".to_owned(),
    ] {
        let error = fetch(Reach::default(), &request(url.clone())).await.unwrap_err();
        assert!(matches!(error, FetchError::Forbidden(_)), "{url}: {error}");
    }
    // Neither does a redirect of somebody who is lead there.
    let reach = || Reach::default().vouch(&outside.url);
    for to in [
        "http://169.254.169.254/latest/meta-data",
        "https://169.254.169.254/latest/meta-data",
        "https://[fd00:ec2::254]/",
        "file:///etc/passwd",
        "http://127.0.0.1:1/",
        "//127.0.0.2/",
    ] {
        outside.says("/away", Says::Redirect(to.to_owned()));
        let error = fetch(reach(), &request(outside.at("/away"))).await.unwrap_err();
        assert!(matches!(error, FetchError::Forbidden(_)), "{to}: {error}");
    }
    assert_eq!(outside.times("/good"), 0);
}
