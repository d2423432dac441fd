//! The first process of a sandbox, until it becomes the shim.
//!
//! It starts in new namespaces with the host's files still in sight, and does in this order: opens
//! what is to be mounted, becomes the sandbox's uid, puts a root together on a tmpfs, leaves the
//! host's root, gives up for good what the shim has no use for, and executes the shim. What fails is
//! said on standard output, which closes when the shim begins.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, Resource, Rlimit, Signal};
use rustix::thread::{CapabilitySet, CapabilitySets};

use super::root::{self, Sources};
use super::spec::{Failure, INSIDE, Step};
use super::supervise;

/// The name every sandbox has for itself.
pub(super) const HOSTNAME: &str = "reeve";

pub(super) fn run() -> i32 {
    // Two of them: one says what failed and closes with exec, the other is standard output itself.
    let report = match rustix::io::fcntl_dupfd_cloexec(io::stdout(), 3) {
        Ok(report) => std::fs::File::from(report),
        Err(_) => return 1,
    };
    let failure = match become_shim() {
        Ok(()) => return 0,
        Err(failure) => failure,
    };
    // The supervisor may be gone; then this process is ending too.
    drop(serde_json::to_writer(&report, &failure));
    1
}

fn become_shim() -> Result<(), Failure> {
    die_with_supervisor()?;
    let spec = supervise::receive().map_err(Failure::of(Step::Supervise, "the document"))?;
    rustix::system::sethostname(HOSTNAME.as_bytes())
        .map_err(Failure::of(Step::Namespaces, "the host name"))?;
    forbid_namespaces()?;
    root::detach_from_host()?;
    let sources = Sources::open(&spec)?;
    become_inside()?;
    root::assemble(&sources)?;
    if spec.place.is_none() {
        return Ok(());
    }
    confine()?;
    // A change of uid took the death signal away.
    die_with_supervisor()?;
    Err(Failure::of(Step::Program, "starting the shim")(execute()))
}

/// Ends this process with its supervisor, and at once if that is gone already.
fn die_with_supervisor() -> Result<(), Failure> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(Failure::of(Step::Program, "dying with the supervisor"))?;
    let input = io::stdin();
    let mut polled = [PollFd::new(&input, PollFlags::empty())];
    rustix::event::poll(&mut polled, Some(&Timespec::default()))
        .map_err(Failure::of(Step::Program, "looking for the supervisor"))?;
    if polled[0].revents().contains(PollFlags::HUP) {
        return Err(Failure::of(Step::Program, "the supervisor")(io::Error::other("is gone")));
    }
    Ok(())
}

/// Lets nothing in the sandbox make user namespaces of its own: in them it would have capabilities
/// again, and with them most of the kernel that no sandbox needs to reach.
fn forbid_namespaces() -> Result<(), Failure> {
    // This setting exists once per user namespace: the host's stays.
    match std::fs::write("/proc/sys/user/max_user_namespaces", "0") {
        // Inside another container, which has its own opinion of what may be reached.
        Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => Ok(()),
        other => other.map_err(Failure::of(Step::Namespaces, "forbidding namespaces")),
    }
}

/// Becomes the shim's uid. Capabilities stay: no uid of the sandbox is root.
fn become_inside() -> Result<(), Failure> {
    let (uid, gid) =
        (rustix::process::Uid::from_raw(INSIDE), rustix::process::Gid::from_raw(INSIDE));
    rustix::thread::set_thread_res_gid(gid, gid, gid)
        .map_err(Failure::of(Step::Namespaces, "changing the group"))?;
    rustix::thread::set_thread_res_uid(uid, uid, uid)
        .map_err(Failure::of(Step::Namespaces, "changing the user"))
}

/// Gives up what could ever give more than the shim keeps to put walls around its agents.
fn confine() -> Result<(), Failure> {
    let confine = |what| Failure::of::<rustix::io::Errno>(Step::Program, what);
    rustix::process::setsid().map_err(confine("a session"))?;
    for (resource, most) in [
        (Resource::Nofile, 4096),
        (Resource::Core, 0),
        (Resource::Nproc, 4096),
        (Resource::Memlock, 64 << 10),
    ] {
        let most = rustix::process::getrlimit(resource).maximum.map_or(most, |now| now.min(most));
        let limit = Rlimit { current: Some(most), maximum: Some(most) };
        rustix::process::setrlimit(resource, limit).map_err(confine("a limit"))?;
    }
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    rustix::thread::set_no_new_privs(true).map_err(confine("no new privileges"))?;
    for bit in 0..u64::BITS {
        let capability = CapabilitySet::from_bits_retain(1 << bit);
        if supervise::KEPT.contains(capability) {
            continue;
        }
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            // The first number that is no capability of this kernel.
            Err(rustix::io::Errno::INVAL) => break,
            other => other.map_err(confine("the bounding set"))?,
        }
    }
    rustix::thread::clear_ambient_capability_set().map_err(confine("ambient capabilities"))?;
    let kept = supervise::KEPT;
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: kept };
    rustix::thread::set_capabilities(None::<Pid>, sets).map_err(confine("capabilities"))?;
    for capability in kept.iter() {
        rustix::thread::configure_capability_in_ambient_set(capability, true)
            .map_err(confine("keeping capabilities"))?;
    }
    Ok(())
}

/// Becomes the shim; returns only why not.
fn execute() -> io::Error {
    let log: OwnedFd = match rustix::io::fcntl_dupfd_cloexec(io::stderr(), 3) {
        Ok(log) => log,
        Err(error) => return error.into(),
    };
    let mut command = Command::new(root::SHIM);
    command
        .args(["--boot", root::BOOT])
        .current_dir(root::WORKSPACE)
        .env_clear()
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .env("HOME", root::HOME)
        .env("USER", "agent")
        .env("LANG", "C.UTF-8")
        .stdin(Stdio::null())
        .stdout(Stdio::from(log));
    command.exec()
}
