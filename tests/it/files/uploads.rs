//! Uploads: bytes that come before the request they are for.

use std::sync::Arc;

use domain::upload::LIFE;
use reqwest::{Method, StatusCode};
use serde_json::json;
use tests::clock::Hand;
use tests::http::{Client, Reply, connector};
use tests::reeve::{Options, Reeve};

use super::{get, paths, raw};
use crate::in_process::InProcess;

async fn take(client: &Client, agent: &str, path: &str, upload: &str) -> Reply {
    let path = format!("{}&upload={upload}", raw(agent, path));
    client.send(client.request(Method::PUT, &path)).await
}

async fn put(url: &str, content: &[u8]) -> StatusCode {
    connector().put(url).body(content.to_vec()).send().await.unwrap().status()
}

/// How many files there are of uploads: what was announced, and what was put.
fn kept(reeve: &Reeve) -> usize {
    std::fs::read_dir(reeve.data().join("uploads")).unwrap().count()
}

#[tokio::test]
async fn an_upload_is_taken_once_and_by_its_realm_only() {
    let reeve = Reeve::start(Options::default()).await;
    let (client, stranger) = (reeve.realm().await, reeve.realm().await);
    let (agent, theirs) = (client.agent().await, stranger.agent().await);
    let upload = client.upload(b"hello").await;
    assert_eq!(kept(&reeve), 2);
    assert_eq!(take(&stranger, &theirs, "a", &upload).await.is(404)["code"], "no_such_upload");
    take(&client, &agent, "a", &upload).await.is(204);
    assert_eq!(get(&client, &agent, "a", &[]).await.raw, b"hello");
    assert_eq!(kept(&reeve), 1, "what was put is not kept twice");
    assert_eq!(take(&client, &agent, "b", &upload).await.is(404)["code"], "no_such_upload");
    assert_eq!(paths(&client, &agent).await, ["a"]);
    assert_eq!(paths(&stranger, &theirs).await, [""; 0]);
    // Of two at once, one.
    let upload = client.upload(b"once").await;
    let (one, other) =
        tokio::join!(take(&client, &agent, "c", &upload), take(&client, &agent, "c", &upload));
    let mut answers = [one.status, other.status];
    answers.sort_unstable();
    assert_eq!(answers, [204, 404]);
    // The same request again is the same request.
    let upload = client.upload(b"again").await;
    let path = format!("{}&upload={upload}", raw(&agent, "d"));
    for _ in 0..2 {
        let request = client.request(Method::PUT, &path).header("idempotency-key", "one");
        client.send(request).await.is(204);
    }
}

#[tokio::test]
async fn what_cannot_be_taken_is_refused_and_stays_for_another_try() {
    let reeve = Reeve::start(Options::default()).await;
    let client = reeve.realm().await;
    let agent = client.agent().await;
    client.put_file(&agent, "dir/file", b"there").await;
    let upload = client.upload(b"hello").await;
    let both = client.request(Method::PUT, &format!("{}&upload={upload}", raw(&agent, "a")));
    let both = client.send(both.body("hello")).await;
    assert_eq!(both.body["errors"][0]["field"], "upload", "{:#}", both.body);
    assert_eq!(both.is(400)["code"], "invalid_parameter");
    let malformed = take(&client, &agent, "a", "upl_0").await;
    assert_eq!(malformed.is(400)["code"], "invalid_parameter");
    let unknown = take(&client, &agent, "a", &upload.replace("upl_0", "upl_1")).await;
    assert_eq!(unknown.is(404)["code"], "no_such_upload");
    assert_eq!(take(&client, &agent, "dir", &upload).await.is(409)["code"], "in_the_way");
    let import = format!("/v1/agents/{agent}/files/import?upload={upload}");
    let import = client.post(&import, json!(null)).await;
    assert_eq!(import.is(400)["code"], "invalid_archive");
    assert_eq!(paths(&client, &agent).await, ["dir", "dir/file"]);
    take(&client, &agent, "a", &upload).await.is(204);
    assert_eq!(get(&client, &agent, "a", &[]).await.raw, b"hello");
}

#[tokio::test]
async fn exactly_what_was_announced_is_put_and_nothing_else() {
    let reeve = Reeve::start(Options::default()).await;
    let client = reeve.realm().await;
    let agent = client.agent().await;
    let large = client.post("/v1/uploads", json!({ "size": 500 * 1024 * 1024 + 1 })).await;
    assert_eq!(large.is(413)["code"], "transfer_too_large");
    assert_eq!(kept(&reeve), 0);
    let announced = client.post("/v1/uploads", json!({ "size": 5 })).await;
    assert_eq!(announced.text("/method"), "PUT");
    let (upload, url) = (announced.text("/id"), announced.text("/url"));
    let early = take(&client, &agent, "a", &upload).await;
    assert_eq!(early.is(409)["code"], "upload_incomplete");
    for other in [b"".as_slice(), b"hell", b"hello!"] {
        assert_eq!(put(&url, other).await, 400, "{other:?}");
    }
    assert_eq!(take(&client, &agent, "a", &upload).await.is(409)["code"], "upload_incomplete");
    assert_eq!(kept(&reeve), 1, "nothing is left of what was refused");
    let (_, ticket) = url.rsplit_once('/').unwrap();
    for nobody in ["0".repeat(64), ticket.to_uppercase(), "..%2Freeve.db".to_owned()] {
        assert_eq!(put(&url.replace(ticket, &nobody), b"hello").await, 404, "{nobody}");
    }
    // Until it is taken, the last one counts.
    assert_eq!(put(&url, b"first").await, 200);
    assert_eq!(put(&url, b"hello").await, 200);
    take(&client, &agent, "a", &upload).await.is(204);
    assert_eq!(get(&client, &agent, "a", &[]).await.raw, b"hello");
    // Of nothing, too.
    let nothing = client.upload(b"").await;
    take(&client, &agent, "empty", &nothing).await.is(204);
    assert_eq!(get(&client, &agent, "empty", &[]).await.raw, b"");
}

#[tokio::test]
async fn an_upload_expires() {
    let clock = Arc::new(Hand::default());
    let reeve = InProcess::start_at(clock.clone()).await;
    let ids = reeve.everything().await;
    let announce = json!({ "size": 0 });
    let made = reeve.send("post", "/v1/uploads", Some(&announce)).await;
    assert_eq!(made.status, 201, "{:#}", made.body);
    let id = made.body["id"].as_str().unwrap();
    let path = format!("{}&upload={id}", raw(&ids["agentId"], "late"));
    assert_eq!(reeve.send("put", &path, None).await.body["code"], "upload_incomplete");
    clock.advance(LIFE);
    assert_eq!(reeve.send("put", &path, None).await.body["code"], "no_such_upload");
}
