//! Whether the kernel would start one process more for an agent.
//!
//! Nothing else says it: who may start no more is refused by its uid's limit, by a control group of its
//! container or by the machine, and only one of these counts for others to see how often. So it is
//! tried, as the agent, by a program that does nothing else.

use std::process::Stdio;
use std::time::Duration;

use rustix::io::Errno;
use tokio::process::Command;
use tokio::time::timeout;

use super::stage::{self, Failure, at};
use super::{Place, SELF, Spec, VARIABLE, rights};
use crate::process::Children;

/// The first argument of the program that tries.
pub(crate) const ANOTHER: &str = "another";

/// Its code where it was refused.
const REFUSED: i32 = 75;

/// How long it may take. On a busy machine nothing may be known.
const PATIENCE: Duration = Duration::from_secs(2);

/// The whole of `shim another`: becomes who the agent is and starts a thread, which counts as a process.
pub(crate) fn another() -> i32 {
    stage::finish(stage::read().and_then(|spec| attempt(&spec)))
}

fn attempt(spec: &Spec) -> Result<i32, Failure> {
    rights::give_up(spec)?;
    match std::thread::Builder::new().spawn(|| ()) {
        Ok(thread) => {
            // It has nothing to panic over.
            thread.join().unwrap_or_default();
            Ok(0)
        }
        Err(error) if is_refusal(&error) => Ok(REFUSED),
        Err(error) => Err(at("starting a thread")(error)),
    }
}

fn is_refusal(error: &std::io::Error) -> bool {
    Errno::from_io_error(error) == Some(Errno::AGAIN)
}

/// Whether who lives in `place` is started another process now; none where that is not known.
pub(crate) async fn is_granted(place: &Place, children: &Children) -> Option<bool> {
    let Place { workspace, uid, limits, home: _ } = place.clone();
    let spec = Spec { uid, limits, workspace, room: None };
    let spec = serde_json::to_string(&spec).unwrap_or_else(|_| unreachable!("paths are UTF-8"));
    let mut command = Command::new(SELF);
    command.arg0("shim").arg(ANOTHER).env_clear().env(VARIABLE, spec).current_dir("/");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => return is_refusal(&error).then_some(false),
    };
    let _aside = children.aside(child.id()?);
    let status = timeout(PATIENCE, child.wait()).await.ok()?.ok()?;
    match status.code()? {
        0 => Some(true),
        REFUSED => Some(false),
        _ => None,
    }
}
