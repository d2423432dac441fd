//! What an agent says in one session, on its way to the outbox.
//!
//! What holds here: pieces of text are live at once and durable in larger ones; text is durable
//! before whatever was said after it; the live pieces of a text come before it. Everything that is
//! not text goes through as it is, also what this version does not know.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use domain::conversation::Offers;
use domain::elicitation::{MAX_ELICITATIONS, Reply};
use domain::event;
use domain::run::{PermissionAnswer, Usage};
use domain::{AgentId, RunId, SessionId};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::{RawValue, to_raw_value};
use tokio::sync::Notify;
use tokio::time::Instant;
use wire::shim::{Ended, Live, MAX_EVENT, MAX_REQUESTS, What};

use super::questions::Questions;
use super::tools::Tools;
use crate::report::{Outbox, cut};
use crate::time::{pass, reach};

/// Of how many messages of a run it is known how far they have come. More at once, and the offsets of
/// those not spoken for the longest begin again.
const MESSAGES: usize = 32;
/// How long a text may be open before what there is of it becomes durable.
const OPEN: Duration = Duration::from_secs(1);
/// How long a text may become before it becomes durable.
const LENGTH: usize = 16 * 1024;
/// The longest name of a kind that is passed on.
const KIND: usize = 64;
/// The longest message that is kept to be judged.
const ANSWER: usize = 256 * 1024;

const USER: &str = "user_message_chunk";
const MESSAGE: &str = "agent_message_chunk";
const THOUGHT: &str = "agent_thought_chunk";

/// What tells how things are, not what was said: it is no history.
const STATE: [&str; 4] = [
    "available_commands_update",
    "current_mode_update",
    "config_option_update",
    "session_info_update",
];
/// How long nothing of a history may come before it is taken to be whole, and how long that may be
/// waited for: some agents go on telling it once they have answered.
const QUIET: Duration = Duration::from_millis(100);
const QUIET_AT_LAST: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct Stream {
    outbox: Rc<Outbox>,
    agent: AgentId,
    session: SessionId,
    /// The least time between two live pieces of a message.
    pace: Duration,
    state: RefCell<State>,
    pub(super) permissions: RefCell<Questions<PermissionAnswer>>,
    pub(super) elicitations: RefCell<Questions<Reply>>,
    /// The addresses that somebody was asked to visit in this run: the agent's id, and ours.
    pub(super) visits: RefCell<BTreeMap<String, String>>,
    pub(super) tools: RefCell<Tools>,
    changed: Notify,
    used: Notify,
    /// The options that the agent offers in this conversation, as it last told them.
    options: RefCell<serde_json::Value>,
    /// What it offers besides, and what it is set to, as it last told.
    offers: RefCell<Offers>,
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
    /// A session is being loaded: what comes is history, and how much of it has come.
    history: Option<u64>,
    /// What the agent was asked last, and how much of that it has told back.
    asked: (String, usize),
    /// The agent has said something since it had the prompt.
    answering: bool,
    cancelling: bool,
    noticed: bool,
    /// What the calls of the model took, where the agent says it with what they brought.
    metered: Option<Usage>,
    usage: Option<Usage>,
    /// How often the agent has told of what it used since it had the prompt.
    counted: u32,
    /// The last message, where it is to be judged: its name and its text.
    answer: Option<(String, String)>,
}

