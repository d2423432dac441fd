//! The command line and the environment of an agent's first process.
//!
//! What holds here: nothing of the shim's own environment is inherited, and the agent is behind its
//! [`walls`]. Agents of other makers find the model endpoints behind the way out in the variables
//! that the makers' client libraries read; the agent's own environment overrides them.

use std::path::Path;
use std::process::Stdio;

use domain::agent::Driver;
use domain::plan::AgentPlan;
use serde_json::json;
use tokio::process::Command;
use wire::shim::{Boot, Egress};

use crate::process::tree::MARK;
use crate::process::walls::{self, Place, SELF, Scratch};

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// In place of a credential.
const PLACEHOLDER: &str = "reeve";

/// The command that starts an agent by `plan` in `place`.
pub(super) fn command(
    boot: &Boot,
    plan: &AgentPlan,
    mark: &str,
    place: &Place,
    scratch: Option<&Scratch>,
) -> Command {
    let behind_walls = |program: &str| walls::command(boot, place, scratch, program);
    let built_in = |kind: &str| {
        let mut command = behind_walls(SELF);
        command.args(["agent", kind]);
        command
    };
    let mut command = match (plan.driver, plan.command.split_first()) {
        (Driver::Acp, Some((program, arguments))) => {
            let mut command = behind_walls(program);
            command.args(arguments);
            command
        }
        (Driver::Acp, None) => built_in("echo"),
        (Driver::Vanilla, _) => built_in("vanilla"),
        (Driver::Process, _) => built_in("process"),
        (Driver::Http, _) => built_in("http"),
    };
    command.env("PATH", path(plan)).env("LANG", "C.UTF-8").env("TMPDIR", "/tmp");
    // Some let root do nothing, unless it is contained: it is.
    command.env("IS_SANDBOX", "1");
    let address = match &boot.egress {
        Egress::Tcp(address) => Some(address.as_str()),
        // Behind a door of the agent's own, where it has a room with one.
        Egress::Unix(_) => scratch.map(|_| walls::DOORWAY),
    };
    if let Some(address) = address {
        // Egress has the credentials: what a client insists on sending is dropped there.
        command
            .env("OPENAI_BASE_URL", format!("http://{address}/v1"))
            .env("OPENAI_API_KEY", PLACEHOLDER)
            .env("ANTHROPIC_BASE_URL", format!("http://{address}"))
            .env("ANTHROPIC_API_KEY", PLACEHOLDER)
            .env("GOOGLE_GEMINI_BASE_URL", format!("http://{address}"))
            .env("GEMINI_API_KEY", PLACEHOLDER);
    }
    command
        .envs(&plan.env)
        .env(MARK, mark)
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let built_in = plan.driver != Driver::Acp || plan.command.is_empty();
    if built_in {
        let settings = json!({
            "command": plan.command,
            "url": plan.url,
            "model": plan.model,
            "systemPrompt": plan.system_prompt,
            "limits": plan.limits,
            "egress": matches!(plan.driver, Driver::Vanilla | Driver::Http)
                .then_some(&boot.egress),
        });
        command.env("REEVE_AGENT", settings.to_string());
    }
    command
}

/// Where its programs are looked for: first beside it, where npm has installed it, as npm has it.
fn path(plan: &AgentPlan) -> String {
    let beside = plan.command.first().and_then(|program| Path::new(program).parent());
    match beside.filter(|beside| beside.is_absolute() && beside.ends_with("node_modules/.bin")) {
        Some(beside) => format!("{}:{PATH}", beside.display()),
        None => PATH.to_owned(),
    }
}
