//! Agents with a model: from the prompt through the sandbox and egress to a provider and back.
//!
//! The provider is a server on loopback that speaks the true protocol and costs nothing.

use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Value, json};
use tests::reeve::{Options, Reeve};

const KEY: &str = "sk-test-0123456789abcdef-never-inside";

type Asked = Arc<Mutex<Vec<(HeaderMap, Value)>>>;

/// A provider that first has the agent run `env`, then write a file, and then says that it is done.
async fn provider() -> (String, Asked) {
    let asked = Asked::default();
    let router = Router::new()
        .route("/v1/messages", post(messages))
        .route("/v1/chat/completions", post(completions))
        .with_state(Arc::clone(&asked));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    #[expect(clippy::disallowed_methods, reason = "it lives as long as the test")]
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, asked)
}

/// What to say after `results` results of tools: a tool with its input, or words.
fn next(results: usize) -> Result<(&'static str, Value), &'static str> {
    match results {
        0 => Ok((
            "shell",
            json!({ "command": "env; cat /proc/*/environ 2>/dev/null | tr '\\0' '\\n'" }),
        )),
        1 => Ok(("write_file", json!({ "path": "done.txt", "content": "it is\n" }))),
        _ => Err("All done."),
    }
}

fn stream(events: &[Value], name: impl Fn(&Value) -> Option<String>) -> Response {
    let mut body = String::new();
    for event in events {
        if let Some(name) = name(event) {
            body.extend(["event: ", &name, "\n"]);
        }
        body.extend(["data: ", &event.to_string(), "\n\n"]);
    }
    ([("content-type", "text/event-stream")], body).into_response()
}

async fn messages(
    State(asked): State<Asked>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Response {
    let text = body["messages"].to_string();
    asked.lock().unwrap().push((headers, body));
    if text.contains("please fail") {
        let error = json!({ "type": "error", "error": { "type": "invalid_request_error", "message": "no" } });
        return (StatusCode::BAD_REQUEST, Json(error)).into_response();
    }
    let (block, deltas, stop) = match next(text.matches("\"tool_result\"").count()) {
        Ok((name, input)) => (
            json!({ "type": "tool_use", "id": format!("toolu_{name}"), "name": name, "input": {} }),
            vec![json!({ "type": "input_json_delta", "partial_json": input.to_string() })],
            "tool_use",
        ),
        Err(words) => (
            json!({ "type": "text", "text": "" }),
            words
                .split_inclusive(' ')
                .map(|word| json!({ "type": "text_delta", "text": word }))
                .collect(),
            "end_turn",
        ),
    };
    let usage = json!({ "input_tokens": 10, "output_tokens": 1 });
    let message = json!({ "id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [], "usage": usage });
    let mut events = vec![
        json!({ "type": "message_start", "message": message }),
        json!({ "type": "content_block_start", "index": 0, "content_block": block }),
    ];
    events.extend(
        deltas
            .into_iter()
            .map(|delta| json!({ "type": "content_block_delta", "index": 0, "delta": delta })),
    );
    events.extend([
        json!({ "type": "content_block_stop", "index": 0 }),
        json!({ "type": "message_delta", "delta": { "stop_reason": stop }, "usage": { "output_tokens": 5 } }),
        json!({ "type": "message_stop" }),
    ]);
    stream(&events, |event| event["type"].as_str().map(str::to_owned))
}

async fn completions(
    State(asked): State<Asked>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Response {
    let results =
        body["messages"].as_array().unwrap().iter().filter(|m| m["role"] == "tool").count();
    asked.lock().unwrap().push((headers, body));
    let delta = |delta: Value, finish: Value| json!({ "id": "c", "object": "chat.completion.chunk", "choices": [{ "index": 0, "delta": delta, "finish_reason": finish }] });
    let mut events = match next(results) {
        Ok((name, input)) => vec![
            delta(
                json!({ "role": "assistant", "tool_calls": [{ "index": 0, "id": format!("call_{name}"), "type": "function", "function": { "name": name, "arguments": "" } }] }),
                Value::Null,
            ),
            delta(
                json!({ "tool_calls": [{ "index": 0, "function": { "arguments": input.to_string() } }] }),
                Value::Null,
            ),
            delta(json!({}), json!("tool_calls")),
        ],
        Err(words) => {
            vec![delta(json!({ "content": words }), Value::Null), delta(json!({}), json!("stop"))]
        }
    };
    events.push(json!({ "id": "c", "choices": [], "usage": { "prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15 } }));
    let mut response = stream(&events, |_| None).into_response();
    let body = axum::body::to_bytes(std::mem::take(response.body_mut()), usize::MAX).await.unwrap();
    let whole = [&body[..], b"data: [DONE]\n\n"].concat();
    ([("content-type", "text/event-stream")], whole).into_response()
}

/// Runs the tool loop against a provider of each shape and holds what came of it against it.
async fn works_with(options: impl Fn(&str) -> Options, authorised: fn(&HeaderMap) -> bool) {
    let (url, asked) = provider().await;
    let reeve = Reeve::start(options(&url)).await;
    let client = reeve.client();
    let agent = client.agent_with(json!({ "driver": "vanilla", "model": "some/model" })).await;
    let session = client.session(&agent).await;
    let run = client.prompt(&session, "Do it.").await;
    let ended = client.ended(&run).await;
    assert_eq!(ended["state"], "completed", "{ended:#}");
    assert_eq!(ended["usage"], json!({ "inputTokens": 30, "outputTokens": 15 }));
    assert_eq!(client.said(&session, &run).await, "All done.");
    let file = reeve.data().join("agents").join(&agent).join("workspace/done.txt");
    assert_eq!(std::fs::read_to_string(file).unwrap(), "it is\n");
    let past = client.past(&session).await;
    let tools: Vec<_> = past.iter().filter(|event| event["type"] == "tool_call").collect();
    assert_eq!(tools.len(), 2, "{past:#?}");
    // The provider saw the credential; nothing inside did, and nothing was written down.
    assert!(asked.lock().unwrap().iter().all(|(headers, _)| authorised(headers)));
    assert!(past.iter().any(|event| event.to_string().contains("HOME=")), "env was run");
    assert!(!json!(past).to_string().contains(KEY));
    assert!(!asked.lock().unwrap().iter().any(|(_, body)| body.to_string().contains(KEY)));
    assert!(!reeve.log().contains(KEY));
}

#[tokio::test]
async fn the_tool_loop_works_over_an_anthropic_shaped_model() {
    let options =
        |url: &str| Options::default().env("ANTHROPIC_BASE_URL", url).env("ANTHROPIC_API_KEY", KEY);
    works_with(options, |headers| headers["x-api-key"] == KEY).await;
}

#[tokio::test]
async fn the_tool_loop_works_over_an_openai_shaped_model() {
    let options = |url: &str| {
        Options::default().env("OPENAI_BASE_URL", format!("{url}/v1")).env("OPENAI_API_KEY", KEY)
    };
    works_with(options, |headers| headers["authorization"] == format!("Bearer {KEY}")).await;
}

#[tokio::test]
async fn a_run_without_a_working_model_fails_and_says_why() {
    let reeve = Reeve::start(Options::default()).await;
    let client = reeve.client();
    let agent = client.agent_with(json!({ "driver": "vanilla" })).await;
    let session = client.session(&agent).await;
    let run = client.prompt(&session, "Hello").await;
    let ended = client.ended(&run).await;
    assert_eq!((&ended["state"], &ended["code"]), (&json!("failed"), &json!("model_unavailable")));

    let (url, _) = provider().await;
    let reeve = Reeve::start(Options::default().env("ANTHROPIC_BASE_URL", url)).await;
    let client = reeve.client();
    let agent = client.agent_with(json!({ "driver": "vanilla", "model": "m" })).await;
    let session = client.session(&agent).await;
    let run = client.prompt(&session, "please fail").await;
    let ended = client.ended(&run).await;
    assert_eq!((&ended["state"], &ended["code"]), (&json!("failed"), &json!("model_error")));
}

/// What the README promises first.
#[tokio::test]
async fn the_demo_writes_a_report_about_a_repository() {
    let checkout = tempfile::tempdir().unwrap();
    let git = |arguments: &[&str]| {
        let identity = ["-c", "user.name=Ann", "-c", "user.email=ann@example.com"];
        let done = std::process::Command::new("git")
            .args(identity)
            .args(arguments)
            .current_dir(checkout.path())
            .output();
        assert!(done.unwrap().status.success(), "git {arguments:?}");
    };
    std::fs::write(checkout.path().join("README.md"), "# Quince\n\nQuince counts pears.\n")
        .unwrap();
    std::fs::write(checkout.path().join("main.py"), "def main():\n    print(3)\n").unwrap();
    git(&["init", "-q"]);
    git(&["add", "-A"]);
    git(&["commit", "-qm", "Count pears"]);
    let repository = format!("checkout={}", checkout.path().display());
    let options = Options::default().arg("--demo").arg("--repository").arg(repository);
    let reeve = Reeve::start(options).await;
    let client = reeve.client();
    // The demo begins by itself: its session is there, or will be.
    tests::given::at_last("the demo opens a session", async || {
        let page = client.get("/v1/sessions").await.is(200);
        page["items"][0]["activeRunId"].is_string()
            || page["items"][0]["lastSeq"].as_u64() > Some(3)
    })
    .await;
    let page = client.get("/v1/sessions").await.is(200);
    let session = page["items"][0]["id"].as_str().unwrap();
    let runs = client.get(&format!("/v1/sessions/{session}/runs")).await.is(200);
    let ended = client.ended(runs["items"][0]["id"].as_str().unwrap()).await;
    assert_eq!(ended["state"], "completed", "{ended:#}");
    let agent = ended["agentId"].as_str().unwrap();
    let report = reeve.data().join("agents").join(agent).join("workspace/report.md");
    let report = std::fs::read_to_string(report).unwrap();
    assert!(report.contains("Quince counts pears") && report.contains("Count pears"), "{report}");
    // It was told where it was asked for: with --json, not on standard output.
    assert!(reeve.log().contains("scripted"), "{}", reeve.log());
}
