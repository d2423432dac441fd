//! A run: one prompt turn in a session.
//!
//! Invariants: exactly one terminal state, entered once; nothing late, replayed or retried moves
//! it. A prompt is never sent twice: a run whose container was lost fails and says so.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::{IntoStaticStr, VariantArray};

use crate::agent::{Effort, RunLimits};
use crate::elicitation::{Elicitation, Reply};
use crate::output::Output;
use crate::text::Prompt;
use crate::{AgentId, Machine, RealmId, Refused, RunId, SessionId, Timestamp};

/// Where a run is.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Serialize,
    Deserialize,
    JsonSchema,
    VariantArray,
    IntoStaticStr,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum RunState {
    /// Waits: behind another run of its session, or for room to run.
    Queued,
    /// Is its session's turn; the agent has not begun.
    Dispatching,
    /// The agent works on it.
    Streaming,
    /// The agent waits for somebody to allow something.
    AwaitingApproval,
    /// The agent ended its turn.
    Completed,
    /// Somebody stopped it.
    Cancelled,
    /// It could not be brought to an end.
    Failed,
}

impl RunState {
    /// Whether nothing can follow.
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::Cancelled | Self::Failed)
    }
}

/// What can happen to a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, VariantArray, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum RunEvent {
    /// It is its turn.
    Dispatch,
    /// The agent began.
    Start,
    /// The agent asks for permission.
    Ask,
    /// The agent got its answer.
    Answer,
    /// The agent ended its turn.
    Complete,
    /// It was stopped.
    Cancel,
    /// It failed.
    Fail,
}

/// The lifecycle of a run.
#[derive(Clone, Copy, Debug)]
pub struct RunLifecycle;

impl Machine for RunLifecycle {
    type State = RunState;
    type Event = RunEvent;
    const START: RunState = RunState::Queued;

    fn next(state: RunState, event: RunEvent) -> Option<RunState> {
        use RunEvent as E;
        use RunState as S;
        Some(match (state, event) {
            (S::Queued, E::Dispatch) => S::Dispatching,
            (S::Dispatching, E::Start) => S::Streaming,
            (S::Streaming, E::Ask) => S::AwaitingApproval,
            (S::AwaitingApproval, E::Answer) => S::Streaming,
            (S::Dispatching | S::Streaming | S::AwaitingApproval, E::Complete) => S::Completed,
            (S::Queued | S::Dispatching | S::Streaming | S::AwaitingApproval, E::Cancel) => {
                S::Cancelled
            }
            (S::Queued | S::Dispatching | S::Streaming | S::AwaitingApproval, E::Fail) => S::Failed,
            (S::Queued, E::Start | E::Ask | E::Answer | E::Complete)
            | (S::Dispatching, E::Dispatch | E::Ask | E::Answer)
            | (S::Streaming, E::Dispatch | E::Start | E::Answer)
            | (S::AwaitingApproval, E::Dispatch | E::Start | E::Ask)
            | (
                S::Completed | S::Cancelled | S::Failed,
                E::Dispatch | E::Start | E::Ask | E::Answer | E::Complete | E::Cancel | E::Fail,
            ) => return None,
        })
    }
}

/// Tokens a run used, as far as the agent said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    /// Tokens read.
    pub input_tokens: u64,
    /// Tokens written.
    pub output_tokens: u64,
}

/// Why a run waits whose turn it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The realm runs as many containers as it may. The run starts when one of them ends or can be
    /// stopped, after those who have waited longer.
    WaitingForCapacity,
    /// Its container does as many runs as it takes at once. The run starts when one of them ends, after
    /// those who have waited longer.
    ContainerFull,
    /// The workspace of its agent is being rolled back or imported into. The run starts when that is done.
    WaitingForWorkspace,
}

/// How a run ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct End {
    /// ACP's word for why the agent stopped, where it said one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_reason: Option<String>,
    /// The stable code of a failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// One line about a failure, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The answer that fits the run's schema, where it has one and completed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub structured: Option<serde_json::Value>,
}

impl End {
    /// An end with nothing to add.
    pub fn plain() -> Self {
        Self::default()
    }

    /// A failure with its stable code and one line for people.
    pub fn failure(code: &str, detail: impl Into<String>) -> Self {
        Self { code: Some(code.to_owned()), detail: Some(detail.into()), ..Self::default() }
    }
}

/// One way to answer a permission request, as the agent offers it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PermissionOption {
    /// The agent's id of it.
    pub option_id: String,
    /// What the agent calls it.
    pub name: String,
    /// ACP's kind: `allow_once`, `allow_always`, `reject_once` or `reject_always`.
    pub kind: String,
}

/// What somebody answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PermissionAnswer {
    /// This option.
    Selected(String),
    /// None: the agent is told that the request was cancelled.
    Cancelled,
}

/// What an agent waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PermissionRequest {
    /// Its id within the run.
    pub id: String,
    /// What the agent wants to do, in a line.
    pub title: String,
    /// The ways to answer.
    pub options: Vec<PermissionOption>,
    /// The answer, from the moment it is given to the moment the agent has it.
    pub answer: Option<PermissionAnswer>,
}

