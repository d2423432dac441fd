//! What a shim and the control plane say to each other: JSON text frames on one WebSocket that the
//! shim dials.
//!
//! What holds here
//! - The shim connects with `Authorization: Bearer <token>`, where the token names container and
//!   generation and is signed, and says [`Up::Hello`] first.
//! - Commands repeat: after every connect and every nudge the control plane sends all that is
//!   pending. A command is idempotent under its run: a shim does each once.
//! - Report events are numbered per session from 0 in each generation. They are journalled before
//!   they are sent and kept until an [`Down::Ack`] says that what comes next is behind them. One
//!   report per session is in flight at a time.
//! - A frame is at most [`MAX_FRAME`] bytes: the managed WebSocket delivers no more. What is to be
//!   said to a shim is made into frames by [`Down::frames`] and by nobody else.
//!
//! Frames are externally tagged (`{"report":{…}}`), which lets event data pass through unparsed.

mod frames;
pub mod keep;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

pub use frames::{Part, Parts};

use domain::agent::Effort;
use domain::conversation::Settings;
use domain::elicitation::{Inquiry, Reply};
use domain::instance::AuthMethod;
use domain::limits::Limits;
use domain::plan::AgentPlan;
use domain::run::{PermissionAnswer, PermissionOption, Usage};
use domain::session::{Fork, McpServer};
use domain::walls::Standing;
use domain::{AgentId, ContainerId, RunId, SessionId};

/// The version of this protocol. A shim of another version is told so and exits.
pub const PROTOCOL: u32 = 1;

/// Where egress passes a request on to the address that [`FORWARD_TO`] names, if its operator lets
/// agents reach that.
pub const FORWARD: &str = "/v1/forward";

/// The header of a request to [`FORWARD`] that says where it is to go.
pub const FORWARD_TO: &str = "reeve-forward-to";

/// The most bytes one frame may have.
pub const MAX_FRAME: usize = 120 * 1024;

/// The most bytes the `data` of one event may have; what is longer is cut and marked.
pub const MAX_EVENT: usize = 64 * 1024;

/// The most events one report may carry.
pub const MAX_REPORT_EVENTS: usize = 256;

/// From the shim.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Up {
    /// The first frame of every connection.
    Hello(Hello),
    /// Durable events of one session.
    Report(Report),
    /// What is being said right now. Lost if nobody listens.
    Live(Live),
    /// What became of an agent's process. Said again on every connection, of every agent there is one
    /// of.
    Process(Process),
    /// A question about an agent's directories.
    Ask(keep::Ask),
    /// Still here.
    Heartbeat,
}

/// Who connects.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hello {
    /// [`PROTOCOL`].
    pub protocol: u32,
    /// The container, as its boot document says.
    pub container: ContainerId,
    /// The start of it, as its boot document says.
    pub generation: u32,
    /// The shim's version, for people.
    pub version: String,
    /// What the platform put around the container: see [`Walls::around`].
    #[serde(default)]
    pub walls: Standing,
}

/// Durable events of one session, in order.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The session.
    pub session: SessionId,
    /// The number of the first event.
    pub first: u64,
    /// The events; not empty.
    pub events: Vec<ReportEvent>,
}

/// One durable event.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReportEvent {
    /// The run it belongs to; none for what an agent says between runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<RunId>,
    /// What happened.
    pub what: What,
}

/// What happened.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum What {
    /// The agent has the prompt.
    Started {
        /// The agent's own id for the conversation.
        acp_session: String,
        /// Whether it can copy the conversation.
        #[serde(default)]
        can_fork: bool,
    },
    /// The conversation was copied for another session, before it goes on.
    Forked {
        /// The session that begins so.
        session: SessionId,
        /// The agent's own id for the copy.
        acp_session: String,
    },
    /// The agent did not copy the conversation for another session, and it goes on.
    ForkLost {
        /// The session that was to begin so.
        session: SessionId,
        /// One line about it, for people.
        why: String,
    },
    /// An ACP session update, coalesced: `kind` is its `sessionUpdate`, `data` the rest of it.
    Update {
        /// ACP's name of the variant.
        kind: String,
        /// The update without that name.
        data: Box<RawValue>,
    },
    /// The agent waits for permission: the control plane is to answer.
    Asked(PermissionRequest),
    /// The agent wants to know something from somebody: the control plane is to answer.
    Elicited(ElicitationRequest),
    /// The agent has the answer to what it waited for.
    Answered {
        /// Which request.
        request: String,
        /// ACP's outcome, as the agent got it.
        outcome: Box<RawValue>,
    },
    /// The agent has the answer to what it wanted to know.
    Replied {
        /// Which request.
        request: String,
        /// ACP's word for the answer; what was filled in is for the agent alone.
        action: String,
    },
    /// The run is over. Nothing of it follows.
    Ended(Ended),
}

