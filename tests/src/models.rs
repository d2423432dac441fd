//! A provider of models on loopback that costs nothing: it speaks the true protocols of `OpenAI`'s Chat
//! Completions and Responses as agents of other makers use them, and does what it is asked.
//!
//! It looks at what users say that begins with `please`, and at the last of it:
//! - `please write done.txt` has the agent write `it is` into that file with a tool of its own, and
//!   says `Done.` once the tool has answered;
//! - `please go on` says words until nobody listens any more;
//! - anything else it says back, with how many such requests the conversation has had.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// One that serves for as long as it is there.
#[derive(Debug)]
pub struct Models {
    /// Where it is, without a path.
    pub url: String,
    going_on: Arc<Notify>,
    serving: JoinHandle<()>,
}

impl Drop for Models {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Models {
    /// Serves on a port of its own.
    pub async fn start() -> Self {
        let going_on = Arc::new(Notify::new());
        let router = Router::new()
            .route("/v1/chat/completions", post(chat_completions))
            .route("/v1/responses", post(responses))
            .with_state(Arc::clone(&going_on));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        #[expect(clippy::disallowed_methods, reason = "it is ended with the value")]
        let serving = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, going_on, serving }
    }

    /// Waits until it has begun to go on and on.
    pub async fn goes_on(&self) {
        self.going_on.notified().await;
    }
}

/// What it does next.
enum Next {
    Write { path: String },
    GoOn,
    Say(String),
}

/// `items` are the conversation; `result` is the kind or role of a tool's answer.
fn next(items: &[Value], result: &str, tools: &Value) -> Next {
    let mut asked: Vec<String> = Vec::new();
    let mut answered = false;
    for item in items {
        if item["role"] == "user" {
            let content = &item["content"];
            let parts = content.as_array().into_iter().flatten();
            let text: String = content
                .as_str()
                .into_iter()
                .chain(parts.filter_map(|p| p["text"].as_str()))
                .collect();
            if text.starts_with("please") {
                asked.push(text);
                answered = false;
            }
        }
        answered |= item["role"] == result || item["type"] == result;
    }
    // Agents ask for a title, too, and then offer no tools.
    let has_tools = tools.as_array().is_some_and(|tools| !tools.is_empty());
    match asked.last().map(|text| text.trim()) {
        Some("please write done.txt") if answered => Next::Say("Done.".to_owned()),
        Some("please write done.txt") if has_tools => {
            Next::Write { path: "/workspace/done.txt".to_owned() }
        }
        Some("please go on") if has_tools => Next::GoOn,
        Some(text) => Next::Say(format!("{}: {text}", asked.len())),
        None => Next::Say("a title".to_owned()),
    }
}

/// What is said word by word, without an end where it is to go on.
fn words(next: &Next) -> BoxStream<'static, String> {
    match next {
        Next::Say(text) => {
            let words: Vec<String> = text.split_inclusive(' ').map(str::to_owned).collect();
            stream::iter(words).boxed()
        }
        Next::GoOn => {
            stream::unfold(tokio::time::interval(Duration::from_millis(20)), |mut beats| async {
                beats.tick().await;
                Some(("and on ".to_owned(), beats))
            })
            .boxed()
        }
        Next::Write { .. } => stream::empty().boxed(),
    }
}

fn events(events: impl StreamExt<Item = String> + Send + 'static) -> Response {
    let body = Body::from_stream(events.map(Ok::<_, Infallible>));
    ([("content-type", "text/event-stream")], body).into_response()
}

async fn chat_completions(
    State(going_on): State<Arc<Notify>>,
    Json(body): Json<Value>,
) -> Response {
    let items = body["messages"].as_array().cloned().unwrap_or_default();
    let next = next(&items, "tool", &body["tools"]);
    if matches!(next, Next::GoOn) {
        going_on.notify_one();
    }
    let chunk = |delta: Value, finish: Value| {
        let choice = json!({ "index": 0, "delta": delta, "finish_reason": finish });
        let chunk = json!({
            "id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice],
        });
        format!("data: {chunk}\n\n")
    };
    let (call, finish) = match &next {
        Next::Write { path } => {
            let arguments = json!({ "filePath": path, "content": "it is\n" }).to_string();
            let function = json!({ "name": "write", "arguments": arguments });
            let call =
                json!({ "index": 0, "id": "call_1", "type": "function", "function": function });
            (
                Some(chunk(json!({ "role": "assistant", "tool_calls": [call] }), Value::Null)),
                "tool_calls",
            )
        }
        Next::GoOn | Next::Say(_) => (None, "stop"),
    };
    let usage = json!({
        "id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [],
        "usage": { "prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15 },
    });
    let end = chunk(json!({}), json!(finish)) + &format!("data: {usage}\n\ndata: [DONE]\n\n");
    let said = words(&next)
        .map(move |word| chunk(json!({ "role": "assistant", "content": word }), Value::Null));
    events(stream::iter(call).chain(said).chain(stream::iter([end])))
}

async fn responses(State(going_on): State<Arc<Notify>>, Json(body): Json<Value>) -> Response {
    let items = body["input"].as_array().cloned().unwrap_or_default();
    let next = next(&items, "function_call_output", &body["tools"]);
    if matches!(next, Next::GoOn) {
        going_on.notify_one();
    }
    let event = |event: &Value| {
        format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap_or_default())
    };
    let message = |text: &str| {
        let content = json!([{ "type": "output_text", "text": text }]);
        json!({ "type": "message", "id": "msg_1", "role": "assistant", "content": content })
    };
    let mut before = event(&json!({ "type": "response.created", "response": { "id": "resp_1" } }));
    let item = match &next {
        Next::Write { path } => {
            let arguments = json!({
                "cmd": format!("echo it is > {path}"),
                "sandbox_permissions": "require_escalated",
                "justification": "May I write it?",
            });
            json!({
                "type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "exec_command",
                "arguments": arguments.to_string(),
            })
        }
        Next::Say(text) => message(text),
        Next::GoOn => message(""),
    };
    if item["type"] == "message" {
        let begun = json!({ "type": "message", "id": "msg_1", "role": "assistant", "content": [] });
        before += &event(&json!({
            "type": "response.output_item.added", "output_index": 0, "item": begun,
        }));
    }
    let said = words(&next).map(move |word| {
        event(&json!({
            "type": "response.output_text.delta", "item_id": "msg_1", "output_index": 0,
            "content_index": 0, "delta": word,
        }))
    });
    let done = json!({ "type": "response.output_item.done", "output_index": 0, "item": item });
    let usage = json!({ "input_tokens": 10, "output_tokens": 5, "total_tokens": 15 });
    let completed =
        json!({ "type": "response.completed", "response": { "id": "resp_1", "usage": usage } });
    let end = event(&done) + &event(&completed);
    events(stream::iter([before]).chain(said).chain(stream::iter([end])))
}
