//! What no route of the HTTP API takes, with its samples.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::HeaderMap;
use serde_json::{Value, json};
use tests::sample::Ids;
use tokio::net::TcpListener;

use super::runtime_api::Function;
use super::world::World;

/// What the gateway was asked: method, address, headers and body.
type Asked = Arc<Mutex<Vec<(String, String, HeaderMap, String)>>>;

/// The gateway, which answers everything in one way.
async fn gateway() -> (String, Asked) {
    let asked = Asked::default();
    let answer = async |State(asked): State<Asked>, request: Request| {
        let (parts, body) = request.into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        let body = String::from_utf8(body.to_vec()).unwrap();
        let one = (parts.method.to_string(), parts.uri.to_string(), parts.headers, body);
        asked.lock().unwrap().push(one);
        ([("x-request-id", "req_1"), ("content-type", "application/json")], "{\"said\":1}")
    };
    let router = Router::new().fallback(answer).with_state(Arc::clone(&asked));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/gateway", listener.local_addr().unwrap());
    #[expect(clippy::disallowed_methods, reason = "serves for as long as the test goes on")]
    drop(tokio::task::spawn(async move { axum::serve(listener, router).await.unwrap() }));
    (url, asked)
}

async fn function(world: &World, url: &str) -> Function {
    let mut environment = world.environment();
    environment.push(("REEVE_API_URL", url.to_owned()));
    Function::start("system", "system.unrouted", &environment).await
}

fn with(sample: &str, method: &str, path: &str) -> String {
    let mut event: Value = serde_json::from_str(sample).unwrap();
    event["rawPath"] = json!(path);
    event["requestContext"]["http"]["method"] = json!(method);
    event.to_string()
}

#[tokio::test]
async fn what_is_no_route_is_a_problem_and_nobody_is_asked() {
    let world = World::start().await;
    let (url, asked) = gateway().await;
    let function = function(&world, &url).await;
    let sample = world.sample("system.unrouted", &Ids::new());
    for (event, status, code, allow) in [
        (sample.clone(), 404, "no_such_route", Value::Null),
        (with(&sample, "POST", "/v1/agents/a/b/c"), 404, "no_such_route", Value::Null),
        (with(&sample, "POST", "/v1/agents/a:fly"), 404, "no_such_route", Value::Null),
        (with(&sample, "PUT", "/v1/docs"), 405, "method_not_allowed", json!("GET,HEAD")),
        // It would come back here: the route is not deployed.
        (with(&sample, "GET", "/v1/docs"), 404, "no_such_route", Value::Null),
    ] {
        let (found, headers, body) = function.invoke(&event).await.http();
        assert_eq!(found, status, "{body}");
        assert_eq!(headers["content-type"], "application/problem+json");
        assert_eq!(headers["allow"], allow, "{body}");
        let problem: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(
            (&problem["code"], &problem["instance"]),
            (&json!(code), &headers["x-request-id"])
        );
    }
    assert!(asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn another_spelling_of_a_route_is_asked_again_as_its_client_asked() {
    let world = World::start().await;
    let (url, asked) = gateway().await;
    let function = function(&world, &url).await;
    let ids = world.everything_for(&super::route("sessions.prompt")).await;
    let sample = world.sample("system.unrouted.verb", &ids);
    let (status, headers, body) = function.invoke(&sample).await.http();
    assert_eq!((status, body.as_str()), (200, "{\"said\":1}"));
    assert_eq!(headers["x-request-id"], "req_1", "the answer is the gateway's");
    let session = &ids["sessionId"];
    let event: Value = serde_json::from_str(&sample).unwrap();
    {
        let asked = asked.lock().unwrap();
        let [(method, address, headers, body)] = &asked[..] else { panic!("{asked:?}") };
        assert_eq!(method, "POST");
        assert_eq!(*address, format!("/gateway/v1/sessions/{session}/prompt"));
        assert_eq!(headers["authorization"], event["headers"]["authorization"].as_str().unwrap());
        assert_eq!(headers["idempotency-key"], "sample-system.unrouted");
        assert_ne!(headers["host"], event["headers"]["host"].as_str().unwrap());
        assert_eq!(*body, event["body"].as_str().unwrap());
    }
    // Another prefix; and a head, which the gateway has no route for, either.
    let mut listing: Value = serde_json::from_str(&with(&sample, "GET", "/api/v1/agents")).unwrap();
    listing["rawQueryString"] = json!("limit=1");
    listing["requestContext"]["stage"] = json!("api");
    function.invoke(&listing.to_string()).await.http();
    function.invoke(&with(&sample, "HEAD", "/v1/agents")).await.http();
    let seen: Vec<_> = asked.lock().unwrap()[1..]
        .iter()
        .map(|(method, address, ..)| format!("{method} {address}"))
        .collect();
    assert_eq!(seen, ["GET /gateway/v1/agents?limit=1", "GET /gateway/v1/agents"]);
}

#[tokio::test]
async fn a_gateway_that_does_not_answer_is_a_problem() {
    let world = World::start().await;
    let function = function(&world, "http://127.0.0.1:9").await;
    let sample = world.sample("system.unrouted.verb", &Ids::new());
    let (status, headers, body) = function.invoke(&sample).await.http();
    assert_eq!(status, 503, "{body}");
    assert_eq!(headers["retry-after"], "1");
}
