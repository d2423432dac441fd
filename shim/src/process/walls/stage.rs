//! Between the shim and an agent's program.
//!
//! Without a room, [`wall`] gives up what there is to give up and becomes the program. With one, it
//! goes on living: as the parent of the namespace's first process ([`init`]), it ends as that ends,
//! and that ends with it.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus};

use nix::sched::CloneFlags;
use nix::sys::signal::{SigSet, Signal as Blocked};
use rustix::process::{Signal, getpid, kill_process};

use super::{SELF, Spec, UNAVAILABLE, VARIABLE, rights};
use crate::boot::note;

/// The first argument of a stage.
pub(crate) const WALL: &str = "wall";
/// The first argument of the first process of a room.
pub(crate) const INIT: &str = "init";

/// What failed, and how.
pub(super) type Failure = (&'static str, io::Error);

/// Names what failed, for `map_err`.
pub(super) fn at<E: Into<io::Error>>(what: &'static str) -> impl FnOnce(E) -> Failure {
    move |error| (what, error.into())
}

/// The whole of `shim wall PROGRAM ARGUMENTS…`.
pub(crate) fn wall(arguments: impl Iterator<Item = OsString>) -> i32 {
    finish(raise(arguments))
}

/// The whole of `shim init PROGRAM ARGUMENTS…`.
pub(crate) fn init(arguments: impl Iterator<Item = OsString>) -> i32 {
    finish(read().and_then(|spec| super::init::run(&spec, arguments)))
}

/// The code of a stage; why it failed is said.
pub(super) fn finish(outcome: Result<i32, Failure>) -> i32 {
    outcome.unwrap_or_else(|(what, error)| {
        note(&format!("{what}: {error}"));
        UNAVAILABLE
    })
}

/// What a stage is told.
#[expect(clippy::disallowed_methods, reason = "this is where a process starts")]
pub(super) fn read() -> Result<Spec, Failure> {
    let text = std::env::var(VARIABLE).map_err(io::Error::other);
    let spec = text.and_then(|text| serde_json::from_str(&text).map_err(io::Error::from));
    spec.map_err(at("what to start"))
}

/// The program to start.
pub(super) fn program(
    mut arguments: impl Iterator<Item = OsString>,
) -> Result<(OsString, Command), Failure> {
    let program = arguments.next().ok_or_else(|| io::Error::other("no program"));
    let program = program.map_err(at("what to start"))?;
    let mut command = Command::new(&program);
    if program == SELF {
        command.arg0("shim");
    }
    command.args(arguments).env_remove(VARIABLE);
    Ok((program, command))
}

fn raise(arguments: impl Iterator<Item = OsString>) -> Result<i32, Failure> {
    let spec = read()?;
    rights::go_first()?;
    if spec.room.is_none() {
        let (program, mut command) = program(arguments)?;
        std::env::set_current_dir(&spec.workspace).map_err(at("the workspace"))?;
        rights::give_up(&spec)?;
        let error = command.exec();
        note(&format!("{}: {error}", program.display()));
        return Ok(UNAVAILABLE);
    }
    // They are for the agent.
    asked_to_end().thread_block().map_err(at("signals"))?;
    die_with_parent()?;
    nix::sched::unshare(
        CloneFlags::CLONE_NEWPID
            | CloneFlags::CLONE_NEWNS
            | CloneFlags::CLONE_NEWNET
            | CloneFlags::CLONE_NEWIPC,
    )
    .map_err(at("making namespaces"))?;
    let mut first = Command::new(SELF)
        .arg0("shim")
        .arg(INIT)
        .args(arguments)
        .spawn()
        .map_err(at("starting the first process"))?;
    rights::drop_capabilities()?;
    let_go_of_streams()?;
    let status = first.wait().map_err(at("waiting for the first process"))?;
    Ok(end_like(status))
}

/// By what a process is asked to end. The first one of a namespace is not, unless it listens.
pub(super) fn asked_to_end() -> SigSet {
    [Blocked::SIGTERM, Blocked::SIGINT, Blocked::SIGHUP].into_iter().collect()
}

/// Ends this process with its parent.
pub(super) fn die_with_parent() -> Result<(), Failure> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(at("dying with the parent"))
}

/// Leaves the streams to the agent alone, so that who reads hears when the agent closes them.
pub(super) fn let_go_of_streams() -> Result<(), Failure> {
    let nothing = std::fs::File::options()
        .read(true)
        .write(true)
        .open("/dev/null")
        .map_err(at("/dev/null"))?;
    rustix::stdio::dup2_stdin(&nothing)
        .and_then(|()| rustix::stdio::dup2_stdout(&nothing))
        .and_then(|()| rustix::stdio::dup2_stderr(&nothing))
        .map_err(at("the streams"))
}

/// The code that says of a program how it ended, as shells say it.
pub(super) fn code(status: Option<i32>, signal: Option<i32>) -> i32 {
    signal.map_or_else(|| status.unwrap_or(UNAVAILABLE), |signal| 128 + signal)
}

/// Ends this process as the other has ended, or returns the code to end with.
fn end_like(status: ExitStatus) -> i32 {
    let code = code(status.code(), status.signal());
    if let Some(signal) = Signal::from_named_raw(code - 128) {
        // Blocked or without effect: then the code says it.
        kill_process(getpid(), signal).unwrap_or_default();
    }
    code
}
