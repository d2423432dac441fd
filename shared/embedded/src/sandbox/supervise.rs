//! The process that stands between `reeve` and one sandbox.
//!
//! `reeve` has many threads, so nothing of it may run between fork and exec. It starts itself again
//! as `reeve sandbox <sandbox.json>`: this file, with one thread and no runtime. The supervisor
//! makes the namespaces, starts the first process in them ([`inside`](super::inside)) and waits for
//! it. It is in its own session and is not told when `reeve` dies: that is how a sandbox outlives it.
//!
//! Everything that could be lost in a crash is tied to a process instead of to a file:
//! - before it does anything the supervisor takes a record lock on `alive`, which the kernel takes
//!   away when it dies and which tells whoever asks the holder's pid;
//! - it goes on only once `reeve`, which knows it as its child, has mapped its ids: a supervisor
//!   whose parent is gone ends here;
//! - the first process waits until its pid stands in `alive`, and dies with the supervisor.

use std::fs::File;
use std::io::{self, BufRead, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::sched::CloneFlags;
use rustix::fs::FlockOperation;
use rustix::thread::CapabilitySet;

use super::spec::{self, Failure, Said, Spec, Step};
use super::{inside, life};

/// What stands in place of a document for the first process, which reads it from its input.
const INSIDE_ARGUMENT: &str = "-";

/// What the first process needs to put the root together. What the shim keeps of it is [`KEPT`].
const SETUP: CapabilitySet = KEPT.union(CapabilitySet::SYS_RESOURCE);

/// What the shim needs to put walls around each agent. All of it is good in the sandbox's own user
/// namespace only, and no agent has any of it.
///
/// That is: namespaces and mounts; another uid; giving up for good; the loopback interface of an
/// agent's network; signals to processes of another uid, a look into their directories, and giving
/// them theirs.
pub(super) const KEPT: CapabilitySet = CapabilitySet::SYS_ADMIN
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETPCAP)
    .union(CapabilitySet::NET_ADMIN)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::CHOWN)
    .union(CapabilitySet::CHOWN)
    .union(CapabilitySet::DAC_OVERRIDE);

/// The whole of `reeve sandbox <document>`: call it before anything else, while the process has one
/// thread. Returns the code to exit with.
pub fn supervise(document: &Path) -> i32 {
    if let Err(failure) = close_inherited() {
        drop(say(&Said::Failed(failure)));
        return 1;
    }
    if document.as_os_str() == INSIDE_ARGUMENT {
        return inside::run();
    }
    match start(document) {
        Ok(code) => code,
        Err(failure) => {
            // Nobody may be listening any more, and there is no one else to tell.
            drop(say(&Said::Failed(failure)));
            1
        }
    }
}

/// Closes what whoever started `reeve` left open: it would be open in the sandbox, too.
fn close_inherited() -> Result<(), Failure> {
    let listed = std::fs::read_dir("/proc/self/fd")
        .map_err(Failure::of(Step::Supervise, "listing descriptors"))?;
    let numbers: Vec<i32> = listed
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|number| *number > 2)
        .collect();
    for number in numbers {
        // The one that listed them is closed already.
        let _ = nix::unistd::close(number);
    }
    Ok(())
}

fn start(document: &Path) -> Result<i32, Failure> {
    let setup =
        |what: &'static str| move |error: io::Error| Failure::of(Step::Supervise, what)(error);
    let spec = spec::read(document).map_err(setup("its document"))?;
    rustix::process::setsid().map_err(Failure::of(Step::Supervise, "a session of its own"))?;
    // Not created here: a supervisor that nobody waits for must not put anything into a directory
    // that is being removed.
    let alive = File::options()
        .write(true)
        .open(spec.dir.join(life::ALIVE))
        .map_err(setup("the lock file"))?;
    // Never opened again in this process: closing any descriptor of it would drop the lock.
    rustix::fs::fcntl_lock(&alive, FlockOperation::NonBlockingLockExclusive)
        .map_err(Failure::of(Step::Supervise, "another supervisor is alive"))?;
    spec.groups.enter().map_err(setup("its control groups"))?;
    // The working directory comes along into the new mount namespace, and with it the way to the
    // data directory, through parents which the sandbox's own uid may not enter.
    std::env::set_current_dir(&spec.data).map_err(setup("the data directory"))?;
    enter()?;
    let mut child = first_process(&spec, &alive)?;
    // Where whoever asked for it is gone, the next one finds it by the lock: the shim may have been
    // heard of already, and what it was given is not to be lost.
    drop(say(&Said::Started));
    let status = child.wait().map_err(setup("waiting for the first process"))?;
    Ok(i32::from(!status.success()))
}

