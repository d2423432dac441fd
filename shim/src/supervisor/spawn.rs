//! The command line and the environment of an agent's first process.
//!
//! What holds here: nothing of the shim's own environment is inherited. Where the way out is a TCP
//! address, agents of other makers find the model endpoints behind it in the variables that the
//! makers' client libraries read; the agent's own environment overrides them.

use std::process::Stdio;

use domain::agent::Driver;
use domain::plan::AgentPlan;
use serde_json::json;
use tokio::process::Command;
use wire::shim::{Boot, Egress};

use crate::process::tree::MARK;

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// In place of a credential.
const PLACEHOLDER: &str = "reeve";

/// This program, also where its file is not visible.
const SELF: &str = "/proc/self/exe";

/// The command that starts an agent by `plan`.
pub(super) fn command(boot: &Boot, plan: &AgentPlan, mark: &str) -> Command {
    let mut command = match (plan.driver, plan.command.split_first()) {
        (Driver::Acp, Some((program, arguments))) => {
            let mut command = Command::new(program);
            command.args(arguments);
            command
        }
        (Driver::Acp, None) => built_in("echo"),
        (Driver::Vanilla, _) => built_in("vanilla"),
    };
    command
        .env_clear()
        .env("PATH", PATH)
        .env("HOME", &boot.home)
        .env("LANG", "C.UTF-8")
        .env("TMPDIR", "/tmp");
    if let Egress::Tcp(address) = &boot.egress {
        // Egress has the credentials: what a client insists on sending is dropped there.
        command
            .env("OPENAI_BASE_URL", format!("http://{address}/v1"))
            .env("OPENAI_API_KEY", PLACEHOLDER)
            .env("ANTHROPIC_BASE_URL", format!("http://{address}"))
            .env("ANTHROPIC_API_KEY", PLACEHOLDER);
    }
    command
        .envs(&plan.env)
        .env(MARK, mark)
        .current_dir(&boot.workspace)
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let built_in = plan.driver == Driver::Vanilla || plan.command.is_empty();
    if built_in {
        let settings = json!({
            "model": plan.model,
            "systemPrompt": plan.system_prompt,
            "limits": plan.limits,
            "egress": (plan.driver == Driver::Vanilla).then_some(&boot.egress),
        });
        command.env("REEVE_AGENT", settings.to_string());
    }
    command
}

fn built_in(kind: &str) -> Command {
    let mut command = Command::new(SELF);
    command.arg0("shim").args(["agent", kind]);
    command
}
