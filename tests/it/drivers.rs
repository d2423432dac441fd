//! Agents that are programs and agents that are elsewhere, and answers by a schema, through the API and
//! in the real sandbox.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::post;
use serde_json::{Value, json};
use tests::http::Client;
use tests::reeve::{Options, Reeve};
use tokio::sync::Notify;

/// What an endpoint was asked, and that somebody left before it had answered.
#[derive(Clone, Default)]
struct Endpoint {
    asked: Arc<Mutex<Vec<Value>>>,
    arrived: Arc<Notify>,
    left: Arc<Notify>,
}

/// Tells that a request was given up.
struct Left(Arc<Notify>);

impl Drop for Left {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

async fn endpoint() -> (String, Endpoint) {
    let endpoint = Endpoint::default();
    let router = Router::new()
        .route("/bot", post(answer))
        .route("/bot/slow", post(hang))
        .route("/bot/moved", post(async || Redirect::temporary("/bot")))
        .route("/elsewhere", post(answer))
        .with_state(endpoint.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    #[expect(clippy::disallowed_methods, reason = "it lives as long as the test")]
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, endpoint)
}

async fn answer(State(endpoint): State<Endpoint>, body: String) -> Response {
    let body: Value = serde_json::from_str(&body).unwrap();
    let text = format!("you said {}", body["prompt"].as_str().unwrap());
    endpoint.asked.lock().unwrap().push(body);
    let mut events = String::new();
    for word in text.split_inclusive(' ') {
        writeln!(events, "data: {}\n", json!({ "text": word })).unwrap();
    }
    ([("content-type", "text/event-stream")], events).into_response()
}

async fn hang(State(endpoint): State<Endpoint>) -> Response {
    let _left = Left(endpoint.left);
    endpoint.arrived.notify_one();
    std::future::pending().await
}

async fn program(client: &Client, script: &str) -> String {
    let fields = json!({ "driver": "process", "command": ["/bin/sh", "-c", script] });
    client.agent_with(fields).await
}

async fn prompt_for(client: &Client, session: &str, body: Value) -> Value {
    let reply = client.post(&format!("/v1/sessions/{session}/prompt"), body).await;
    let run = reply.is(202)["id"].as_str().unwrap().to_owned();
    client.ended(&run).await
}

fn schema() -> Value {
    json!({ "type": "object", "properties": { "n": { "type": "integer" } }, "required": ["n"] })
}

#[tokio::test]
async fn a_program_is_an_agent() {
    let reeve = Reeve::start(Options::default()).await;
    let client = reeve.client();
    let script = "cat; echo \" at $REEVE_EFFORT\"; id -u > uid; test -e /proc/1/root/etc/shadow";
    let agent = program(&client, &format!("{script}; true")).await;
    let session = client.session(&agent).await;
    let ended = prompt_for(&client, &session, json!({ "prompt": "hello", "effort": "high" })).await;
    assert_eq!(ended["state"], "completed", "{ended:#}");
    assert_eq!(ended["effort"], "high");
    let run = ended["id"].as_str().unwrap();
    assert_eq!(client.said(&session, run).await, "hello at high\n");

    let broken = program(&client, "echo why >&2; exit 9").await;
    let session = client.session(&broken).await;
    let ended = prompt_for(&client, &session, json!({ "prompt": "go" })).await;
    assert_eq!((&ended["state"], &ended["code"]), (&json!("failed"), &json!("process_failed")));
    assert!(ended["detail"].as_str().unwrap().contains("why"), "{ended:#}");
}

#[tokio::test]
async fn an_agent_is_elsewhere_where_its_operator_lets_it_be() {
    let (url, endpoint) = endpoint().await;
    let reeve =
        Reeve::start(Options::default().env("REEVE_HTTP_AGENTS", format!("{url}/bot"))).await;
    let client = reeve.client();
    let at = async |path: &str| {
        let fields = json!({ "driver": "http", "url": format!("{url}{path}") });
        client.session(&client.agent_with(fields).await).await
    };
    let session = at("/bot").await;
    let ended = prompt_for(&client, &session, json!({ "prompt": "a b", "effort": "low" })).await;
    assert_eq!(ended["state"], "completed", "{ended:#}");
    let run = ended["id"].as_str().unwrap();
    assert_eq!(client.said(&session, run).await, "you said a b");
    let asked = endpoint.asked.lock().unwrap().clone();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0]["sessionId"], json!(session));
    assert_eq!((&asked[0]["runId"], &asked[0]["effort"]), (&json!(run), &json!("low")));
    assert_eq!(asked[0]["forkedFrom"], Value::Null);
    let fork = client.made(&format!("/v1/sessions/{session}/fork"), json!({})).await;
    assert_eq!(prompt_for(&client, &fork, json!({ "prompt": "c" })).await["state"], "completed");
    let asked = endpoint.asked.lock().unwrap()[1].clone();
    assert_eq!((&asked["sessionId"], &asked["forkedFrom"]), (&json!(fork), &json!(session)));

    for (path, code) in [("/elsewhere", "egress_denied"), ("/bot/moved", "http_error")] {
        let ended = prompt_for(&client, &at(path).await, json!({ "prompt": "go" })).await;
        assert_eq!(ended["code"], code, "{ended:#}");
    }
    assert_eq!(endpoint.asked.lock().unwrap().len(), 2, "nobody was asked");

    let run = client.prompt(&at("/bot/slow").await, "go").await;
    endpoint.arrived.notified().await;
    client.post(&format!("/v1/runs/{run}/cancel"), json!({})).await.is(202);
    assert_eq!(client.ended(&run).await["state"], "cancelled");
    endpoint.left.notified().await;
}

