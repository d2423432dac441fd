//! `OpenAI`'s Chat Completions and Responses.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use futures::StreamExt;
use futures::stream;
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::{FILE, Heard, Next, TEXT, events, words};

/// `items` are the conversation; `result` is the kind or role of a tool's answer.
fn heard(items: &Value, result: &str) -> Heard {
    let mut heard = Heard::default();
    for item in items.as_array().into_iter().flatten() {
        if item["role"] == "user" {
            let content = &item["content"];
            let parts = content.as_array().into_iter().flatten();
            let text: String = content
                .as_str()
                .into_iter()
                .chain(parts.filter_map(|p| p["text"].as_str()))
                .collect();
            heard.says(&text);
        }
        if item["role"] == result || item["type"] == result {
            heard.answers();
        }
    }
    heard
}

pub(super) async fn chat_completions(
    State(going_on): State<Arc<Notify>>,
    Json(body): Json<Value>,
) -> Response {
    let next = heard(&body["messages"], "tool").next(&body["tools"], &going_on);
    let chunk = |delta: Value, finish: Value| {
        let choice = json!({ "index": 0, "delta": delta, "finish_reason": finish });
        let chunk = json!({
            "id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice],
        });
        format!("data: {chunk}\n\n")
    };
    let (call, finish) = match &next {
        Next::Write => {
            let (name, arguments) = writes(&body["tools"]);
            let function = json!({ "name": name, "arguments": arguments.to_string() });
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

/// The tool that writes a file, and its arguments: agents name both differently.
fn writes(tools: &Value) -> (String, Value) {
    let tool = tools.as_array().into_iter().flatten().find(|tool| {
        let name = tool["function"]["name"].as_str().unwrap_or_default();
        name == "write" || name == "write_file"
    });
    let function = tool.map(|tool| &tool["function"]).expect("no tool writes files");
    let takes = &function["parameters"]["properties"];
    let path = ["filePath", "file_path", "path"].into_iter().find(|name| takes[name].is_object());
    let path = path.expect("the tool takes no path");
    (
        function["name"].as_str().unwrap_or_default().to_owned(),
        json!({ (path): FILE, "content": TEXT }),
    )
}

pub(super) async fn responses(
    State(going_on): State<Arc<Notify>>,
    Json(body): Json<Value>,
) -> Response {
    let next = heard(&body["input"], "function_call_output").next(&body["tools"], &going_on);
    let event = |event: &Value| {
        format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap_or_default())
    };
    let message = |text: &str| {
        let content = json!([{ "type": "output_text", "text": text }]);
        json!({ "type": "message", "id": "msg_1", "role": "assistant", "content": content })
    };
    let mut before = event(&json!({ "type": "response.created", "response": { "id": "resp_1" } }));
    let item = match &next {
        Next::Write => {
            let arguments = json!({
                "cmd": format!("printf '{}' > {FILE}", TEXT.replace('\n', "\\n")),
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
