//! Sessions and their runs.

use std::collections::BTreeMap;

use domain::agent::Effort;
use domain::container::Profile;
use domain::conversation::{Offers, Setting, Settings};
use domain::elicitation::{Elicitation, Inquiry, Reply};
use domain::object;
use domain::output::Output;
use domain::registry::Platform;
use domain::run::{PermissionOption, Reason, Run, RunState, Usage};
use domain::session::{Session, SessionState, Setup};
use domain::text::{Name, Prompt, Slug, ValueId};
use domain::{AgentId, ContainerId, RunId, SessionId, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Field;
use crate::container::{AgentName, ManualAgent};

/// A session to be opened: with `agentId` or `manualAgent`.
///
/// An agent of the realm is where it is, or gets a container of its own when it is first needed, like
/// `containerProfile` if that is given here; where it has one already that is like something else, the
/// session is refused. One of
/// the catalog, and one that is described here, is put into a container that takes agents of any
/// session: `containerId`, or one like `containerProfile` that has room, running ones first, and a new
/// one where there is none. The same description in the same container is the same agent.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewSession {
    /// The agent to talk with: one of the realm, or of the catalog.
    #[serde(default, alias = "agent_id")]
    pub agent_id: Option<AgentName>,
    /// What people call it.
    #[serde(default)]
    pub title: Option<Name>,
    /// An agent that is described here; it counts before `agentId`.
    #[serde(default, alias = "manual_agent", deserialize_with = "object::maybe")]
    pub manual_agent: Option<ManualAgent>,
    /// The container that the agent is to be in.
    #[serde(default, alias = "container_id")]
    pub container_id: Option<ContainerId>,
    /// What its container is to be like.
    #[serde(default, alias = "container_profile", deserialize_with = "object::maybe")]
    pub container_profile: Option<Profile>,
    /// The platform it is for; one that agents do not run on here is refused.
    #[serde(default)]
    pub platform: Option<Platform>,
    /// How the agent is told to work.
    #[serde(default, deserialize_with = "object::one")]
    pub session: Setup,
}

/// A session.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SessionView {
    /// Its id.
    pub id: SessionId,
    /// The agent it is with.
    pub agent_id: AgentId,
    /// The container of the agent, once that is known.
    pub container_id: Option<ContainerId>,
    /// How the agent is told to work.
    pub setup: Setup,
    /// The modes, models and options that the agent offers, and which of them it is set to, as it last
    /// told; before the first prompt empty, or of a fork what the other session had.
    pub offers: Offers,
    /// What people call it.
    pub title: Option<Name>,
    /// Where it is.
    pub state: SessionState,
    /// The session whose conversation it goes on from.
    pub forked_from: Option<SessionId>,
    /// The run in flight.
    pub active_run_id: Option<RunId>,
    /// How many prompts wait behind it.
    pub queued_runs: usize,
    /// The number of the last event, 0 before the first. While a run is in flight more events may have
    /// followed; the events themselves say.
    pub last_seq: u64,
    /// When it was opened.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

impl From<&Session> for SessionView {
    fn from(session: &Session) -> Self {
        Self {
            id: session.id,
            agent_id: session.agent,
            container_id: session.container,
            setup: session.setup.clone(),
            offers: session.offers.clone(),
            title: session.title.clone(),
            state: session.state,
            forked_from: session.forked_from,
            active_run_id: session.active,
            queued_runs: session.queue.len(),
            last_seq: session.last_seq,
            created_at: session.created_at,
            updated_at: session.updated_at,
        }
    }
}

/// A session that goes on from where another is.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewFork {
    /// What people call it; left out: as the other.
    #[serde(default)]
    pub title: Option<Name>,
}

/// A prompt.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewPrompt {
    /// What to ask.
    pub prompt: Prompt,
    /// The caller's own word for the run, one for each prompt of the session: however often it comes
    /// within a day, there is one run, and the first answer comes again. The run's id is another.
    #[serde(default, alias = "run_id")]
    pub run_id: Option<Slug>,
    /// What the answer is to be; left out: text.
    #[serde(default, deserialize_with = "object::one")]
    pub output: Output,
    /// How much the agent is to think; left out: as the agent says.
    #[serde(default)]
    pub effort: Option<Effort>,
}

/// What to set the agent to. What is left out stays; what is null is the agent's own choice from the next
/// time on that it opens the session.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Configure {
    /// The mode, one of those it offers.
    #[serde(default, alias = "modeId", alias = "mode_id")]
    pub mode: Field<ValueId>,
    /// The model, one of those it offers, for agents that tell models apart from their options.
    #[serde(default, alias = "modelId", alias = "model_id")]
    pub model: Field<ValueId>,
    /// The options, by the agent's ids of them, each a value it offers, or true or false.
    #[serde(default)]
    #[schemars(extend("maxProperties" = 32))]
    pub options: BTreeMap<Slug, Option<Setting>>,
}

impl Configure {
    /// The settings that come of laying this over `base`.
    pub fn over(&self, base: &Settings) -> Settings {
        let mut options = base.options.clone();
        for (id, setting) in &self.options {
            match setting {
                Some(setting) => drop(options.insert(id.clone(), setting.clone())),
                None => drop(options.remove(id)),
            }
        }
        Settings {
            mode: self.mode.clone().overlay_optional(base.mode.clone()),
            model: self.model.clone().overlay_optional(base.model.clone()),
            options,
        }
    }
}

