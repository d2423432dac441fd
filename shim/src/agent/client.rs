//! A turn, seen from the agent: what it says to its client, and whether it is to stop.

use std::rc::Rc;
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::acp::message;
use crate::acp::peer::Peer;

/// How long a client may think about a permission.
const PERMISSION: Duration = Duration::from_hours(24);

#[derive(Debug)]
pub(super) struct Turn {
    pub(super) session: String,
    peer: Rc<Peer>,
    cancels: watch::Receiver<u64>,
}

impl Turn {
    pub(super) fn new(peer: Rc<Peer>, session: String, cancels: watch::Receiver<u64>) -> Self {
        Self { session, peer, cancels }
    }

    /// Says a piece of the answer.
    pub(super) async fn say(&self, text: &str) {
        self.chunk("agent_message_chunk", text).await;
    }

    /// Says a piece of a thought.
    pub(super) async fn think(&self, text: &str) {
        self.chunk("agent_thought_chunk", text).await;
    }

    async fn chunk(&self, kind: &str, text: &str) {
        self.update(kind, &json!({ "content": { "type": "text", "text": text } })).await;
    }

    /// Sends a session update.
    pub(super) async fn update(&self, kind: &str, data: &Value) {
        let mut update = Map::new();
        update.insert("sessionUpdate".to_owned(), json!(kind));
        if let Value::Object(fields) = data {
            update.extend(fields.clone());
        }
        let params = json!({ "sessionId": self.session, "update": update });
        drop(self.peer.notify("session/update", &params).await);
    }

    /// Sends bytes that may be anything.
    pub(super) async fn raw(&self, bytes: Vec<u8>) {
        drop(self.peer.send(bytes).await);
    }

    /// Sends an answer to a request nobody made.
    pub(super) async fn answer_nobody(&self) {
        let id = message::Id::Number(i64::MAX);
        drop(self.peer.answer(&id, Ok(json!({ "stopReason": "end_turn" }))).await);
    }

    /// Asks for permission. The option chosen, none where the client cancelled.
    pub(super) async fn permission(&self, tool_call: &Value, options: &Value) -> Option<String> {
        let params =
            json!({ "sessionId": self.session, "toolCall": tool_call, "options": options });
        let deadline = Instant::now() + PERMISSION;
        let answer = self.peer.call("session/request_permission", &params, deadline).await.ok()?;
        let answer: Value = serde_json::from_str(answer.get()).ok()?;
        answer["outcome"]["optionId"].as_str().map(str::to_owned)
    }

    /// Whether the turn is to stop.
    pub(super) fn cancelled(&self) -> bool {
        self.cancels.has_changed().unwrap_or(true)
    }

    /// Waits until the turn is to stop.
    pub(super) async fn cancellation(&self) {
        // A receiver of its own, so that the turn itself still sees the change.
        let mut cancels = self.cancels.clone();
        drop(cancels.changed().await);
    }
}
