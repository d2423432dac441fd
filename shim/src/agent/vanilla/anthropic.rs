//! Anthropic's shape: `POST /v1/messages`.

use serde_json::{Value, json};

use super::reply::{Broken, Pending, Piece, Reply, Stop};
use super::tools;
use super::transcript::{Entry, Transcript};

/// The most tokens of one answer.
const ANSWER: u32 = 8192;

/// The body of a request.
pub(super) fn request(model: &str, system: &str, transcript: &Transcript) -> Value {
    let tools: Vec<Value> = tools::LIST
        .iter()
        .map(|tool| {
            json!({ "name": tool.name, "description": tool.purpose, "input_schema": tool.schema() })
        })
        .collect();
    json!({
        "model": model,
        "max_tokens": ANSWER,
        "stream": true,
        "system": system,
        "tools": tools,
        "messages": transcript.0.iter().map(message).collect::<Vec<_>>(),
    })
}

fn message(entry: &Entry) -> Value {
    match entry {
        Entry::User { text } => json!({ "role": "user", "content": text }),
        Entry::Assistant { text, calls } => {
            let mut content = Vec::new();
            if !text.is_empty() {
                content.push(json!({ "type": "text", "text": text }));
            }
            for call in calls {
                // An input that could not be read is none here: the shape wants an object.
                let input = if call.input.is_object() { call.input.clone() } else { json!({}) };
                content.push(json!({
                    "type": "tool_use", "id": call.id, "name": call.name, "input": input,
                }));
            }
            json!({ "role": "assistant", "content": content })
        }
        Entry::Results { results } => {
            let content: Vec<Value> = results
                .iter()
                .map(|result| {
                    json!({
                        "type": "tool_result",
                        "tool_use_id": result.id,
                        "is_error": result.failed,
                        "content": result.text,
                    })
                })
                .collect();
            json!({ "role": "user", "content": content })
        }
    }
}

/// Puts an answer together.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    reply: Reply,
    pending: Pending,
    ended: bool,
}

impl Decoder {
    pub(super) fn take(&mut self, event: &Value) -> Result<Option<Piece>, Broken> {
        let index =
            || event["index"].as_u64().and_then(|index| usize::try_from(index).ok()).unwrap_or(0);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        match event["type"].as_str().unwrap_or_default() {
            "message_start" => self.count(&event["message"]["usage"]),
            "content_block_start" => {
                let block = &event["content_block"];
                match block["type"].as_str() {
                    Some("tool_use") => {
                        self.pending.begin(index(), &text(&block["id"]), &text(&block["name"]));
                    }
                    Some("text") => return Ok(self.text(text(&block["text"]))),
                    Some(_) | None => {}
                }
            }
            "content_block_delta" => {
                let delta = &event["delta"];
                match delta["type"].as_str() {
                    Some("text_delta") => return Ok(self.text(text(&delta["text"]))),
                    Some("thinking_delta") => {
                        return Ok(Some(Piece::Thought(text(&delta["thinking"]))));
                    }
                    Some("input_json_delta") => {
                        self.pending.add(index(), &text(&delta["partial_json"]));
                    }
                    Some(_) | None => {}
                }
            }
            "message_delta" => {
                self.count(&event["usage"]);
                self.reply.stop = match event["delta"]["stop_reason"].as_str() {
                    Some("max_tokens") => Stop::CutOff,
                    Some("refusal") => Stop::Refused,
                    Some(_) | None => Stop::Ended,
                };
            }
            "message_stop" => self.ended = true,
            "error" => {
                let error = &event["error"];
                let kind = text(&error["type"]);
                return Err(Broken {
                    message: format!("{kind}: {}", text(&error["message"])),
                    passing: matches!(
                        kind.as_str(),
                        "overloaded_error" | "api_error" | "rate_limit_error" | "timeout_error"
                    ),
                });
            }
            // `ping`, and what later versions say.
            _ => {}
        }
        Ok(None)
    }

    fn text(&mut self, text: String) -> Option<Piece> {
        self.reply.text.push_str(&text);
        (!text.is_empty()).then_some(Piece::Text(text))
    }

    fn count(&mut self, usage: &Value) {
        let field = |name: &str| usage[name].as_u64();
        if field("input_tokens").is_some() {
            self.reply.input_tokens =
                ["input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens"]
                    .into_iter()
                    .filter_map(field)
                    .sum();
        }
        if let Some(output) = field("output_tokens") {
            self.reply.output_tokens = output;
        }
    }

    /// The answer; none where the stream ended before it did.
    pub(super) fn finish(self) -> Option<Reply> {
        self.ended.then(|| Reply { calls: self.pending.finish(), ..self.reply })
    }
}