/// What an agent waits for.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PermissionRequest {
    /// Its id, unique within the run.
    pub request: String,
    /// ACP's `toolCall`, as the agent sent it, with what it had told of the call before.
    pub tool_call: Box<RawValue>,
    /// The ways to answer, at most [`MAX_OPTIONS`].
    pub options: Vec<PermissionOption>,
}

/// What an agent wants to know.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ElicitationRequest {
    /// Its id, unique within the run.
    pub request: String,
    /// What the agent says to whoever is to answer.
    pub message: String,
    /// In which way it asks; checked by the shim.
    pub inquiry: Inquiry,
    /// The tool call it is about, where it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_call: Option<String>,
}

/// The most options a permission request may offer; one that offers more is answered `cancelled`.
pub const MAX_OPTIONS: usize = 32;

/// The most permission requests one run may wait for at once; more are answered `cancelled`.
pub const MAX_REQUESTS: usize = 16;

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ended {
    /// Which way.
    pub outcome: Outcome,
    /// ACP's stop reason, where the agent said one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_reason: Option<String>,
    /// The stable code of a failure, one of [`failure`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// One line about a failure, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Tokens used, as far as the agent said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// The answer, where the run has a schema: the control plane judges it again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub structured: Option<serde_json::Value>,
    /// The ways to log in that the agent offers, where it failed because it wants to be logged in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub auth_methods: Vec<AuthMethod>,
}

/// Which way a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// The agent ended its turn.
    Completed,
    /// It was stopped as asked.
    Cancelled,
    /// It could not be brought to an end.
    Failed,
}

/// The stable codes of failed runs.
pub mod failure {
    /// The agent's process ended while it had the prompt.
    pub const AGENT_EXITED: &str = "agent_exited";
    /// The agent's program could not be started.
    pub const AGENT_UNAVAILABLE: &str = "agent_unavailable";
    /// The agent did not answer `initialize` or `session/new` in time.
    pub const AGENT_SILENT: &str = "agent_silent";
    /// The agent broke the protocol.
    pub const AGENT_PROTOCOL: &str = "agent_protocol";
    /// The agent answered with an error.
    pub const AGENT_ERROR: &str = "agent_error";
    /// The agent did not go on from a copy of the conversation.
    pub const FORK_FAILED: &str = "fork_failed";
    /// The agent cannot copy a conversation.
    pub const FORK_UNSUPPORTED: &str = "fork_unsupported";
    /// The agent wants credentials it does not have.
    pub const AUTH_REQUIRED: &str = "auth_required";
    /// The run took longer than its limit.
    pub const TIMEOUT: &str = "timeout";
    /// The run used up its model calls.
    pub const TURN_LIMIT: &str = "turn_limit";
    /// The run used up its tokens.
    pub const TOKEN_LIMIT: &str = "token_limit";
    /// The model asked for the same thing again and again.
    pub const LOOP: &str = "loop";
    /// The model endpoint failed or refused.
    pub const MODEL_ERROR: &str = "model_error";
    /// No model endpoint is set up for the model asked for.
    pub const MODEL_UNAVAILABLE: &str = "model_unavailable";
    /// The agent took all the memory it may have.
    pub const MEMORY_LIMIT: &str = "memory_limit";
    /// The agent took all the processes it may have.
    pub const PROCESS_LIMIT: &str = "process_limit";
    /// A process of the agent took all the open files it may have.
    pub const FILE_LIMIT: &str = "file_limit";
    /// The agent took all the room or all the files on disk it may have.
    pub const DISK_LIMIT: &str = "disk_limit";
    /// The agent's workspace could not be fetched.
    pub const WORKSPACE_UNAVAILABLE: &str = "workspace_unavailable";
    /// The program that is run for a prompt could not be started, or did not exit with 0.
    pub const PROCESS_FAILED: &str = "process_failed";
    /// The endpoint was not reached, refused, or did not answer as it is to.
    pub const HTTP_ERROR: &str = "http_error";
    /// The operator does not let agents reach the endpoint.
    pub const EGRESS_DENIED: &str = "egress_denied";
    /// The answer was longer than one may be.
    pub const OUTPUT_LIMIT: &str = "output_limit";
    /// The answer does not fit the run's schema, also after it was sent back.
    pub const OUTPUT_INVALID: &str = "output_invalid";
    /// The container was lost while the run was in it.
    pub const CONTAINER_LOST: &str = "container_lost";
    /// The container could not be started.
    pub const CONTAINER_UNAVAILABLE: &str = "container_unavailable";
    /// The installation was stopped while the run was in flight.
    pub const INTERRUPTED: &str = "interrupted";
}

