//! A model behind the socket: answers in the words of the streams of Anthropic and `OpenAI`.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::plane::Model;

/// What the model is to answer.
#[derive(Clone, Debug)]
pub(crate) enum Say {
    /// Text, and the end of the turn.
    Text(&'static str),
    /// Some text and one tool call.
    Tool(&'static str, Value),
    /// Text cut off by the length of an answer.
    CutOff(&'static str),
    /// A failure.
    Status(u16),
    /// A stream that says it is overloaded.
    Overloaded,
    /// A stream that ends in the middle.
    Broken,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    Anthropic,
    OpenAi,
}

pub(crate) const SHAPES: [Shape; 2] = [Shape::Anthropic, Shape::OpenAi];

/// What was asked, in order.
pub(crate) type Asked = Arc<Mutex<Vec<Value>>>;

/// A model that answers with `script`, one after the other, the last one again and again.
pub(crate) fn model(shape: Shape, script: Vec<Say>) -> (Model, Asked) {
    let asked = Asked::default();
    let seen = Arc::clone(&asked);
    let mut next = 0;
    let model: Model = Box::new(move |path, body| {
        let owner = if shape == Shape::Anthropic { "anthropic" } else { "openai" };
        let entry = json!({ "id": "m/1", "object": "model", "owned_by": owner });
        match path {
            "/v1/models" => {
                let list = json!({ "object": "list", "data": [entry] });
                return (200, "application/json", list.to_string());
            }
            "/v1/models/m%2F1" => return (200, "application/json", entry.to_string()),
            "/v1/messages" => assert_eq!(shape, Shape::Anthropic),
            "/v1/chat/completions" => assert_eq!(shape, Shape::OpenAi),
            _ => {
                let problem = json!({ "status": 404, "detail": "no such model" });
                return (404, "application/problem+json", problem.to_string());
            }
        }
        assert_eq!(body["model"], "m/1");
        assert_eq!(body["stream"], true);
        seen.lock().unwrap().push(body.clone());
        let say = script[next.min(script.len() - 1)].clone();
        next += 1;
        if let Say::Status(status) = say {
            let error = json!({ "error": { "message": "not now" } });
            return (status, "application/json", error.to_string());
        }
        let text = match shape {
            Shape::Anthropic => anthropic(&say, next),
            Shape::OpenAi => openai(&say, next),
        };
        (200, "text/event-stream", text)
    });
    (model, asked)
}

fn halves(text: &str) -> [&str; 2] {
    let (left, right) = text.split_at(text.floor_char_boundary(text.len() / 2));
    [left, right]
}

fn anthropic(say: &Say, number: usize) -> String {
    let mut events = vec![json!({ "type": "message_start", "message": { "usage":
        { "input_tokens": 10, "cache_read_input_tokens": 5, "output_tokens": 1 } } })];
    let (text, tool, stop) = match say {
        Say::Text(text) => (*text, None, "end_turn"),
        Say::CutOff(text) => (*text, None, "max_tokens"),
        Say::Tool(name, input) => ("looking", Some((name, input)), "tool_use"),
        Say::Overloaded => {
            events.push(json!({ "type": "error",
                "error": { "type": "overloaded_error", "message": "Overloaded" } }));
            ("", None, "")
        }
        Say::Broken => ("", None, ""),
        Say::Status(_) => unreachable!(),
    };
    if !stop.is_empty() {
        events.push(json!({ "type": "content_block_start", "index": 0,
            "content_block": { "type": "text", "text": "" } }));
        events.push(json!({ "type": "ping" }));
        for half in halves(text) {
            events.push(json!({ "type": "content_block_delta", "index": 0,
                "delta": { "type": "text_delta", "text": half } }));
        }
        events.push(json!({ "type": "content_block_stop", "index": 0 }));
        if let Some((name, input)) = tool {
            events.push(json!({ "type": "content_block_start", "index": 1, "content_block":
                { "type": "tool_use", "id": format!("call_{number}"), "name": name, "input": {} } }));
            for half in halves(&input.to_string()) {
                events.push(json!({ "type": "content_block_delta", "index": 1,
                    "delta": { "type": "input_json_delta", "partial_json": half } }));
            }
            events.push(json!({ "type": "content_block_stop", "index": 1 }));
        }
        events.push(json!({ "type": "message_delta", "delta": { "stop_reason": stop },
            "usage": { "output_tokens": 7 } }));
        events.push(json!({ "type": "message_stop" }));
    }
    let line =
        |event: &Value| format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap());
    events.iter().map(line).collect::<Vec<_>>().concat()
}

fn openai(say: &Say, number: usize) -> String {
    let choice = |delta: Value, reason: Option<&str>| {
        json!({ "object": "chat.completion.chunk",
            "choices": [{ "index": 0, "delta": delta, "finish_reason": reason }] })
    };
    let mut events = vec![choice(json!({ "role": "assistant", "content": "" }), None)];
    let (text, reason) = match say {
        Say::Text(text) => (*text, "stop"),
        Say::CutOff(text) => (*text, "length"),
        Say::Tool(..) => ("looking", "tool_calls"),
        Say::Overloaded => {
            events.push(json!({ "error": { "type": "server_error", "message": "Overloaded" } }));
            ("", "")
        }
        Say::Broken => ("", ""),
        Say::Status(_) => unreachable!(),
    };
    for half in halves(text) {
        events.push(choice(json!({ "content": half }), None));
    }
    if let Say::Tool(name, input) = say {
        events.push(choice(
            json!({ "tool_calls": [{ "index": 0, "id": format!("call_{number}"),
            "type": "function", "function": { "name": name, "arguments": "" } }] }),
            None,
        ));
        for half in halves(&input.to_string()) {
            events.push(choice(
                json!({ "tool_calls": [{ "index": 0,
                "function": { "arguments": half } }] }),
                None,
            ));
        }
    }
    let mut done = "";
    if !reason.is_empty() {
        events.push(choice(json!({}), Some(reason)));
        events.push(json!({ "choices": [],
            "usage": { "prompt_tokens": 15, "completion_tokens": 7 } }));
        done = "data: [DONE]\n\n";
    }
    let mut lines: Vec<_> = events.iter().map(|event| format!("data: {event}\n\n")).collect();
    lines.push(done.to_owned());
    lines.concat()
}
