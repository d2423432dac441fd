//! What an agent says in one session, on its way to the outbox.
//!
//! What holds here: pieces of text are live at once and durable in larger ones; text is durable
//! before whatever was said after it; the live pieces of a text come before it. Everything that is
//! not text goes through as it is, also what this version does not know.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use domain::run::{PermissionAnswer, PermissionOption, Usage};
use domain::{AgentId, RunId, SessionId};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::{RawValue, to_raw_value};
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;
use wire::shim::{Ended, Live, MAX_EVENT, PermissionRequest, What};

use super::permission::Questions;
use crate::report::{Outbox, cut};
use crate::time::reach;

/// Of how many messages of a run it is known how far they have come. More at once, and the offsets of
/// those not spoken for the longest begin again.
const MESSAGES: usize = 32;
/// How long a text may be open before what there is of it becomes durable.
const OPEN: Duration = Duration::from_secs(1);
/// How long a text may become before it becomes durable.
const LENGTH: usize = 16 * 1024;
/// The longest name of a kind that is passed on.
const KIND: usize = 64;

const MESSAGE: &str = "agent_message_chunk";
const THOUGHT: &str = "agent_thought_chunk";

#[derive(Debug)]
pub(super) struct Stream {
    outbox: Rc<Outbox>,
    agent: AgentId,
    session: SessionId,
    /// The least time between two live pieces of a message.
    pace: Duration,
    state: RefCell<State>,
    questions: RefCell<Questions>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    run: Option<RunId>,
    open: Option<Text>,
    /// What is known of texts that were open before.
    said: VecDeque<Said>,
    /// The message of an agent that does not name its messages: its kind and the name we gave it.
    unnamed: Option<(&'static str, String)>,
    messages: u64,
    /// A session is being loaded: what comes is history.
    muted: bool,
    cancelling: bool,
    noticed: bool,
    usage: Option<Usage>,
}

/// A text that is being said.
#[derive(Debug)]
struct Text {
    kind: &'static str,
    durable: String,
    live: String,
    since: Instant,
    said: Said,
}

/// How far a message has come.
#[derive(Debug)]
struct Said {
    message: String,
    /// How many of its characters have been live, or could have been.
    offset: u64,
    /// When the last of them were.
    lived: Option<Instant>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Chunk {
    content: Content,
    #[serde(default)]
    message_id: Option<String>,
}

#[derive(Deserialize)]
struct Content {
    #[serde(rename = "type")]
    kind: String,
    text: String,
}

impl Stream {
    /// Live pieces of a message are sent at least `pace` apart.
    pub(super) fn new(
        outbox: Rc<Outbox>,
        agent: AgentId,
        session: SessionId,
        pace: Duration,
    ) -> Rc<Self> {
        Rc::new(Self {
            outbox,
            agent,
            session,
            pace,
            state: RefCell::default(),
            questions: RefCell::default(),
            changed: Notify::new(),
        })
    }

    /// A run begins: what is said from now on belongs to it.
    pub(super) fn begin(&self, run: RunId) {
        self.flush();
        let mut state = self.state.borrow_mut();
        let messages = state.messages;
        *state = State { run: Some(run), messages, ..State::default() };
    }

    /// The agent has the prompt.
    pub(super) fn started(&self, acp_session: &str) {
        let run = self.state.borrow().run;
        let what = What::Started { acp_session: acp_session.to_owned() };
        self.outbox.push(self.session, run, what);
    }

    /// The run is over.
    pub(super) fn end(&self, run: RunId, mut ended: Ended) {
        self.flush();
        self.questions.borrow_mut().close();
        let mut state = self.state.borrow_mut();
        ended.usage = ended.usage.or(state.usage);
        self.outbox.push(self.session, Some(run), What::Ended(ended));
        let messages = state.messages;
        *state = State { messages, ..State::default() };
    }

    /// Whether what comes is history, and to be dropped.
    pub(super) fn mute(&self, muted: bool) {
        self.state.borrow_mut().muted = muted;
    }

    /// The run is to end: no permission is given any more.
    pub(super) fn cancel(&self) {
        self.state.borrow_mut().cancelling = true;
        self.questions.borrow_mut().close();
    }