/// A piece of what is being said right now.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Live {
    /// The agent that says it.
    pub agent: AgentId,
    /// The session.
    pub session: SessionId,
    /// The run.
    pub run: RunId,
    /// `agent_message_delta` or `agent_thought_delta`.
    pub kind: String,
    /// How many characters (Unicode scalar values) of its message came before this piece. A gap to
    /// what came last is what was lost, which the durable message has.
    pub offset: u64,
    /// `{"messageId","text"}`: the message it is a piece of, and the piece.
    pub data: Box<RawValue>,
}

/// What became of an agent's process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Process {
    /// The agent.
    pub agent: AgentId,
    /// The number of the last [`ProcessCommand`] of this agent that was done before; 0 before any.
    pub asked: u32,
    /// What it is now.
    pub state: ProcessState,
    /// Why it is not there, in a line for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The ways to log in that it offers, where it wants credentials.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub auth_methods: Vec<AuthMethod>,
    /// What stands around it, as the shim found it; nothing where it is not there.
    #[serde(default)]
    pub walls: Standing,
}

/// See [`Process`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ProcessState {
    /// It takes prompts.
    Ready,
    /// It wants credentials.
    AuthRequired,
    /// It has ended.
    Exited,
    /// It could not be started.
    Failed,
}

/// To the shim.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Down {
    /// What is pending. Known ones are repeated.
    Commands(Vec<Command>),
    /// A piece of one command that no frame can hold: carried out once it is whole.
    Part(Part),
    /// Events of `session` before `next` are durable; `next` is what to send.
    Ack {
        /// The session.
        session: SessionId,
        /// The number of the next event to send.
        next: u64,
    },
    /// The answer to an [`Up::Ask`].
    Told(keep::Told),
    /// This generation is over, or the protocol is not spoken here: end everything and exit.
    Refused {
        /// A stable code.
        code: String,
    },
}

/// One thing to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Command {
    /// Give the agent a prompt. Idempotent under `run`.
    Prompt(Box<PromptCommand>),
    /// Stop a run. One that is not known ends as cancelled.
    Cancel {
        /// The session it is in flight in.
        session: SessionId,
        /// The run.
        run: RunId,
    },
    /// Give the agent the answer it waits for. Idempotent under `run` and `request`.
    Answer {
        /// The session it is in flight in.
        session: SessionId,
        /// The run.
        run: RunId,
        /// Which request.
        request: String,
        /// The answer.
        answer: PermissionAnswer,
    },
    /// Tell the agent what it wants to know. Idempotent under `run` and `request`.
    Reply {
        /// The session it is in flight in.
        session: SessionId,
        /// The run.
        run: RunId,
        /// Which request.
        request: String,
        /// The answer.
        reply: Reply,
    },
    /// Let go of a conversation: its session is closed, or deleted. One that is not known is let go of
    /// already.
    Close {
        /// The session.
        session: SessionId,
        /// What the agent is to forget besides, where the session is deleted.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        forget: Option<Forgotten>,
    },
    /// Start or end an agent's process. Idempotent under `agent` and `asked`.
    Process(Box<ProcessCommand>),
    /// End every agent and exit.
    Stop,
}

/// A conversation of which an agent is to keep nothing.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Forgotten {
    /// Whose it is.
    pub agent: AgentId,
    /// The agent's own id for it.
    pub conversation: String,
}

/// What somebody wants of an agent's process.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProcessCommand {
    /// The agent.
    pub agent: AgentId,
    /// Its number: one that is not higher than that of the last is done already.
    pub asked: u32,
    /// Whether what runs is to end.
    pub end: bool,
    /// What is to run then; none: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<AgentPlan>,
}

