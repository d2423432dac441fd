//! Paths that the gateway has no route for.

use reqwest::Method;
use serde_json::{Value, json};
use tests::platform::Platform;

#[tokio::test]
async fn what_is_no_route_is_a_problem_of_ours() {
    let platform = Platform::deployed().await;
    let client = platform.realm(json!({})).await;
    for path in [
        "/v1/nowhere",
        "/v1/agents/x/y/z",
        "/v1/sessions/ses_1:fly",
        "/api/nowhere",
        "/nowhere",
        "/nowhere/agents",
        // Without the version it is none, either.
        "/agents",
    ] {
        let lost = client.get(path).await;
        assert_eq!(lost.headers["content-type"], "application/problem+json", "{path}");
        let id = lost.headers["x-request-id"].to_str().unwrap().to_owned();
        let problem = lost.is(404);
        assert_eq!((&problem["code"], &problem["instance"]), (&json!("no_such_route"), &json!(id)));
    }
    let wrong = client.send(client.request(Method::PUT, "/v1/agents")).await;
    let allowed = wrong.headers["allow"].to_str().unwrap().to_owned();
    assert!(allowed.contains("GET") && allowed.contains("POST"), "{allowed}");
    assert_eq!(wrong.is(405)["code"], "method_not_allowed");
}

#[tokio::test]
async fn every_spelling_of_a_route_is_the_route() {
    let platform = Platform::deployed().await;
    let client = platform.realm(json!({})).await;
    let agent = client.agent().await;
    let session = client.session(&agent).await;
    let paused = client.post(&format!("/v1/agents/{agent}:pause"), Value::Null).await.is(200);
    assert_eq!(paused["state"], "paused");
    let prompt = json!({ "prompt": "hello" });
    let path = format!("/v1/sessions/{session}:prompt");
    let run = client.post_once(&path, "once", prompt.clone()).await.unwrap().is(202);
    // All of it was passed on: the key, the body, and what makes it the same request.
    for same in [
        path,
        format!("/api/v1/sessions/{session}:prompt"),
        format!("/api/sessions/{session}/prompt"),
    ] {
        let again = client.post_once(&same, "once", prompt.clone()).await.unwrap().is(202);
        assert_eq!(again, run, "{same}");
    }
    let run = run["id"].as_str().unwrap();
    assert_eq!(client.ended(run).await["state"], "completed");
    let path = format!("/api/v1/sessions/{session}/events?limit=1");
    assert_eq!(client.get(&path).await.is(200)["items"][0]["seq"], 1);
    // It may no more than who asks.
    let nobody = client.with_key(None);
    let refused = nobody.post(&format!("/v1/agents/{agent}:resume"), Value::Null).await;
    assert_eq!(refused.is(401)["code"], "unauthenticated");
    assert_eq!(
        client.get("/api/v1/agents?limit=9").await.is(200)["items"][0]["id"],
        agent.as_str()
    );
}
