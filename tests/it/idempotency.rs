//! Saying it twice is doing it once: every route that changes something.

use std::collections::BTreeSet;

use futures::future::join_all;
use gate::Route;
use serde_json::json;
use tests::http::{Client, Reply};
use tests::reeve::{Options, Reeve};
use tests::sample::{self, Ids};
use wire::Scope;

/// Somebody who may call the route, and something of everything for it to be about.
async fn prepared(reeve: &Reeve, route: &Route) -> (Client, Ids) {
    let client = reeve.realm().await;
    let ids = sample::everything_for(&client, route).await;
    let operator = route.access == api::Access::Scope(Scope::Operator);
    (if operator { reeve.client() } else { client }, ids)
}

async fn audited(client: &Client) -> usize {
    client.all("/v1/audit?limit=100").await.len()
}

#[tokio::test]
async fn the_first_answer_comes_again_and_nothing_happens_again() {
    let reeve = Reeve::start(Options::default()).await;
    let mut routes = 0;
    for route in sample::mutating() {
        routes += 1;
        let (client, ids) = prepared(&reeve, &route).await;
        let once = format!("once-{}", route.id);
        let first = client.call_with(&route, &ids, Some(&once)).await;
        assert_eq!(first.status, route.status(), "{}: {:#}", route.id, first.body);
        assert!(!first.headers.contains_key("idempotent-replayed"), "{}", route.id);
        let done = audited(&client).await;
        for _ in 0..2 {
            let again = client.call_with(&route, &ids, Some(&once)).await;
            assert_eq!((again.status, &again.raw), (first.status, &first.raw), "{}", route.id);
            assert_eq!(again.headers["idempotent-replayed"], "true", "{}", route.id);
            assert_eq!(again.headers.get("content-type"), first.headers.get("content-type"));
        }
        assert_eq!(audited(&client).await, done, "{}", route.id);

        let other = client.request(sample::method(route.verb), &sample::path(&route, &ids));
        let other = other.header("idempotency-key", &once).json(&json!({ "name": "other" }));
        let other = client.send(other).await;
        assert_eq!(other.is(422)["code"], "idempotency_key_reused", "{}", route.id);

        // Another key's word for it is another word.
        let second = client.post("/v1/keys", json!({ "name": "second" })).await.text("/apiKey");
        let second = client.with_key(Some(&second)).call_with(&route, &ids, Some(&once)).await;
        assert!(!second.headers.contains_key("idempotent-replayed"), "{}", route.id);
    }
    assert!(routes > 15, "{routes}");
}

#[tokio::test]
async fn twenty_at_once_are_one() {
    let reeve = Reeve::start(Options::default()).await;
    for route in sample::mutating() {
        let (client, ids) = prepared(&reeve, &route).await;
        let (before, once) = (audited(&client).await, format!("one-{}", route.id));
        let calls = join_all((0..20).map(|_| client.call_with(&route, &ids, Some(&once)))).await;
        let answers = join_all(calls.into_iter().map(async |reply| {
            if reply.body["code"] == "idempotency_in_progress" {
                client.call_with(&route, &ids, Some(&once)).await
            } else {
                reply
            }
        }));
        let answers: Vec<Reply> = answers.await;
        for answer in &answers {
            assert_eq!(answer.status, route.status(), "{}: {:#}", route.id, answer.body);
        }
        let bodies: BTreeSet<_> = answers.iter().map(|answer| &answer.raw).collect();
        assert_eq!(bodies.len(), 1, "{}: {answers:#?}", route.id);
        assert_eq!(audited(&client).await, before + 1, "{}", route.id);
    }
}