    /// Puts a question to the control plane. None where nobody is there to answer it.
    pub(super) fn ask(
        &self,
        tool_call: Option<&RawValue>,
        options: Vec<PermissionOption>,
    ) -> Option<(RunId, String, oneshot::Receiver<PermissionAnswer>)> {
        let run = self.state.borrow().run?;
        let (request, given) = self.questions.borrow_mut().open()?;
        self.flush();
        let tool_call = tool_call
            .map_or_else(|| to_raw_value(&json!({})).ok(), |call| Some(call.to_owned()))?;
        let asked = PermissionRequest { request: request.clone(), tool_call, options };
        self.outbox.push(self.session, Some(run), What::Asked(asked));
        Some((run, request, given))
    }

    /// The control plane's answer to a question of `run`.
    pub(super) fn give(&self, run: RunId, request: &str, answer: PermissionAnswer) {
        if self.state.borrow().run == Some(run) {
            self.questions.borrow_mut().give(request, answer);
        }
    }

    /// The agent has the answer to a question of `run`, which may have ended over it.
    pub(super) fn answered(&self, run: RunId, request: String, outcome: &serde_json::Value) {
        if self.state.borrow().run == Some(run)
            && let Ok(outcome) = to_raw_value(outcome)
        {
            self.outbox.push(self.session, Some(run), What::Answered { request, outcome });
        }
    }

    pub(super) fn cancelling(&self) -> bool {
        self.state.borrow().cancelling
    }

    /// Takes an ACP session update in and waits while too much is unsent.
    pub(super) async fn update(&self, update: &RawValue) {
        self.take(update);
        self.outbox.room(self.session).await;
    }

    fn take(&self, update: &RawValue) {
        if self.state.borrow().muted {
            return;
        }
        let Ok(mut fields) = serde_json::from_str::<BTreeMap<String, &RawValue>>(update.get())
        else {
            return;
        };
        let kind = fields
            .remove("sessionUpdate")
            .and_then(|kind| serde_json::from_str::<String>(kind.get()).ok());
        let Some(kind) = kind else { return };
        let text = match kind.as_str() {
            MESSAGE => Some(MESSAGE),
            THOUGHT => Some(THOUGHT),
            _ => None,
        };
        if let Some(text) = text
            && let Ok(chunk) = serde_json::from_str::<Chunk>(update.get())
            && chunk.content.kind == "text"
        {
            self.say(text, chunk.message_id, &chunk.content.text);
            return;
        }
        if kind == "usage_update"
            && let Some(used) = fields.get("used").and_then(|used| used.get().parse().ok())
        {
            self.state.borrow_mut().usage = Some(Usage { input_tokens: used, output_tokens: 0 });
        }
        if let Ok(data) = to_raw_value(&fields) {
            // These come at any time and end no sentence.
            let aside = ["usage_update", "available_commands_update", "session_info_update"];
            self.durable(&kind, data, !aside.contains(&kind.as_str()));
        }
    }

    /// Tells something that is not text.
    pub(super) fn tell(&self, kind: &str, data: &serde_json::Value) {
        if let Ok(data) = to_raw_value(data) {
            self.durable(kind, data, true);
        }
    }

    /// Tells what the agent offers in the conversation it has just opened: its modes and its options,
    /// as the updates that tell their changes do.
    pub(super) fn offers(&self, opened: &RawValue) {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Opened {
            #[serde(default)]
            modes: Option<BTreeMap<String, serde_json::Value>>,
            #[serde(default)]
            config_options: Option<serde_json::Value>,
        }
        // Some answer with null: they offer nothing.
        let Ok(Some(opened)) = serde_json::from_str::<Option<Opened>>(opened.get()) else { return };
        if let Some(modes) = opened.modes {
            self.tell("current_mode_update", &json!(modes));
        }
        if let Some(options) = opened.config_options {
            self.tell("config_option_update", &json!({ "configOptions": options }));
        }
    }

    /// Says once in a run that its agent writes what is no message.
    pub(super) fn notice_noise(&self, line: &[u8]) {
        let mut state = self.state.borrow_mut();
        if state.run.is_none() || std::mem::replace(&mut state.noticed, true) {
            return;
        }
        drop(state);
        let shown = cut::line(&String::from_utf8_lossy(&line[..line.len().min(400)]), 200);
        self.tell(
            "notice",
            &json!({
                "severity": "warning",
                "title": "The agent wrote something that is not a message",
                "description": shown,
            }),
        );
    }

    fn durable(&self, kind: &str, data: Box<RawValue>, ends_message: bool) {
        self.flush();
        let mut state = self.state.borrow_mut();
        if ends_message {
            state.unnamed = None;
        }
        let kind = cut::line(kind, KIND);
        self.outbox.push(self.session, state.run, What::Update { kind, data });
    }

