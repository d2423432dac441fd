//! Sessions and their runs.

use domain::container::Profile;
use domain::object;
use domain::run::{PermissionOption, Reason, Run, RunState, Usage};
use domain::session::{Session, SessionState, Setup};
use domain::text::{Name, Prompt, Slug};
use domain::{AgentId, ContainerId, RunId, SessionId, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::container::{AgentName, ManualAgent};

/// A session to be opened: with `agentId` or `manualAgent`.
///
/// An agent of the realm is where it is, or gets a container of its own when it is first needed. One of
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
    /// The platform it is for. Kept by nobody: the installation's counts.
    #[serde(default)]
    pub platform: Option<Slug>,
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
    /// What people call it.
    pub title: Option<Name>,
    /// Where it is.
    pub state: SessionState,
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
            title: session.title.clone(),
            state: session.state,
            active_run_id: session.active,
            queued_runs: session.queue.len(),
            last_seq: session.last_seq,
            created_at: session.created_at,
            updated_at: session.updated_at,
        }
    }
}

/// A prompt.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewPrompt {
    /// What to ask.
    pub prompt: Prompt,
}

/// What to cancel.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Cancel {
    /// The run; left out: the one in flight.
    #[serde(default, alias = "run_id")]
    pub run_id: Option<RunId>,
}

/// An answer to what a run waits for: an option, or `cancel`.
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
    /// What its agent waits for, while it awaits approval.
    pub permissions: Vec<PermissionView>,
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
