//! The first process of an agent's namespace: furnishes the room, starts the agent in it, reaps what
//! is left alone, and ends when the agent does. Everything in the room ends with it.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;

use rustix::process::{DumpableBehavior, Pid, WaitOptions, wait};

use super::stage::{self, Failure, at};
use super::{Spec, doorway, found, loopback, rights, room};
use crate::boot::note;

pub(super) fn run(spec: &Spec, arguments: impl Iterator<Item = OsString>) -> Result<i32, Failure> {
    stage::die_with_parent()?;
    // What is blocked stays so in whoever is started.
    stage::asked_to_end().thread_unblock().map_err(at("signals"))?;
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(at("keeping the agent out"))?;
    let mut door = None;
    if let Some(room) = &spec.room {
        found::testify(&room.namespaces).map_err(at("telling of namespaces"))?;
        room::furnish(room)?;
        loopback::up().map_err(at("the loopback interface"))?;
        door = room.socket.as_deref().map(doorway::Doorway::open).transpose()?;
    }
    let (program, mut command) = stage::program(arguments)?;
    std::env::set_current_dir(&spec.workspace).map_err(at("the workspace"))?;
    rights::give_up(spec)?;
    // A change of uid has taken it away.
    stage::die_with_parent()?;
    let agent = match command.process_group(0).spawn() {
        Ok(child) => Pid::from_child(&child),
        Err(error) => {
            note(&format!("{}: {error}", program.display()));
            return Ok(super::UNAVAILABLE);
        }
    };
    stage::let_go_of_streams()?;
    if let Some(door) = door {
        door.serve();
    }
    loop {
        match wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if pid == agent => {
                return Ok(stage::code(status.exit_status(), status.terminating_signal()));
            }
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(at("waiting for the agent")(error)),
        }
    }
}
