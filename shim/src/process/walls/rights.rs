//! Giving up, for good, what an agent must not have.

use rustix::io::Errno;
use rustix::process::{Gid, Pid, Resource, Rlimit, Uid};
use rustix::thread::{CapabilitySet, CapabilitySets};

use super::stage::{Failure, at};
use super::{Spec, filter};

/// How many more processes the kernel allows than the agent may have: who comes so far is seen and
/// stopped, and who has the same uid is not kept from starting one.
const HEADROOM: u64 = 64;

/// Becomes who the agent is, with its limits and without any right. Nothing after it needs one.
pub(super) fn give_up(spec: &Spec) -> Result<(), Failure> {
    limit(spec)?;
    // Who shares `/tmp` with agents of other uids leaves nothing there for them to read.
    let shares = spec.room.is_none() && spec.uid.is_some();
    let mask = if shares { 0o077 } else { 0o022 };
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(mask));
    // Another uid than root's may not do it any more.
    drop_bounding_set()?;
    if let Some(id) = spec.uid {
        become_id(id)?;
    }
    rustix::thread::set_no_new_privs(true).map_err(at("no new privileges"))?;
    drop_capabilities()?;
    filter::install()
}

/// Where memory is out, the kernel is to end an agent, not the shim or anybody else. Whatever this
/// process starts inherits it.
pub(super) fn go_first() -> Result<(), Failure> {
    match std::fs::write("/proc/self/oom_score_adj", "500") {
        // Where it may not be said, the kernel takes the largest.
        Err(error)
            if matches!(
                error.kind(),
                std::io::ErrorKind::ReadOnlyFilesystem | std::io::ErrorKind::PermissionDenied
            ) =>
        {
            Ok(())
        }
        other => other.map_err(at("offering to go first")),
    }
}

fn limit(spec: &Spec) -> Result<(), Failure> {
    let limits = &spec.limits;
    for (resource, most) in [
        (Resource::Nofile, limits.files),
        (Resource::Nproc, limits.processes + HEADROOM),
        (Resource::Fsize, limits.disk),
        (Resource::Core, 0),
        (Resource::Memlock, 64 << 10),
    ] {
        let most = rustix::process::getrlimit(resource).maximum.map_or(most, |now| now.min(most));
        let limit = Rlimit { current: Some(most), maximum: Some(most) };
        rustix::process::setrlimit(resource, limit).map_err(at("a limit"))?;
    }
    Ok(())
}

fn become_id(id: u32) -> Result<(), Failure> {
    match rustix::thread::set_thread_groups(&[]) {
        // In a namespace where nobody may change groups, they were given up before it was made.
        Ok(()) | Err(Errno::PERM) => {}
        Err(error) => return Err(at("dropping groups")(error)),
    }
    let (uid, gid) = (Uid::from_raw(id), Gid::from_raw(id));
    rustix::thread::set_thread_res_gid(gid, gid, gid).map_err(at("changing the group"))?;
    rustix::thread::set_thread_res_uid(uid, uid, uid).map_err(at("changing the user"))
}

/// Lets no program give a capability back.
fn drop_bounding_set() -> Result<(), Failure> {
    for bit in 0..u64::BITS {
        let capability = CapabilitySet::from_bits_retain(1 << bit);
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            // The first number that is no capability of this kernel; or nothing may be taken out, and
            // then nothing is got either: there are no new privileges.
            Err(Errno::INVAL | Errno::PERM) => break,
            other => other.map_err(at("the bounding set"))?,
        }
    }
    Ok(())
}

/// Has no capability any more, and gets none.
pub(super) fn drop_capabilities() -> Result<(), Failure> {
    drop_bounding_set()?;
    rustix::thread::clear_ambient_capability_set().map_err(at("ambient capabilities"))?;
    let none = CapabilitySet::empty();
    let sets = CapabilitySets { effective: none, permitted: none, inheritable: none };
    rustix::thread::set_capabilities(None::<Pid>, sets).map_err(at("capabilities"))
}