/// An answer does not fit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unanswerable {
    /// The run does not wait for it, or it has been answered otherwise.
    #[error("the run does not wait for an answer to this request")]
    NotAsked,
    /// It is none of the options.
    #[error("must be one of: {}", .0.join(", "))]
    NoSuchOption(Vec<String>),
    /// It is not what was asked for.
    #[error("{0}")]
    Unfit(String),
}

/// One prompt turn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Run {
    /// Its id.
    pub id: RunId,
    /// The realm it belongs to.
    pub realm: RealmId,
    /// The session it is a turn of.
    pub session: SessionId,
    /// The agent that does it.
    pub agent: AgentId,
    /// What was asked.
    pub prompt: Prompt,
    /// What its answer is to be.
    #[serde(default, skip_serializing_if = "Output::is_text")]
    pub output: Output,
    /// How much its agent is to think, where the prompt says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effort: Option<Effort>,
    /// Where it is.
    pub state: RunState,
    /// Where it stops by itself.
    pub limits: RunLimits,
    /// The plan it is executed by, once that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<crate::Digest>,
    /// What it waits for, where it is its session's turn and the agent cannot begin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// The permissions its agent waits for; empty unless it is awaiting approval.
    #[serde(default)]
    pub permissions: Vec<PermissionRequest>,
    /// What its agent wants to know from somebody; empty unless it is awaiting approval.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub elicitations: Vec<Elicitation>,
    /// How it ended, once it has.
    pub end: Option<End>,
    /// Tokens it used, once it has ended.
    pub usage: Option<Usage>,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When the agent began.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// When the control plane ends it if nobody else has, once it is its turn.
    #[serde(default)]
    pub deadline: Option<Timestamp>,
}

impl Run {
    /// The run after `event`, at `now`. An event that ends it takes `end` along.
    pub fn apply(
        &self,
        event: RunEvent,
        end: Option<End>,
        now: Timestamp,
    ) -> Result<Self, Refused> {
        let state = RunLifecycle::step(self.state, event)?;
        let mut next = Self { state, ..self.clone() };
        if state == RunState::Streaming && self.started_at.is_none() {
            next.started_at = Some(now);
        }
        next.reason = None;
        if state.is_terminal() {
            next.permissions.clear();
            next.elicitations.clear();
            next.ended_at = Some(now);
            next.end = Some(end.unwrap_or_default());
        }
        Ok(next)
    }

    /// The run with `answer` given to what its agent waits for. The agent has still to get it.
    /// Answering again with the same changes nothing.
    pub fn answered(&self, request: &str, answer: PermissionAnswer) -> Result<Self, Unanswerable> {
        let mut next = self.clone();
        let asked = next.permissions.iter_mut().find(|asked| asked.id == request);
        let asked = asked.ok_or(Unanswerable::NotAsked)?;
        if asked.answer.as_ref().is_some_and(|given| *given != answer) {
            return Err(Unanswerable::NotAsked);
        }
        if let PermissionAnswer::Selected(option) = &answer
            && !asked.options.iter().any(|offered| offered.option_id == *option)
        {
            let ids = asked.options.iter().map(|offered| offered.option_id.clone()).collect();
            return Err(Unanswerable::NoSuchOption(ids));
        }
        asked.answer = Some(answer);
        Ok(next)
    }

    /// The run with `reply` given to what its agent wants to know. The agent has still to get it.
    /// Replying again with the same changes nothing.
    pub fn replied(&self, request: &str, reply: Reply) -> Result<Self, Unanswerable> {
        let mut next = self.clone();
        let asked = next.elicitations.iter_mut().find(|asked| asked.id == request);
        let asked = asked.ok_or(Unanswerable::NotAsked)?;
        if asked.reply.as_ref().is_some_and(|given| *given != reply) {
            return Err(Unanswerable::NotAsked);
        }
        asked.inquiry.judge(&reply).map_err(Unanswerable::Unfit)?;
        asked.reply = Some(reply);
        Ok(next)
    }

    /// Whether its agent waits for an answer of somebody.
    pub fn waits(&self) -> bool {
        !self.permissions.is_empty() || !self.elicitations.is_empty()
    }

    /// Whether an answer has been given that the agent has not got yet.
    pub fn owes_answer(&self) -> bool {
        self.permissions.iter().any(|asked| asked.answer.is_some())
            || self.elicitations.iter().any(|asked| asked.reply.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lifecycle() {
        crate::machine::assert_sound::<RunLifecycle>();
        insta::assert_snapshot!(crate::machine::mermaid::<RunLifecycle>());
    }

    #[test]
    fn a_state_is_called_terminal_exactly_where_nothing_follows() {
        for &state in RunState::VARIANTS {
            assert_eq!(state.is_terminal(), RunLifecycle::is_terminal(state), "{state:?}");
        }
    }
}
