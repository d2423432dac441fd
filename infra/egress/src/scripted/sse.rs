//! A reply in the form of Anthropic's Messages API: whole, or as server-sent events.

use serde_json::{Value, json};

use super::{Call, Conversation, MODEL, Reply};

/// A reply and what is said about it. The token counts are estimates, four bytes to a token.
pub(super) struct Message {
    id: String,
    reply: Reply,
    input_tokens: usize,
    output_tokens: usize,
}

impl Message {
    pub(super) fn new(conversation: &Conversation, reply: Reply, request_bytes: usize) -> Self {
        let called = reply.call.as_ref().map_or(0, |call| call.input.to_string().len());
        Self {
            id: format!("msg_scripted_{}", conversation.len()),
            input_tokens: request_bytes.div_ceil(4),
            output_tokens: (reply.text.len() + called).div_ceil(4).max(1),
            reply,
        }
    }

    fn stop_reason(&self) -> &'static str {
        if self.reply.call.is_some() { "tool_use" } else { "end_turn" }
    }

    fn envelope(
        &self,
        content: &[Value],
        stop_reason: Option<&str>,
        output_tokens: usize,
    ) -> Value {
        json!({
            "id": self.id,
            "type": "message",
            "role": "assistant",
            "model": MODEL,
            "content": content,
            "stop_reason": stop_reason,
            "stop_sequence": null,
            "usage": { "input_tokens": self.input_tokens, "output_tokens": output_tokens },
        })
    }

    /// All of it at once.
    pub(super) fn whole(&self) -> Value {
        let mut content = vec![json!({ "type": "text", "text": self.reply.text })];
        if let Some(Call { id, name, input }) = &self.reply.call {
            content.push(json!({ "type": "tool_use", "id": id, "name": name, "input": input }));
        }
        self.envelope(&content, Some(self.stop_reason()), self.output_tokens)
    }

    /// Event by event.
    pub(super) fn events(&self) -> Vec<String> {
        let mut events = Vec::new();
        let mut emit = |kind: &str, mut data: Value| {
            data["type"] = kind.into();
            events.push(format!("event: {kind}\ndata: {data}\n\n"));
        };
        let start = self.envelope(&[], None, 1);
        emit("message_start", json!({ "message": start }));
        let text = json!({ "type": "text", "text": "" });
        emit("content_block_start", json!({ "index": 0, "content_block": text }));
        for piece in pieces(&self.reply.text, 12) {
            let delta = json!({ "type": "text_delta", "text": piece });
            emit("content_block_delta", json!({ "index": 0, "delta": delta }));
        }
        emit("content_block_stop", json!({ "index": 0 }));
        if let Some(Call { id, name, input }) = &self.reply.call {
            let block = json!({ "type": "tool_use", "id": id, "name": name, "input": {} });
            emit("content_block_start", json!({ "index": 1, "content_block": block }));
            for piece in pieces(&input.to_string(), 256) {
                let delta = json!({ "type": "input_json_delta", "partial_json": piece });
                emit("content_block_delta", json!({ "index": 1, "delta": delta }));
            }
            emit("content_block_stop", json!({ "index": 1 }));
        }
        let stop = json!({ "stop_reason": self.stop_reason(), "stop_sequence": null });
        let usage = json!({ "output_tokens": self.output_tokens });
        emit("message_delta", json!({ "delta": stop, "usage": usage }));
        emit("message_stop", json!({}));
        events
    }
}

/// `text` in pieces of about `length` bytes, cut where a character ends.
fn pieces(text: &str, length: usize) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let piece;
        (piece, rest) = rest.split_at(rest.ceil_char_boundary(length.min(rest.len())));
        (!piece.is_empty()).then_some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message() -> Message {
        let call = Call {
            id: "toolu_1".to_owned(),
            name: "shell".to_owned(),
            input: json!({ "command": "ls" }),
        };
        let reply = Reply { text: "Let me see – now.".to_owned(), call: Some(call) };
        Message::new(&Conversation::default(), reply, 400)
    }

    #[test]
    fn events_are_those_of_the_api() {
        insta::assert_snapshot!(message().events().concat());
    }

    #[test]
    fn the_whole_is_the_same() {
        insta::assert_json_snapshot!(message().whole());
    }
}
