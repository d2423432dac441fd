//! Google's Gemini.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use futures::stream;
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::{FILE, Heard, Next, TEXT, events, words};

fn heard(contents: &Value) -> Heard {
    let mut heard = Heard::default();
    let users = contents.as_array().into_iter().flatten().filter(|said| said["role"] == "user");
    for part in users.flat_map(|said| said["parts"].as_array().into_iter().flatten()) {
        if let Some(text) = part["text"].as_str() {
            heard.says(text);
        }
        if part["functionResponse"].is_object() {
            heard.answers();
        }
    }
    heard
}

/// What is asked of which model is the last part of the path.
pub(super) async fn call(
    State(going_on): State<Arc<Notify>>,
    Path(call): Path<String>,
    Json(body): Json<Value>,
) -> Response {
    match call.split_once(':') {
        Some((_, "streamGenerateContent")) => generate(&going_on, &body),
        Some((_, "countTokens")) => Json(json!({ "totalTokens": 10 })).into_response(),
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}

fn generate(going_on: &Notify, body: &Value) -> Response {
    let next = heard(&body["contents"]).next(&body["tools"], going_on);
    let event = |parts: Value, end: bool| {
        let mut candidate = json!({ "index": 0, "content": { "role": "model", "parts": parts } });
        let mut event = json!({ "modelVersion": "m", "responseId": "r" });
        if end {
            candidate["finishReason"] = json!("STOP");
            event["usageMetadata"] = json!({
                "promptTokenCount": 10, "candidatesTokenCount": 5, "totalTokenCount": 15,
            });
        }
        event["candidates"] = json!([candidate]);
        format!("data: {event}\n\n")
    };
    let last = match next {
        Next::Write => {
            let args = json!({ "file_path": FILE, "content": TEXT });
            json!([{ "functionCall": { "name": "write_file", "args": args } }])
        }
        Next::GoOn | Next::Say(_) => json!([{ "text": "" }]),
    };
    let said = words(&next).map(move |word| event(json!([{ "text": word }]), false));
    events(said.chain(stream::iter([event(last, true)])))
}
