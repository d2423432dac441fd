//! The shape of `OpenAI`: `POST /v1/chat/completions`.

use domain::agent::Effort;
use serde_json::{Value, json};

use super::reply::{Broken, Pending, Piece, Reply, Stop};
use super::tools;
use super::transcript::{Entry, Transcript};

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
            json!({
                "type": "function",
                "function": {
                    "name": tool.name, "description": tool.purpose, "parameters": tool.schema(),
                },
            })
        })
        .collect();
    let mut messages = vec![json!({ "role": "system", "content": system })];
    transcript.0.iter().for_each(|entry| add(&mut messages, entry));
    let mut request = json!({
        "model": model,
        "stream": true,
        "stream_options": { "include_usage": true },
        "tools": tools,
        "messages": messages,
    });
    if let Some(effort) = effort {
        // Its endpoints know no more than high.
        request["reasoning_effort"] = json!(match effort {
            Effort::Low => "low",
            Effort::Medium => "medium",
            Effort::High | Effort::Max => "high",
        });
    }
    request
}

fn add(messages: &mut Vec<Value>, entry: &Entry) {
    match entry {
        Entry::User { text } => messages.push(json!({ "role": "user", "content": text })),
        Entry::Assistant { text, calls, .. } => {
            let calls: Vec<Value> = calls
                .iter()
                .map(|call| {
                    json!({
                        "id": call.id,
                        "type": "function",
                        "function": { "name": call.name, "arguments": call.input.to_string() },
                    })
                })
                .collect();
            let mut message = json!({ "role": "assistant", "content": text });
            if !calls.is_empty() {
                message["tool_calls"] = Value::Array(calls);
            }
            messages.push(message);
        }
        Entry::Results { results } => messages.extend(results.iter().map(
            |result| json!({ "role": "tool", "tool_call_id": result.id, "content": result.text }),
        )),
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
    pub(super) fn take(&mut self, chunk: &Value) -> Result<Option<Piece>, Broken> {
        if let Some(error) = chunk.get("error").filter(|error| !error.is_null()) {
            let message = error["message"].as_str().unwrap_or("the stream failed").to_owned();
            let kind =
                error["type"].as_str().or_else(|| error["code"].as_str()).unwrap_or_default();
            let passing =
                ["server", "overload", "rate", "timeout"].iter().any(|word| kind.contains(word));
            return Err(Broken { message, passing });
        }
        if let Some(usage) = chunk.get("usage").filter(|usage| usage.is_object()) {
            self.reply.input_tokens = usage["prompt_tokens"].as_u64().unwrap_or_default();
            self.reply.output_tokens = usage["completion_tokens"].as_u64().unwrap_or_default();
        }
        let choice = &chunk["choices"][0];
        if let Some(reason) = choice["finish_reason"].as_str() {
            self.ended = true;
            self.reply.stop = match reason {
                "length" => Stop::CutOff,
                "content_filter" => Stop::Refused,
                _ => Stop::Ended,
            };
        }
        let delta = &choice["delta"];
        for call in delta["tool_calls"].as_array().into_iter().flatten() {
            let index = call["index"].as_u64().and_then(|at| usize::try_from(at).ok()).unwrap_or(0);
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            if !self.pending.knows(index) {
                self.pending.begin(index, &text(&call["id"]), &text(&call["function"]["name"]));
            }
            self.pending.add(index, &text(&call["function"]["arguments"]));
        }
        if let Some(text) = delta["content"].as_str().filter(|text| !text.is_empty()) {
            self.reply.text.push_str(text);
            return Ok(Some(Piece::Text(text.to_owned())));
        }
        let thought = delta["reasoning_content"].as_str().or_else(|| delta["reasoning"].as_str());
        Ok(thought.filter(|text| !text.is_empty()).map(|text| Piece::Thought(text.to_owned())))
    }

    /// The answer; none where the stream ended before it did.
    pub(super) fn finish(self) -> Option<Reply> {
        self.ended.then(|| Reply { calls: self.pending.finish(), ..self.reply })
    }
}