#[tokio::test]
async fn a_malformed_key_is_refused_and_a_refusal_is_not_kept() {
    let reeve = Reeve::start(Options::default()).await;
    let client = reeve.realm_with(json!({ "maxAgents": 2 })).await;
    let ids = sample::everything(&client).await;
    let long = "k".repeat(129);
    for route in sample::mutating() {
        let client = if route.access == api::Access::Scope(Scope::Operator) {
            reeve.client()
        } else {
            client.clone()
        };
        for malformed in ["", "a b", &long, "é"] {
            let reply = client.call_with(&route, &ids, Some(malformed)).await;
            assert_eq!(reply.is(400)["code"], "invalid_idempotency_key", "{}", route.id);
        }
    }
    // As many as were made to have one of everything.
    let full = json!({ "name": "three", "driver": "acp" });
    let longest = &long[1..];
    let refused = client.post_once("/v1/agents", longest, full.clone()).await.unwrap();
    assert_eq!(refused.is(429)["code"], "quota_reached");
    client.delete(&format!("/v1/agents/{}", ids["agentId"])).await.is(204);
    tests::given::at_last("it is made", async || {
        client.post_once("/v1/agents", longest, full.clone()).await.unwrap().status == 201
    })
    .await;
}

#[tokio::test]
async fn a_secret_that_comes_again_was_not_kept_in_clear() {
    let mut reeve = Reeve::start(Options::default()).await;
    let client = reeve.client();
    let secrets = async || {
        let mut secrets = Vec::new();
        for path in ["/v1/keys", "/v1/realms"] {
            let made = client.post_once(path, &format!("{path}-1"), json!({ "name": "s" })).await;
            secrets.push(made.unwrap().text("/apiKey"));
        }
        secrets
    };
    let first = secrets().await;
    assert_eq!(secrets().await, first);
    for key in &first {
        client.with_key(Some(key)).get("/v1/me").await.is(200);
    }
    for state in ["running", "stopped"] {
        let mut searched = 0;
        for file in std::fs::read_dir(reeve.data()).unwrap().flatten() {
            let name = file.file_name().to_string_lossy().into_owned();
            let Ok(bytes) = std::fs::read(file.path()) else { continue };
            searched += usize::from(name.starts_with("reeve.db"));
            for key in &first {
                let secret = key.splitn(3, '_').nth(2).unwrap();
                let found = bytes.windows(secret.len()).any(|part| part == secret.as_bytes());
                assert!(!found, "{name} of a {state} reeve holds a secret");
            }
        }
        assert!(searched > 0);
        if state == "running" {
            reeve.stop().await;
        }
    }
    let log = reeve.log();
    assert!(first.iter().all(|key| !log.contains(key.as_str())));
}

#[tokio::test]
async fn a_prompt_is_one_run_however_often_its_run_id_comes() {
    let reeve = Reeve::start(Options::default()).await;
    let client = reeve.client();
    let session = client.session(&client.agent().await).await;
    let path = format!("/v1/sessions/{session}/prompt");
    let said = json!({ "prompt": "!say once", "run_id": "run_0123456789abcdef" });
    let all = join_all((0..8).map(|_| client.post(&path, said.clone()))).await;
    assert!(all.iter().all(|reply| reply.status == 202), "{all:#?}");
    let ids: BTreeSet<String> = all.iter().map(|reply| reply.body["id"].to_string()).collect();
    assert_eq!(ids.len(), 1, "{all:#?}");
    // Neither under another `Idempotency-Key`.
    let again = client.request(reqwest::Method::POST, &path).header("idempotency-key", "new");
    let again = client.send(again.json(&said)).await;
    assert!(ids.contains(&again.is(202)["id"].to_string()));
    assert_eq!(client.all(&format!("/v1/sessions/{session}/runs?limit=9")).await.len(), 1);
    let other = json!({ "prompt": "!say other", "runId": "run_0123456789abcdef" });
    assert_eq!(client.post(&path, other.clone()).await.is(422)["code"], "idempotency_key_reused");
    // Of another session it is another's.
    let session = client.session(&client.agent().await).await;
    client.post(&format!("/v1/sessions/{session}/prompt"), other).await.is(202);
}