/// A prompt for an agent.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PromptCommand {
    /// The session.
    pub session: SessionId,
    /// The run.
    pub run: RunId,
    /// What was asked.
    pub prompt: String,
    /// The JSON Schema that the answer is to fit; none: any text will do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<serde_json::Value>,
    /// How much the agent is to think; none: as its plan says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effort: Option<Effort>,
    /// The agent to give it to.
    pub agent_id: AgentId,
    /// How it is started. A process started from another plan is replaced once it is idle.
    pub agent: AgentPlan,
    /// Where it works: a path from its workspace on, or an absolute one; none: its workspace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub working_dir: Option<String>,
    /// The MCP servers that the conversation is opened with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mcp_servers: Vec<McpServer>,
    /// What the agent is to be set to.
    #[serde(default, skip_serializing_if = "Settings::is_empty")]
    pub settings: Settings,
    /// The agent's own id for the conversation, where it has had one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acp_session: Option<String>,
    /// The session it was forked from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forked_from: Option<SessionId>,
    /// What the conversation is to begin as a copy of, where it has not begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fork: Option<Fork>,
    /// The sessions for which conversations of this one are copied before the agent gets the prompt.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub forks: Vec<ForkCommand>,
}

/// A copy to be made of a conversation. Idempotent under `session`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ForkCommand {
    /// The session that begins as the copy.
    pub session: SessionId,
    /// The agent's own id for the conversation.
    pub conversation: String,
}

/// The container's only way out, as the boot document has it: `{"unix": "/run/reeve/socket"}` or
/// `{"tcp": "egress.internal:8080"}`. Plain HTTP/1.1 is spoken on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Egress {
    /// The path of a Unix socket.
    Unix(String),
    /// Host and port.
    Tcp(String),
}

/// What the platform hands a shim at its start: JSON in a file that the shim removes once read, or in
/// the environment variable [`BOOT_VARIABLE`], which its agents do not inherit.
///
/// ```json
/// {"container": "ctr_…", "generation": 1, "token": "st_…", "egress": {"tcp": "10.0.1.7:8080"},
///  "journal": "/var/lib/reeve/journal", "workspace": "/workspace", "home": "/home/agent",
///  "agents": "/agents",
///  "orphanSeconds": 300, "heartbeatSeconds": 60, "liveMillis": 250, "reportMillis": 750}
/// ```
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Boot {
    /// The container.
    pub container: ContainerId,
    /// The start of it.
    pub generation: u32,
    /// How the shim proves itself. Never logged.
    pub token: String,
    /// The container's only way out.
    pub egress: Egress,
    /// Where the journal is kept: a directory only the shim can enter. Made where it is missing.
    pub journal: String,
    /// The working directory of the agent that has the container's ULID.
    pub workspace: String,
    /// Its home.
    pub home: String,
    /// Where every other agent has a directory, by its id, with its `workspace` and its `home`. The
    /// shim makes what is missing.
    #[serde(default = "agents")]
    pub agents: String,
    /// Seconds without a connection after which the shim ends everything and exits.
    pub orphan_seconds: u64,
    /// Seconds between two [`Up::Heartbeat`]s.
    pub heartbeat_seconds: u64,
    /// Milliseconds between two [`Live`]s of one message: what is said in between is one piece. The
    /// first piece of a message waits for nothing.
    pub live_millis: u64,
    /// Milliseconds for which a durable event that nobody waits for is kept, so that those behind it
    /// come in the same [`Report`]: for where a report costs something.
    #[serde(default)]
    pub report_millis: u64,
    /// Whether every start begins with empty directories: the shim fetches what the control plane keeps
    /// of them, and sends what became of them.
    #[serde(default)]
    pub fresh: bool,
    /// What the shim can put around an agent here.
    #[serde(default)]
    pub walls: Walls,
    /// What an agent may take.
    #[serde(default)]
    pub limits: Limits,
}

fn agents() -> String {
    "/agents".to_owned()
}

/// What a platform lets the shim put around each of its agents, beside what it always does: no new
/// privilege, no capability, and a filter of system calls.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Walls {
    /// A directory in which the shim may mount. Where there is one, each agent has process, mount,
    /// network and IPC namespaces of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mounts: Option<String>,
    /// The uid and gid of the agent, where it has another than the shim. See [`uid_of`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// What the platform itself has put around the container and all in it.
    #[serde(default)]
    pub around: Standing,
}

/// The first uid an agent may have.
pub const FIRST_UID: u32 = 0x100_0000;

/// How many uids there are for agents.
pub const UIDS: u32 = 0x100_0000;

/// The uid of an agent in every container, where agents have uids of their own. Two of a thousand
/// agents have the same in three of a hundred cases; their namespaces keep them apart.
pub fn uid_of(agent: AgentId) -> u32 {
    let [.., a, b, c] = agent.ulid().to_bytes();
    FIRST_UID + u32::from_be_bytes([0, a, b, c])
}

/// The environment variable that holds the boot document of a shim started with `--boot-env`.
pub const BOOT_VARIABLE: &str = "REEVE_BOOT";

impl std::fmt::Debug for Boot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Boot({} generation {})", self.container, self.generation)
    }
}
