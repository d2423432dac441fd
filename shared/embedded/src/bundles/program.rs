//! Runs an installer of this machine: with an environment of its own and a time it may take.

use std::path::Path;
use std::process::Stdio;

use app::ports::MakeError;
use tokio::process::Command;

use super::{Config, passing};

/// Runs `program`, which is found in the configured `PATH`, in `dir`.
pub(super) async fn run(
    config: &Config,
    dir: &Path,
    program: &str,
    args: &[&str],
    env: &[(&str, &str)],
) -> Result<(), MakeError> {
    let path = config.environment.get("PATH").map_or("", String::as_str);
    let found = path.split(':').map(|dir| Path::new(dir).join(program)).find(|at| at.is_file());
    let Some(found) = found else {
        let detail = format!(
            "{program} is not installed on this machine: install it, or take another distribution"
        );
        return Err(MakeError::failed("no_installer", detail));
    };
    let mut command = Command::new(found);
    command.args(args).current_dir(dir).env_clear().envs(&config.environment);
    command.env("HOME", dir).envs(env.iter().copied());
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    let done = tokio::time::timeout(config.limits.time, command.output()).await;
    let done = done.map_err(|_| passing(format!("{program} took too long")))?.map_err(passing)?;
    if done.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&done.stderr);
    // The last lines say why; those before them what was done.
    let lines: Vec<&str> = said.lines().filter(|line| !line.trim().is_empty()).collect();
    let last = lines[lines.len().saturating_sub(6)..].join("; ");
    let detail: String = format!("{program}: {last}").chars().take(1000).collect();
    if ["ETIMEDOUT", "ECONNRESET", "ECONNREFUSED", "EAI_AGAIN", "Max retries"]
        .iter()
        .any(|code| said.contains(code))
    {
        return Err(MakeError::Passing(detail));
    }
    Err(MakeError::failed("install_failed", detail))
}
