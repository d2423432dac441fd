//! What the tests speak of.

use std::collections::BTreeMap;

use domain::agent::{Driver, Elicitations, Permissions, RunLimits};
use domain::id::Ulid;
use domain::plan::AgentPlan;
use domain::{AgentId, ContainerId, RunId, SessionId};
use wire::shim::{Command, PromptCommand};

pub(crate) fn session(n: u128) -> SessionId {
    SessionId::new(Ulid::from_parts(1_700_000_000_000, n))
}

pub(crate) fn run(n: u128) -> RunId {
    RunId::new(Ulid::from_parts(1_700_000_000_000, n))
}

pub(crate) fn container() -> ContainerId {
    ContainerId::new(Ulid::from_parts(1_700_000_000_000, 1))
}

/// The agent whose container it is.
pub(crate) fn agent_id() -> AgentId {
    AgentId::new(Ulid::from_parts(1_700_000_000_000, 1))
}

pub(crate) fn echo() -> AgentPlan {
    AgentPlan {
        driver: Driver::Acp,
        command: Vec::new(),
        auth_method: None,
        env: BTreeMap::new(),
        url: None,
        effort: None,
        model: None,
        system_prompt: None,
        limits: RunLimits::default(),
        permissions: Permissions::ALLOW,
        elicitations: Elicitations::Ask,
    }
}

pub(crate) fn with_timeout(seconds: u32) -> AgentPlan {
    AgentPlan { limits: RunLimits { timeout_seconds: seconds, ..RunLimits::default() }, ..echo() }
}

pub(crate) fn prompt(session_number: u128, run_number: u128, text: &str) -> Command {
    prompt_to(echo(), session_number, run_number, text)
}

pub(crate) fn prompt_to(
    agent: AgentPlan,
    session_number: u128,
    run_number: u128,
    text: &str,
) -> Command {
    Command::Prompt(Box::new(PromptCommand {
        session: session(session_number),
        run: run(run_number),
        prompt: text.to_owned(),
        schema: None,
        effort: None,
        agent_id: agent_id(),
        agent,
        working_dir: None,
        mcp_servers: Vec::new(),
        settings: domain::conversation::Settings::default(),
        acp_session: None,
        forked_from: None,
        fork: None,
        forks: Vec::new(),
    }))
}

pub(crate) fn cancel(session_number: u128, run_number: u128) -> Command {
    Command::Cancel { session: session(session_number), run: run(run_number) }
}
