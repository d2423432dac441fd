//! The walls around one agent.
//!
//! What holds here
//! - Always: no process of an agent can get a privilege, none has a capability, and a filter refuses
//!   the system calls that no agent needs ([`filter`]).
//! - Where the platform lets the shim mount ([`wire::shim::Walls::mounts`]), an agent is in process,
//!   mount, network and IPC namespaces of its own. It sees its workspace, its home, a `/tmp` of its
//!   own and the socket that is its way out; nothing of the shim's and nothing of another agent's.
//!   Whatever its processes do, they end with the first of that namespace.
//! - Where the platform has uids for agents, each has its own.
//!
//! A program of one thread stands between shim and agent: this one, started again as
//! `shim wall PROGRAM…` ([`stage`]), so that nothing has to be done between fork and exec.

mod another;
mod doorway;
mod filter;
mod found;
mod init;
mod loopback;
mod rights;
mod room;
mod scratch;
mod stage;

use std::ffi::OsStr;
use std::fs::{DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use domain::AgentId;
use domain::limits::Limits;
use serde::{Deserialize, Serialize};
use tokio::process::Command;
use wire::shim::{Boot, Egress, uid_of};

pub(crate) use another::{ANOTHER, another, is_granted};
pub(crate) use doorway::ADDRESS as DOORWAY;
pub(crate) use found::Witness;
pub(crate) use scratch::Scratch;
pub(crate) use stage::{INIT, WALL, init, wall};

/// The code with which a stage ends when it could not start the program. It has said why on stderr.
pub(crate) const UNAVAILABLE: i32 = 125;

/// How a stage learns what to do.
const VARIABLE: &str = "REEVE_WALL";

/// This program, also where its file is not visible.
pub(crate) const SELF: &str = "/proc/self/exe";

/// Where one agent lives, and what it may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The shim's paths to its workspace and home.
    pub(crate) workspace: PathBuf,
    pub(crate) home: PathBuf,
    /// The uid and gid of its processes, where they have others than the shim.
    pub(crate) uid: Option<u32>,
    pub(crate) limits: Limits,
}

impl Place {
    /// Where `agent` lives: at the container's root, where the container is its own, and else in a
    /// directory of its own, which is made where it is missing.
    pub(crate) fn of(boot: &Boot, agent: AgentId) -> io::Result<Self> {
        if agent.ulid() == boot.container.ulid() {
            return Ok(Self {
                workspace: boot.workspace.clone().into(),
                home: boot.home.clone().into(),
                uid: boot.walls.uid,
                limits: boot.limits,
            });
        }
        let uid = boot.walls.uid.map(|_| uid_of(agent));
        let directory = Path::new(&boot.agents).join(agent.to_string());
        let (workspace, home) = (directory.join("workspace"), directory.join("home"));
        for path in [&workspace, &home] {
            if !path.is_dir() {
                DirBuilder::new().recursive(true).mode(0o700).create(path)?;
                chown(path, uid, uid)?;
            }
        }
        if uid.is_some() {
            // Those who share a uid by chance are kept apart by what they see.
            std::fs::set_permissions(&directory, Permissions::from_mode(0o711))?;
        }
        Ok(Self { workspace, home, uid, limits: boot.limits })
    }
}

/// What a stage is told.
#[derive(Debug, Serialize, Deserialize)]
struct Spec {
    uid: Option<u32>,
    limits: Limits,
    /// Where the agent works, as it sees it.
    workspace: PathBuf,
    room: Option<Room>,
}

/// What an agent sees beside the container's programs.
#[derive(Debug, Serialize, Deserialize)]
struct Room {
    /// What is mounted for it: from where, to where.
    shown: Vec<(PathBuf, PathBuf)>,
    /// What of the shim's is taken out of sight.
    hidden: Vec<PathBuf>,
    /// The socket that is the way out, seen from inside.
    socket: Option<PathBuf>,
    /// Where the shim reads which namespaces these are.
    namespaces: PathBuf,
}

/// Where agents with a room of their own see their workspace and home, whichever are theirs.
const WORKSPACE: &str = "/workspace";
const HOME: &str = "/home/agent";

/// The command that starts `program` behind the walls of `place`. Arguments are added to it, and its
/// environment is the program's. `scratch` is there where agents have rooms.
pub(crate) fn command(
    boot: &Boot,
    place: &Place,
    scratch: Option<&Scratch>,
    program: impl AsRef<OsStr>,
) -> Command {
    let room = scratch.map(|scratch| Room::new(boot, place, scratch));
    let workspace = seen(place, scratch);
    let home = if room.is_some() { PathBuf::from(HOME) } else { place.home.clone() };
    let spec = Spec { uid: place.uid, limits: place.limits, workspace, room };
    let spec = serde_json::to_string(&spec).unwrap_or_else(|_| unreachable!("paths are UTF-8"));
    let mut command = Command::new(SELF);
    command.arg0("shim").arg(WALL).arg(program);
    command.env_clear().env(VARIABLE, spec).env("HOME", home).current_dir("/");
    command
}

/// The workspace of an agent, as it sees it.
pub(crate) fn seen(place: &Place, scratch: Option<&Scratch>) -> PathBuf {
    if scratch.is_some() { PathBuf::from(WORKSPACE) } else { place.workspace.clone() }
}

impl Room {
    fn new(boot: &Boot, place: &Place, scratch: &Scratch) -> Self {
        let mut shown =
            vec![(scratch.path("tmp"), "/tmp".into()), (scratch.path("shm"), "/dev/shm".into())];
        if place.uid.is_some() {
            shown.push((scratch.path("passwd"), "/etc/passwd".into()));
            shown.push((scratch.path("group"), "/etc/group".into()));
        }
        for (from, to) in [(&place.workspace, WORKSPACE), (&place.home, HOME)] {
            if from.as_os_str() != to {
                shown.push((from.clone(), to.into()));
            }
        }
        // Where other agents of the container have what is theirs is hidden with the rest.
        let mut hidden: Vec<PathBuf> = vec![boot.journal.clone().into()];
        if Path::new(&boot.agents).is_dir() {
            hidden.push(boot.agents.clone().into());
        }
        hidden.extend(boot.walls.mounts.clone().map(PathBuf::from));
        let socket = match &boot.egress {
            Egress::Unix(path) => {
                let path = PathBuf::from(path);
                // The directory that the boot document came in is replaced by one with the socket only.
                if let Some(run) = path.parent() {
                    shown.push((scratch.path("run"), run.to_owned()));
                    hidden.push(run.to_owned());
                }
                shown.push((path.clone(), path.clone()));
                Some(path)
            }
            Egress::Tcp(_) => None,
        };
        Self { shown, hidden, socket, namespaces: scratch.path(found::NAMESPACES) }
    }
}
