//! A turn, seen from the agent: what it says to its client, and whether it is to stop.

use std::cell::Cell;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use domain::agent::Effort;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::acp::message;
use crate::acp::peer::Peer;

/// How long a client may think about a permission.
const PERMISSION: Duration = Duration::from_hours(24);

/// What a client that knows us tells of a turn, beside what ACP has.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Told {
    /// Its own id of the session.
    pub(crate) session: String,
    /// Its own id of the turn.
    pub(crate) run: String,
    /// Its own id of the session that this one goes on from, where it is a fork.
    pub(crate) forked_from: Option<String>,
    /// How much to think.
    pub(crate) effort: Option<Effort>,
    /// How many tokens of the run are left; none: as many as the plan says.
    pub(crate) max_tokens: Option<u64>,
    /// How many model calls of the run are left; none: as many as the plan says.
    pub(crate) max_turns: Option<u32>,
}

#[derive(Debug)]
pub(super) struct Turn {
    pub(super) session: String,
    /// What the client told of the turn.
    pub(super) told: Told,
    /// Where the client wants the session to be.
    pub(super) place: Option<PathBuf>,
    /// How many sessions are open.
    pub(super) open: usize,
    /// What the session is set to, in a line.
    pub(super) set_to: String,
    /// With which code the next prompt is told that its conversation is not known.
    pub(super) forget: Rc<Cell<Option<i64>>>,
    peer: Rc<Peer>,
    cancels: watch::Receiver<u64>,
}

impl Turn {
    pub(super) fn new(
        peer: Rc<Peer>,
        session: String,
        cancels: watch::Receiver<u64>,
        forget: Rc<Cell<Option<i64>>>,
    ) -> Self {
        Self {
            session,
            told: Told::default(),
            place: None,
            open: 0,
            set_to: String::new(),
            forget,
            peer,
            cancels,
        }
    }

    /// Says a piece of the answer.
    pub(super) async fn say(&self, text: &str) {
        self.chunk("agent_message_chunk", text).await;
    }

    /// Says a piece of a thought.
    pub(super) async fn think(&self, text: &str) {
        self.chunk("agent_thought_chunk", text).await;
    }

    /// Tells a piece of what the user has said.
    pub(super) async fn hear(&self, text: &str) {
        self.chunk("user_message_chunk", text).await;
    }

    /// Says a piece of the answer in a request, and waits until it is answered.
    pub(super) async fn insist(&self, text: &str) {
        let content = json!({ "type": "text", "text": text });
        let update = json!({ "sessionUpdate": "agent_message_chunk", "content": content });
        let params = json!({ "sessionId": self.session, "update": update });
        let deadline = Instant::now() + PERMISSION;
        drop(self.peer.call("session/update", &params, deadline).await);
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

    /// Wants to know something from somebody; null where it gets no answer.
    pub(super) async fn elicit(&self, mut wanted: Value) -> Value {
        wanted["sessionId"] = json!(self.session);
        let deadline = Instant::now() + PERMISSION;
        let answer = self.peer.call("elicitation/create", &wanted, deadline).await.ok();
        answer.and_then(|answer| serde_json::from_str(answer.get()).ok()).unwrap_or_default()
    }

    /// Says that what was to be done at an address has been done.
    pub(super) async fn visited(&self, elicitation: &str) {
        let params = json!({ "elicitationId": elicitation });
        drop(self.peer.notify("elicitation/complete", &params).await);
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
