//! What an agent sees: the container's programs, and what is its own.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{
    MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags,
};

use super::Room;
use super::stage::{Failure, at};

/// Puts the room together in this process's own mount namespace.
pub(super) fn furnish(room: &Room) -> Result<(), Failure> {
    rustix::mount::mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE)
        .map_err(at("private mounts"))?;
    // Opened while it can still be found.
    let mut trees: Vec<(OwnedFd, &PathBuf)> = Vec::new();
    for (from, to) in &room.shown {
        trees.push((open(from)?, to));
    }
    for path in &room.hidden {
        match rustix::mount::unmount(path, UnmountFlags::DETACH) {
            // It was taken away with what it is in.
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(at("hiding what is the shim's")(error)),
        }
    }
    for (tree, to) in trees {
        show(&tree, to)?;
    }
    // The namespace's own processes. What it covers stays covered: nobody here may unmount.
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    rustix::mount::mount("proc", "/proc", "proc", flags, None).map_err(at("/proc"))
}

fn open(path: &Path) -> Result<OwnedFd, Failure> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE;
    rustix::mount::open_tree(CWD, path, flags).map_err(at("opening what is the agent's"))
}

fn show(tree: &OwnedFd, to: &Path) -> Result<(), Failure> {
    rustix::mount::move_mount(tree, "", CWD, to, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .map_err(at("mounting what is the agent's"))
}
