//! The process inside every container: starts agents, speaks ACP to them, tells the control plane.
//!
//! What holds here
//! - One way out: the WebSocket of [`link`], dialled by the [`egress`] of the boot
//!   document. The shim listens on nothing.
//! - Events are numbered and on disk ([`report`]) before they are sent, and leave the disk when they
//!   are acknowledged. Memory is bounded whatever an agent says: who talks too fast is not read.
//! - Whatever drives an agent, its process speaks ACP on its standard streams: the built-in
//!   [`agent`]s are this same program, started again.
//! - One thread. State is shared by `Rc` and never borrowed across an `await`.
//!
//! Deliberately absent: TLS, credentials of models, any decision about what an agent may reach. All
//! of that is on the other side of egress.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

mod acp;
mod agent;
mod boot;
mod egress;
mod keep;
mod link;
mod process;
mod report;
mod supervisor;
mod time;

use process::walls;

fn main() -> ExitCode {
    // Between the shim and an agent: before anything else is set up.
    let mut arguments = std::env::args_os().skip(1);
    match arguments.next().as_ref().and_then(|verb| verb.to_str()) {
        Some(walls::WALL) => return code(walls::wall(arguments)),
        Some(walls::INIT) => return code(walls::init(arguments)),
        Some(walls::ANOTHER) => return code(walls::another()),
        Some(_) | None => {}
    }
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        return ExitCode::FAILURE;
    };
    let local = tokio::task::LocalSet::new();
    let mut arguments = std::env::args_os().skip(1);
    let verb = arguments.next();
    let code = match verb.as_ref().and_then(|verb| verb.to_str()) {
        Some("--boot-env") => {
            boot::harden();
            local.block_on(&runtime, supervise(boot::from_environment(), arguments))
        }
        Some("--boot") if let Some(path) = arguments.next() => {
            boot::harden();
            local.block_on(&runtime, supervise(boot::read(Path::new(&path)), arguments))
        }
        Some("agent") if let Some(kind) = arguments.next() => {
            local.block_on(&runtime, agent::serve(kind.to_str().unwrap_or_default()))
        }
        _ => {
            boot::note("usage: shim --boot PATH | shim --boot-env | shim agent KIND");
            ExitCode::FAILURE
        }
    };
    // A model call or a walk through files may sit in a blocking thread: nobody waits for it.
    runtime.shutdown_background();
    code
}

fn code(code: i32) -> ExitCode {
    ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX))
}

async fn supervise(
    boot: Result<wire::shim::Boot, String>,
    arguments: impl Iterator<Item = OsString>,
) -> ExitCode {
    match boot {
        Ok(boot) => {
            if let Some(lack) = boot::lacks(&boot) {
                boot::note(&lack);
                return ExitCode::FAILURE;
            }
            supervisor::run(boot, supervisor::Timing::from_arguments(arguments)).await
        }
        Err(reason) => {
            boot::note(&format!("the boot document is unusable: {reason}"));
            ExitCode::FAILURE
        }
    }
}