#[tokio::test]
async fn an_answer_fits_its_schema_or_the_run_fails() {
    let reeve = Reeve::start(Options::default()).await;
    let client = reeve.client();
    let output = json!({ "type": "structured", "schema": schema() });
    let second = "if test -e once; then echo '{\"n\": 2}'; else touch once; echo words; fi";
    let session = client.session(&program(&client, second).await).await;
    let ended = prompt_for(&client, &session, json!({ "prompt": "go", "output": output })).await;
    assert_eq!(ended["state"], "completed", "{ended:#}");
    assert_eq!(ended["result"]["structured"], json!({ "n": 2 }));
    assert_eq!(ended["output"], output);
    let past = client.past(&session).await;
    let corrected = past.iter().filter(|event| event["type"] == "output_correction").count();
    assert_eq!(corrected, 1);

    let session = client.session(&program(&client, "echo never").await).await;
    let ended = prompt_for(&client, &session, json!({ "prompt": "go", "output": output })).await;
    assert_eq!((&ended["state"], &ended["code"]), (&json!("failed"), &json!("output_invalid")));
    assert_eq!(ended["result"], Value::Null);
    let text = json!({ "prompt": "go", "output": { "type": "text" } });
    assert_eq!(prompt_for(&client, &session, text).await["state"], "completed");

    let path = format!("/v1/sessions/{session}/prompt");
    for bad in [
        json!({ "type": "strong" }),
        json!({ "$ref": "https://example.com/schema.json" }),
        json!({ "items": { "$ref": "#" } }),
        json!(7),
    ] {
        let output = json!({ "type": "structured", "schema": bad });
        let reply = client.post(&path, json!({ "prompt": "go", "output": output })).await;
        assert_eq!(reply.is(400)["code"], "invalid_output_schema", "{bad}");
    }
    let before = client.past(&session).await.len();
    let unknown = json!({ "prompt": "go", "output": { "type": "files" } });
    client.post(&path, unknown).await.is(400);
    assert_eq!(client.past(&session).await.len(), before, "what is refused leaves nothing");
}

#[tokio::test]
async fn a_driver_is_told_what_it_needs_and_nothing_else() {
    let reeve = Reeve::start(Options::default()).await;
    let client = reeve.client();
    for fields in [
        json!({ "driver": "process" }),
        json!({ "driver": "http" }),
        json!({ "driver": "http", "url": "ftp://example.com" }),
        json!({ "driver": "http", "url": "http://example.com", "command": ["ls"] }),
        json!({ "driver": "acp", "url": "http://example.com" }),
        json!({ "driver": "vanilla", "command": ["ls"] }),
    ] {
        let mut body = json!({ "name": "a" });
        body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let reply = client.post("/v1/agents", body).await;
        assert_eq!(reply.is(422)["code"], "invalid_value", "{fields}");
    }
}
