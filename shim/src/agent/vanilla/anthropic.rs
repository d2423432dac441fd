//! Anthropic's shape: `POST /v1/messages`.

use domain::agent::Effort;
use serde_json::{Value, json};

use super::reply::{Broken, Pending, Piece, Reply, Stop};
use super::tools;
use super::transcript::{Entry, Transcript};

/// The most tokens of one answer.
const ANSWER: u32 = 8192;

/// How many tokens it may think for. The endpoint takes no less than the first.
const fn budget(effort: Effort) -> u32 {
    match effort {
        Effort::Low => 1024,
        Effort::Medium => 4096,
        Effort::High => 16_384,
        Effort::Max => 32_768,
    }
}

/// The body of a request.
pub(super) fn request(
    model: &str,
    system: &str,
    transcript: &Transcript,
    effort: Option<Effort>,
) -> Value {
    let tools: Vec<Value> = tools::LIST
        .iter()
        .map(|tool| {
            json!({ "name": tool.name, "description": tool.purpose, "input_schema": tool.schema() })
        })
        .collect();
    let thinks = effort.is_some();
    let mut request = json!({
        "model": model,
        "max_tokens": ANSWER + effort.map_or(0, budget),
        "stream": true,
        "system": system,
        "tools": tools,
        "messages": transcript.0.iter().map(|entry| message(entry, thinks)).collect::<Vec<_>>(),
    });
    if let Some(effort) = effort {
        request["thinking"] = json!({ "type": "enabled", "budget_tokens": budget(effort) });
    }
    request
}

fn message(entry: &Entry, thinks: bool) -> Value {
    match entry {
        Entry::User { text } => json!({ "role": "user", "content": text }),
        Entry::Assistant { text, calls, thoughts } => {
            // One that thinks wants to see what it thought before it asked for a tool.
            let mut content = if thinks { thoughts.clone() } else { Vec::new() };
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
                    Some("thinking" | "redacted_thinking") => {
                        self.reply.thoughts.push(block.clone());
                    }
                    Some(_) | None => {}
                }
            }
            "content_block_delta" => {
                let delta = &event["delta"];
                match delta["type"].as_str() {
                    Some("text_delta") => return Ok(self.text(text(&delta["text"]))),
                    Some("thinking_delta") => {
                        let piece = text(&delta["thinking"]);
                        self.think("thinking", &piece);
                        return Ok(Some(Piece::Thought(piece)));
                    }
                    Some("signature_delta") => {
                        self.think("signature", &text(&delta["signature"]));
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

    /// Adds to the last thought.
    fn think(&mut self, part: &str, piece: &str) {
        if let Some(Value::Object(thought)) = self.reply.thoughts.last_mut()
            && let Value::String(text) =
                thought.entry(part).or_insert_with(|| Value::String(String::new()))
        {
            text.push_str(piece);
        }
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