impl State {
    /// Whether what a user is said to have said is the next piece of what the agent was asked, which is
    /// known already: some agents tell it back.
    fn repeats(&mut self, update: &RawValue) -> bool {
        let Ok(chunk) = serde_json::from_str::<Chunk>(update.get()) else { return false };
        let (asked, told) = &mut self.asked;
        let (rest, piece) = (&asked[*told..], chunk.content.text.as_str());
        // Some leave out the space around it, or add some.
        let left = rest.strip_prefix(piece).or_else(|| rest.strip_prefix(piece.trim()));
        let Some(left) = left else { return false };
        *told = asked.len() - left.len();
        true
    }
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
            permissions: RefCell::new(Questions::new("ask", MAX_REQUESTS)),
            elicitations: RefCell::new(Questions::new("elicit", MAX_ELICITATIONS)),
            visits: RefCell::default(),
            tools: RefCell::default(),
            changed: Notify::new(),
            used: Notify::new(),
            options: RefCell::default(),
            offers: RefCell::default(),
        })
    }

    /// Whose stream it is.
    pub(super) const fn session(&self) -> SessionId {
        self.session
    }

    /// A run begins: what is said from now on belongs to it.
    pub(super) fn begin(&self, run: RunId) {
        self.flush();
        let mut state = self.state.borrow_mut();
        let messages = state.messages;
        *state = State { run: Some(run), messages, ..State::default() };
    }

    /// The agent has the prompt: it is asked for `text`.
    pub(super) fn started(&self, acp_session: &str, text: &str, can_fork: bool) {
        let run = {
            let mut state = self.state.borrow_mut();
            state.asked = (text.trim().to_owned(), 0);
            state.answering = false;
            state.counted = 0;
            if let Some(answer) = &mut state.answer {
                *answer = Default::default();
            }
            state.run
        };
        let what = What::Started { acp_session: acp_session.to_owned(), can_fork };
        self.outbox.push(self.session, run, what);
    }

    /// The run is over.
    pub(super) fn end(&self, run: RunId, mut ended: Ended) {
        self.flush();
        self.leave_open_questions();
        self.visits.borrow_mut().clear();
        let mut state = self.state.borrow_mut();
        ended.usage = ended.usage.or(state.metered).or(state.usage);
        self.outbox.push(self.session, Some(run), What::Ended(ended));
        let messages = state.messages;
        *state = State { messages, ..State::default() };
    }

    /// Keeps the last message of the run.
    pub(super) fn keep_answer(&self) {
        self.state.borrow_mut().answer = Some(Default::default());
    }

    /// The last message since the agent had the prompt, where it is kept. One that is too long is cut.
    pub(super) fn answer(&self) -> String {
        let mut state = self.state.borrow_mut();
        state.answer.as_mut().map(|(_, text)| std::mem::take(text)).unwrap_or_default()
    }

    /// How often the agent has told of what it used since it had the prompt.
    pub(super) fn counted(&self) -> u32 {
        self.state.borrow().counted
    }

    /// Waits until the agent has told that it used more tokens than `limit`.
    pub(super) async fn spent(&self, limit: u64) {
        loop {
            let told = self.used.notified();
            let used = self.state.borrow().usage.map_or(0, |usage| usage.input_tokens);
            if used > limit {
                return;
            }
            told.await;
        }
    }

    /// The options that the agent offers in this conversation: ACP's `configOptions`.
    pub(super) fn options(&self) -> serde_json::Value {
        self.options.borrow().clone()
    }

    /// Whether what comes is history, and to be dropped.
    pub(super) fn mute(&self, muted: bool) {
        self.state.borrow_mut().history = muted.then_some(0);
    }

    /// Whether any of a history has come.
    pub(super) fn tells_history(&self) -> bool {
        self.state.borrow().history.is_some_and(|come| come > 0)
    }

    /// Waits until no more of a history comes.
    pub(super) async fn settled(&self) {
        let at_last = Instant::now() + QUIET_AT_LAST;
        let come = || self.state.borrow().history;
        let mut before = None;
        while before != Some(come()) && Instant::now() < at_last {
            before = Some(come());
            pass(QUIET).await;
        }
    }

    /// Whether the agent has said anything since it had the prompt.
    pub(super) fn answering(&self) -> bool {
        self.state.borrow().answering
    }

    /// The run is to end: no permission is given any more.
    pub(super) fn cancel(&self) {
        self.state.borrow_mut().cancelling = true;
        self.leave_open_questions();
    }

    fn leave_open_questions(&self) {
        self.permissions.borrow_mut().close();
        self.elicitations.borrow_mut().close();
    }

    /// The run that is being worked on.
    pub(super) fn run(&self) -> Option<RunId> {
        self.state.borrow().run
    }

    /// Writes an event down.
    pub(super) fn push(&self, run: Option<RunId>, what: What) {
        self.outbox.push(self.session, run, what);
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
        let Ok(mut fields) = serde_json::from_str::<BTreeMap<String, &RawValue>>(update.get())
        else {
            return;
        };
        let kind = fields
            .remove("sessionUpdate")
            .and_then(|kind| serde_json::from_str::<String>(kind.get()).ok());
        let Some(kind) = kind else { return };
        {
            let mut state = self.state.borrow_mut();
            let news = !STATE.contains(&kind.as_str());
            if news && let Some(come) = &mut state.history {
                *come += 1;
                return;
            }
            if kind == USER && state.repeats(update) {
                return;
            }
            state.answering |= news;
            if let Some(took) = fields.get("_meta").and_then(|meta| metered(meta)) {
                let before = state.metered.unwrap_or_default();
                state.metered = Some(Usage {
                    input_tokens: before.input_tokens.saturating_add(took.input_tokens),
                    output_tokens: before.output_tokens.saturating_add(took.output_tokens),
                });
            }
        }
        if kind.starts_with("tool_call") {
            self.tools.borrow_mut().note(&fields);
        }
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
            let mut state = self.state.borrow_mut();
            state.usage = Some(Usage { input_tokens: used, output_tokens: 0 });
            state.counted = state.counted.saturating_add(1);
            drop(state);
            self.used.notify_one();
        }
        if kind == "config_option_update"
            && let Some(options) = fields.get("configOptions")
        {
            *self.options.borrow_mut() =
                serde_json::from_str(options.get()).unwrap_or(serde_json::Value::Null);
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

    /// What the agent offers and is set to in this conversation, as far as it has told.
    pub(super) fn set_to(&self) -> Offers {
        self.offers.borrow().clone()
    }

    /// Another conversation is opened: nothing is known of it.
    pub(super) fn opens(&self) {
        self.offers.take();
        self.options.take();
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
            models: Option<serde_json::Value>,
            #[serde(default)]
            config_options: Option<serde_json::Value>,
        }
        // Some answer with null: they offer nothing.
        let Ok(Some(opened)) = serde_json::from_str::<Option<Opened>>(opened.get()) else { return };
        if let Some(modes) = opened.modes {
            self.tell("current_mode_update", &json!(modes));
        }
        if let Some(models) = opened.models {
            self.tell("current_model_update", &models);
        }
        if let Some(options) = opened.config_options {
            self.options.borrow_mut().clone_from(&options);
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
            event::NOTICE,
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
        self.offers.borrow_mut().hear(&kind, data.get());
        self.outbox.push(self.session, state.run, What::Update { kind, data });
    }

    fn say(&self, kind: &'static str, message: Option<String>, text: &str) {
        let message = message.unwrap_or_else(|| self.name(kind));
        if kind == MESSAGE {
            self.remember(&message, text);
        }
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

    fn remember(&self, message: &str, text: &str) {
        let mut state = self.state.borrow_mut();
        let Some((name, kept)) = &mut state.answer else { return };
        if name != message {
            message.clone_into(name);
            kept.clear();
        }
        let room = ANSWER.saturating_sub(kept.len());
        kept.push_str(&text[..text.floor_char_boundary(room)]);
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

/// What one call of the model took, as some agents say it beside what it brought.
fn metered(meta: &RawValue) -> Option<Usage> {
    #[derive(Deserialize)]
    struct Meta {
        usage: Took,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Took {
        input_tokens: u64,
        output_tokens: u64,
    }
    let Meta { usage } = serde_json::from_str(meta.get()).ok()?;
    Some(Usage { input_tokens: usage.input_tokens, output_tokens: usage.output_tokens })
}
