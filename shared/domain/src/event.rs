//! What happened in a session: the durable events, numbered without a gap.
//!
//! Types are ACP's `sessionUpdate` names, in ACP's shapes, whatever the driver, and [`OURS`]. Deltas of a message that is still
//! being said are live only and are not events: the coalesced message is.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::container::{Container, ContainerState};
use crate::run::RunState;
use crate::session::SessionState;
use crate::workspace::Renewal;
use crate::{ContainerId, RunId, Timestamp};

/// One durable event of a session.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// Its place in the session: the first is 1, the next is one more.
    pub seq: u64,
    /// What kind it is.
    #[serde(rename = "type")]
    pub kind: String,
    /// The run it belongs to, where it belongs to one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_id: Option<RunId>,
    /// When the control plane wrote it down.
    pub time: Timestamp,
    /// The rest, in the shape its type has.
    pub data: Box<RawValue>,
}

/// An event that has not got its place yet.
#[derive(Clone, Debug)]
pub struct Draft {
    /// What kind it is.
    pub kind: String,
    /// The run it belongs to, where it belongs to one.
    pub run: Option<RunId>,
    /// The rest, in the shape its type has.
    pub data: Box<RawValue>,
}

/// A run moved.
pub const RUN_STATE: &str = "run_state";
/// A run waits until its realm may run another container, or its container does fewer runs.
pub const WAITING_FOR_CAPACITY: &str = "waiting_for_capacity";
/// A run waits until a rollback of its agent's workspace, or an import into it, is done.
pub const WAITING_FOR_WORKSPACE: &str = "waiting_for_workspace";
/// A session moved.
pub const SESSION_STATE: &str = "session_state";
/// A container of the session's agent was given up.
pub const CONTAINER_STATE: &str = "container_state";
/// The agent asks whether it may.
pub const PERMISSION_REQUEST: &str = "permission_request";
/// The agent has the answer to that.
pub const PERMISSION_RESPONSE: &str = "permission_response";
/// The agent wants to know something from somebody.
pub const ELICITATION_REQUEST: &str = "elicitation_request";
/// The agent has the answer to that.
pub const ELICITATION_RESPONSE: &str = "elicitation_response";
/// The agent says that an address was visited as it wanted.
pub const ELICITATION_COMPLETE: &str = "elicitation_complete";
/// The agent did not take a mode, a model or an option.
pub const SETTING_REFUSED: &str = "setting_refused";
/// The agent cannot be told how much to think.
pub const EFFORT_IGNORED: &str = "effort_ignored";
/// An answer does not fit its schema and is asked for again.
pub const OUTPUT_CORRECTION: &str = "output_correction";
/// The agent has forgotten the conversation and begins another.
pub const CONVERSATION_LOST: &str = "conversation_lost";
/// What the run has left is not kept: what comes after may begin without it.
pub const WORKSPACE_NOT_KEPT: &str = "workspace_not_kept";
/// Something about the agent that is no message of it.
pub const NOTICE: &str = "notice";

/// The types that are ours. The shapes of their data are in the description of the stream; all others are
/// ACP's.
pub const OURS: [&str; 16] = [
    RUN_STATE,
    WAITING_FOR_CAPACITY,
    WAITING_FOR_WORKSPACE,
    SESSION_STATE,
    CONTAINER_STATE,
    PERMISSION_REQUEST,
    PERMISSION_RESPONSE,
    ELICITATION_REQUEST,
    ELICITATION_RESPONSE,
    ELICITATION_COMPLETE,
    SETTING_REFUSED,
    EFFORT_IGNORED,
    OUTPUT_CORRECTION,
    CONVERSATION_LOST,
    WORKSPACE_NOT_KEPT,
    NOTICE,
];

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RunMoved<'a> {
    state: RunState,
    #[serde(skip_serializing_if = "Option::is_none")]
    stop_reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
}

#[derive(Serialize)]
struct Waiting {
    limit: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    max: Option<u32>,
}

#[derive(Serialize)]
struct Withheld {
    what: Renewal,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ContainerMoved<'a> {
    container_id: ContainerId,
    state: ContainerState,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
    tries: u32,
}

#[derive(Serialize)]
struct SessionMoved {
    state: SessionState,
}

#[derive(Serialize)]
struct NotKept<'a> {
    reason: &'a str,
}

#[derive(Serialize)]
struct Chunk<'a> {
    content: Text<'a>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename = "text")]
struct Text<'a> {
    text: &'a str,
}

fn raw(value: &impl Serialize) -> Box<RawValue> {
    serde_json::value::to_raw_value(value)
        .unwrap_or_else(|_| unreachable!("plain structs always serialise"))
}

impl Draft {
    /// A run moved to the state it is in.
    pub fn run_state(run: &crate::run::Run) -> Self {
        let end = run.end.as_ref();
        let data = raw(&RunMoved {
            state: run.state,
            stop_reason: end.and_then(|end| end.stop_reason.as_deref()),
            code: end.and_then(|end| end.code.as_deref()),
            detail: end.and_then(|end| end.detail.as_deref()),
        });
        Self { kind: RUN_STATE.to_owned(), run: Some(run.id), data }
    }

    /// A run waits until another container ends or is idle: the realm runs as many as it may.
    pub fn waiting_for_capacity(run: RunId) -> Self {
        let data = raw(&Waiting { limit: "maxRunningContainers", max: None });
        Self { kind: WAITING_FOR_CAPACITY.to_owned(), run: Some(run), data }
    }

    /// A run waits for another to end: its container does `capacity` at once.
    pub fn waiting_for_container(run: RunId, capacity: u32) -> Self {
        let data = raw(&Waiting { limit: "capacity", max: Some(capacity) });
        Self { kind: WAITING_FOR_CAPACITY.to_owned(), run: Some(run), data }
    }

    /// A run waits for the end of what is being done with the workspace of its agent.
    pub fn waiting_for_workspace(run: RunId, what: Renewal) -> Self {
        let data = raw(&Withheld { what });
        Self { kind: WAITING_FOR_WORKSPACE.to_owned(), run: Some(run), data }
    }

    /// A session moved to `state`.
    pub fn session_state(state: SessionState) -> Self {
        Self { kind: SESSION_STATE.to_owned(), run: None, data: raw(&SessionMoved { state }) }
    }

    /// The container that runs the session's agent is in the state it is in, and why.
    pub fn container_state(container: &Container) -> Self {
        let fault = container.fault.as_ref();
        let data = raw(&ContainerMoved {
            container_id: container.id,
            state: container.state,
            code: fault.and_then(|fault| fault.code.as_deref()),
            detail: fault.and_then(|fault| fault.detail.as_deref()),
            tries: container.failures.tries,
        });
        Self { kind: CONTAINER_STATE.to_owned(), run: None, data }
    }

    /// What a run has left is not kept, and why.
    pub fn workspace_not_kept(run: RunId, reason: &str) -> Self {
        let data = raw(&NotKept { reason });
        Self { kind: WORKSPACE_NOT_KEPT.to_owned(), run: Some(run), data }
    }

    /// What the user said, in ACP's shape.
    pub fn user_message(run: RunId, text: &str) -> Self {
        let data = raw(&Chunk { content: Text { text } });
        Self { kind: "user_message_chunk".to_owned(), run: Some(run), data }
    }
}
