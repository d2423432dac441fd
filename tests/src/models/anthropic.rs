//! Anthropic's Messages.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use futures::StreamExt;
use futures::stream;
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::{FILE, Heard, Next, TEXT, events, words};

fn heard(messages: &Value) -> Heard {
    let mut heard = Heard::default();
    let users = messages.as_array().into_iter().flatten().filter(|said| said["role"] == "user");
    for message in users {
        if let Some(text) = message["content"].as_str() {
            heard.says(text);
        }
        for block in message["content"].as_array().into_iter().flatten() {
            match block["type"].as_str() {
                Some("text") => heard.says(block["text"].as_str().unwrap_or_default()),
                Some("tool_result") => heard.answers(),
                _ => {}
            }
        }
    }
    heard
}

pub(super) async fn messages(
    State(going_on): State<Arc<Notify>>,
    Json(body): Json<Value>,
) -> Response {
    let next = heard(&body["messages"]).next(&body["tools"], &going_on);
    let event = |kind: &str, mut data: Value| {
        data["type"] = json!(kind);
        format!("event: {kind}\ndata: {data}\n\n")
    };
    let message = json!({
        "id": "msg_1", "type": "message", "role": "assistant", "model": body["model"],
        "content": [], "stop_reason": null, "stop_sequence": null,
        "usage": { "input_tokens": 10, "output_tokens": 1 },
    });
    let mut before = event("message_start", json!({ "message": message }));
    let reason = if let Next::Write = next {
        let block = json!({ "type": "tool_use", "id": "toolu_1", "name": "Write", "input": {} });
        before += &event("content_block_start", json!({ "index": 0, "content_block": block }));
        let input = json!({ "file_path": FILE, "content": TEXT }).to_string();
        let delta = json!({ "type": "input_json_delta", "partial_json": input });
        before += &event("content_block_delta", json!({ "index": 0, "delta": delta }));
        "tool_use"
    } else {
        let block = json!({ "type": "text", "text": "" });
        before += &event("content_block_start", json!({ "index": 0, "content_block": block }));
        "end_turn"
    };
    let end = event("content_block_stop", json!({ "index": 0 }))
        + &event(
            "message_delta",
            json!({
                "delta": { "stop_reason": reason, "stop_sequence": null },
                "usage": { "output_tokens": 5 },
            }),
        )
        + &event("message_stop", json!({}));
    let said = words(&next).map(move |word| {
        let delta = json!({ "type": "text_delta", "text": word });
        event("content_block_delta", json!({ "index": 0, "delta": delta }))
    });
    events(stream::iter([before]).chain(said).chain(stream::iter([end])))
}

pub(super) async fn count() -> Json<Value> {
    Json(json!({ "input_tokens": 10 }))
}