/// Goes into new namespaces of every kind, with ids mapped by the parent.
fn enter() -> Result<(), Failure> {
    if rustix::process::geteuid().is_root() {
        // Groups outside the mapping would come along otherwise. An ordinary user may not drop them.
        rustix::thread::set_thread_groups(&[])
            .map_err(Failure::of(Step::Namespaces, "dropping groups"))?;
    }
    nix::sched::unshare(
        CloneFlags::CLONE_NEWUSER
            | CloneFlags::CLONE_NEWNS
            | CloneFlags::CLONE_NEWPID
            | CloneFlags::CLONE_NEWNET
            | CloneFlags::CLONE_NEWIPC
            | CloneFlags::CLONE_NEWUTS
            | CloneFlags::CLONE_NEWCGROUP,
    )
    .map_err(Failure::of(Step::Namespaces, "making namespaces"))?;
    say(&Said::Map).map_err(Failure::of(Step::Supervise, "asking for a mapping"))?;
    let mut answer = [0];
    io::stdin()
        .read_exact(&mut answer)
        .map_err(Failure::of(Step::Supervise, "waiting for a mapping"))?;
    // No uid of the namespace is root, so exec would take every capability but the ambient ones.
    let capabilities = |what| Failure::of(Step::Namespaces, what);
    let mut sets =
        rustix::thread::capabilities(None).map_err(capabilities("reading capabilities"))?;
    sets.inheritable = SETUP;
    rustix::thread::set_capabilities(None, sets).map_err(capabilities("keeping capabilities"))?;
    for capability in SETUP.iter() {
        rustix::thread::configure_capability_in_ambient_set(capability, true)
            .map_err(Failure::of(Step::Namespaces, "keeping capabilities"))?;
    }
    Ok(())
}

/// Starts the first process and returns once it has become the program.
fn first_process(spec: &Spec, alive: &File) -> Result<Child, Failure> {
    let at = |what: &'static str| move |error: io::Error| Failure::of(Step::Supervise, what)(error);
    let mut child = Command::new("/proc/self/exe")
        .args(["sandbox", INSIDE_ARGUMENT])
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(at("starting the first process"))?;
    let result = (|| {
        let record = life::Process::of(child.id()).map_err(at("finding the first process"))?;
        alive.write_all_at(record.to_string().as_bytes(), 0).map_err(at("the lock file"))?;
        let mut line =
            serde_json::to_vec(spec).map_err(io::Error::from).map_err(at("its document"))?;
        line.push(b'\n');
        // Kept open: the first process sees by it that its supervisor lives.
        let input = child.stdin.as_mut().ok_or_else(|| io::Error::other("no pipe"));
        input.and_then(|pipe| pipe.write_all(&line)).map_err(at("handing over the document"))?;
        let mut failure = Vec::new();
        let output = child.stdout.take().ok_or_else(|| io::Error::other("no pipe"));
        output
            .and_then(|mut pipe| pipe.read_to_end(&mut failure))
            .map_err(at("hearing of the first process"))?;
        if failure.is_empty() {
            return Ok(());
        }
        Err(serde_json::from_slice(&failure)
            .map_err(io::Error::from)
            .map_err(at("understanding the first process"))?)
    })();
    match result {
        Ok(()) => Ok(child),
        Err(failure) => {
            // It may be gone already; either way it is reaped and nothing of it stays.
            drop(child.kill());
            drop(child.wait());
            Err(failure)
        }
    }
}

fn say(said: &Said) -> io::Result<()> {
    let mut line = serde_json::to_vec(said)?;
    line.push(b'\n');
    let mut out = io::stdout().lock();
    out.write_all(&line)?;
    out.flush()
}

/// Reads the document that the supervisor hands to the first process.
pub(super) fn receive() -> io::Result<Spec> {
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    Ok(serde_json::from_str(&line)?)
}