/// What came of a run.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunResult {
    /// The answer: it fits the schema of the prompt.
    pub structured: serde_json::Value,
}

/// What to cancel.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Cancel {
    /// The run; left out: the one in flight.
    #[serde(default, alias = "run_id")]
    pub run_id: Option<RunId>,
}

/// An answer to what a run waits for: an option or none to a permission request, an action to an
/// elicitation.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewAnswer {
    /// Which request.
    #[serde(alias = "request_id")]
    #[schemars(length(max = 128))]
    pub request_id: String,
    /// One of its options. Left out or null: the agent is told that the request was cancelled.
    #[serde(default, alias = "option_id")]
    #[schemars(length(max = 256))]
    pub option_id: Option<String>,
    /// What to do with an elicitation. Left out: cancel.
    #[serde(default)]
    pub action: Option<Action>,
    /// What was filled in, where a form is accepted: it fits the form's schema.
    #[serde(default)]
    pub content: Option<serde_json::Value>,
}

/// What to do with an elicitation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Answer it: with the content that its form asks for, or by consenting to visit its address.
    Accept,
    /// Say no.
    Decline,
    /// Say that nobody decided.
    Cancel,
}

impl NewAnswer {
    /// The answer to an elicitation; none where it is one to a permission request, or content comes
    /// without a yes.
    pub fn reply(&self) -> Option<Reply> {
        match (self.action, &self.option_id, &self.content) {
            (Some(Action::Accept), None, content) => {
                Some(Reply::Accept { content: content.clone() })
            }
            (Some(Action::Decline), None, None) => Some(Reply::Decline),
            (Some(Action::Cancel) | None, None, None) => Some(Reply::Cancel),
            (Some(_) | None, ..) => None,
        }
    }
}

/// What an agent waits for.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PermissionView {
    /// Its id within the run.
    pub request_id: String,
    /// What the agent wants to do, in a line. The event `permission_request` has the whole.
    pub title: String,
    /// The ways to answer.
    pub options: Vec<PermissionOption>,
}

/// What an agent wants to know from somebody.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ElicitationView {
    /// Its id within the run.
    pub request_id: String,
    /// What the agent says to whoever is to answer.
    pub message: String,
    /// In which way it asks: a form to be filled in, or an address to be visited.
    pub inquiry: Inquiry,
}

impl From<&Elicitation> for ElicitationView {
    fn from(asked: &Elicitation) -> Self {
        Self {
            request_id: asked.id.clone(),
            message: asked.message.clone(),
            inquiry: asked.inquiry.clone(),
        }
    }
}

/// A run.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunView {
    /// Its id.
    pub id: RunId,
    /// The session it is a turn of.
    pub session_id: SessionId,
    /// The agent that does it.
    pub agent_id: AgentId,
    /// Where it is.
    pub state: RunState,
    /// What it waits for, while it is queued and it is its session's turn.
    pub reason: Option<Reason>,
    /// What was asked.
    pub prompt: Prompt,
    /// What the answer is to be.
    pub output: Output,
    /// How much the agent is to think, where the prompt said so.
    pub effort: Option<Effort>,
    /// What came of it, where it completed and its answer was to fit a schema.
    pub result: Option<RunResult>,
    /// What its agent waits for, while it awaits approval.
    pub permissions: Vec<PermissionView>,
    /// What its agent wants to know from somebody, while it awaits that.
    pub elicitations: Vec<ElicitationView>,
    /// ACP's word for why the agent stopped.
    pub stop_reason: Option<String>,
    /// The stable code of a failure.
    pub code: Option<String>,
    /// One line about a failure, for people.
    pub detail: Option<String>,
    /// The plan it is executed by, once that is known: `GET /v1/plans/{hash}` reads it.
    pub plan: Option<domain::Digest>,
    /// Tokens it used, as far as the agent said.
    pub usage: Option<Usage>,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When the agent began.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
}

impl From<&Run> for RunView {
    fn from(run: &Run) -> Self {
        let end = run.end.clone().unwrap_or_default();
        Self {
            id: run.id,
            session_id: run.session,
            agent_id: run.agent,
            state: run.state,
            reason: run.reason,
            prompt: run.prompt.clone(),
            output: run.output.clone(),
            effort: run.effort,
            result: end.structured.map(|structured| RunResult { structured }),
            permissions: run
                .permissions
                .iter()
                .filter(|asked| asked.answer.is_none())
                .map(|asked| PermissionView {
                    request_id: asked.id.clone(),
                    title: asked.title.clone(),
                    options: asked.options.clone(),
                })
                .collect(),
            elicitations: run
                .elicitations
                .iter()
                .filter(|asked| asked.reply.is_none())
                .map(ElicitationView::from)
                .collect(),
            stop_reason: end.stop_reason,
            code: end.code,
            detail: end.detail,
            plan: run.plan,
            usage: run.usage,
            created_at: run.created_at,
            started_at: run.started_at,
            ended_at: run.ended_at,
        }
    }
}