    fn say(&self, kind: &'static str, message: Option<String>, text: &str) {
        let message = message.unwrap_or_else(|| self.name(kind));
        let other = self
            .state
            .borrow()
            .open
            .as_ref()
            .is_some_and(|open| open.kind != kind || open.said.message != message);
        if other {
            self.flush();
        }
        let now = Instant::now();
        let long = {
            let state = &mut *self.state.borrow_mut();
            let open = state.open.get_or_insert_with(|| {
                let known = state.said.iter().position(|said| said.message == message);
                let said = known.and_then(|place| state.said.remove(place)).unwrap_or(Said {
                    message,
                    offset: 0,
                    lived: None,
                });
                Text { kind, durable: String::new(), live: String::new(), since: now, said }
            });
            open.durable.push_str(text);
            open.live.push_str(text);
            open.durable.len() > LENGTH
        };
        if long {
            self.flush();
        } else {
            self.tick();
            self.changed.notify_one();
        }
    }

    fn name(&self, kind: &'static str) -> String {
        let mut state = self.state.borrow_mut();
        if let Some((known, name)) = &state.unnamed
            && *known == kind
        {
            return name.clone();
        }
        state.messages += 1;
        let name = match state.run {
            Some(run) => format!("{run}.{}", state.messages),
            None => format!("{}.{}", self.session, state.messages),
        };
        state.unnamed = Some((kind, name.clone()));
        name
    }

    /// Waits until there is something for [`Self::tick`] to do.
    pub(super) async fn due(&self) {
        loop {
            let changed = self.changed.notified();
            let moment = self.state.borrow().open.as_ref().map(|open| {
                let durable = open.since + OPEN;
                match open.said.lived {
                    Some(lived) if !open.live.is_empty() => durable.min(lived + self.pace),
                    _ => durable,
                }
            });
            tokio::select! {
                () = reach(moment) => return,
                () = changed => {}
            }
        }
    }

    /// Sends what is due.
    pub(super) fn tick(&self) {
        let now = Instant::now();
        let mut state = self.state.borrow_mut();
        let run = state.run;
        let Some(open) = &mut state.open else { return };
        if now >= open.since + OPEN {
            drop(state);
            self.flush();
        } else if open.said.lived.is_none_or(|lived| now >= lived + self.pace) {
            self.live(run, open);
        }
    }

    fn live(&self, run: Option<RunId>, text: &mut Text) {
        let pieces = std::mem::take(&mut text.live);
        if !pieces.is_empty() {
            text.said.lived = Some(Instant::now());
        }
        let kind = if text.kind == MESSAGE { "agent_message_delta" } else { "agent_thought_delta" };
        let mut rest = pieces.as_str();
        while !rest.is_empty() {
            let (piece, behind) = rest.split_at(rest.floor_char_boundary(LENGTH));
            rest = behind;
            let offset = text.said.offset;
            text.said.offset += piece.chars().count() as u64;
            let data = json!({ "messageId": text.said.message, "text": piece });
            if let (Some(run), Ok(data)) = (run, to_raw_value(&data)) {
                let (agent, session, kind) = (self.agent, self.session, kind.to_owned());
                self.outbox.live(Live { agent, session, run, kind, offset, data });
            }
        }
    }

    /// Makes the open text durable.
    pub(super) fn flush(&self) {
        let mut state = self.state.borrow_mut();
        let run = state.run;
        let Some(mut open) = state.open.take() else { return };
        drop(state);
        self.live(run, &mut open);
        self.write(run, &open, &open.durable);
        let said = &mut self.state.borrow_mut().said;
        said.push_back(open.said);
        if said.len() > MESSAGES {
            said.pop_front();
        }
    }

    fn write(&self, run: Option<RunId>, open: &Text, text: &str) {
        if text.is_empty() {
            return;
        }
        let data = json!({
            "content": { "type": "text", "text": text },
            "messageId": open.said.message,
        });
        let Ok(data) = to_raw_value(&data) else { return };
        if data.get().len() > MAX_EVENT && text.len() > 1024 {
            let (left, right) = text.split_at(text.floor_char_boundary(text.len() / 2));
            self.write(run, open, left);
            self.write(run, open, right);
        } else {
            let kind = open.kind.to_owned();
            self.outbox.push(self.session, run, What::Update { kind, data });
        }
    }
}
