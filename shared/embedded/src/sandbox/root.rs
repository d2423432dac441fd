//! What a sandbox sees as its root: the host's programs read-only, its agent's directories, and
//! nothing else of the host.

use std::collections::BTreeSet;
use std::ffi::CStr;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType};
use rustix::io::Errno;
use rustix::mount::{
    MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags,
};

use super::spec::{Failure, INSIDE, Spec, Step};

pub(super) const SHIM: &str = "/reeve/shim";
pub(super) const RUN: &str = "/run/reeve";
pub(super) const BOOT: &str = "/run/reeve/boot.json";
pub(super) const JOURNAL: &str = "/run/journal";
/// Where the shim mounts what its agents have in memory.
pub(super) const MOUNTS: &str = "/run/agents";
/// Where the shim sees how many processes the kernel has ended because memory was out.
pub(super) const KILLED: &str = "/run/agents/killed";
/// Where the workspaces and homes of agents are that are in a container of no one of them.
pub(super) const AGENTS: &str = "/agents";
pub(super) const WORKSPACE: &str = "/workspace";
pub(super) const HOME: &str = "/home/agent";

/// Where the root is put together: a directory that every host has, covered in our namespace only.
const STAGE: &str = "/tmp";

/// Programs and libraries. A symlink among them stays one.
pub(super) const SYSTEM: [&str; 6] = ["usr", "bin", "sbin", "lib", "lib32", "lib64"];

/// What of `/etc` programs need and says nothing about this host or its users.
const ETC: [&str; 11] = [
    "etc/alternatives",
    "etc/ca-certificates",
    "etc/ld.so.cache",
    "etc/localtime",
    "etc/mime.types",
    "etc/pki/ca-trust/extracted",
    "etc/pki/tls/certs",
    "etc/protocols",
    "etc/services",
    "etc/ssl/certs",
    "etc/ssl/openssl.cnf",
];

const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

/// What may be done in a mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    /// Read and execute.
    ReadOnly,
    /// Write, too.
    Writable,
    /// Use as the device it is.
    Device,
}

impl Access {
    fn flags(self) -> MountFlags {
        match self {
            Self::ReadOnly => MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV,
            Self::Writable => MountFlags::NOSUID | MountFlags::NODEV,
            Self::Device => MountFlags::NOSUID | MountFlags::NOEXEC,
        }
    }
}

#[derive(Debug)]
struct Bind {
    /// In the sandbox, without the leading slash.
    target: String,
    tree: OwnedFd,
    access: Access,
}

/// What will be mounted, opened while the host's files are in sight and this process may still
/// enter the directories of whoever started it.
#[derive(Debug)]
pub(super) struct Sources {
    binds: Vec<Bind>,
    links: Vec<(&'static str, PathBuf)>,
}

impl Sources {
    pub(super) fn open(spec: &Spec) -> Result<Self, Failure> {
        let mut sources = Self { binds: Vec::new(), links: Vec::new() };
        for name in SYSTEM {
            let path = Path::new("/").join(name);
            match fs::symlink_metadata(&path) {
                Ok(found) if found.is_symlink() => {
                    let link =
                        fs::read_link(&path).map_err(Failure::of(Step::Mounts, path.display()))?;
                    sources.links.push((name, link));
                }
                Ok(found) if found.is_dir() => {
                    sources.bind(Step::Mounts, &path, name, Access::ReadOnly)?;
                }
                _ => {}
            }
        }
        for name in ETC {
            let path = Path::new("/").join(name);
            if path.exists() {
                sources.bind(Step::Mounts, &path, name, Access::ReadOnly)?;
            }
        }
        for name in DEVICES {
            let path = Path::new("/dev").join(name);
            sources.bind(Step::Mounts, &path, &format!("dev/{name}"), Access::Device)?;
        }
        if let Some(place) = &spec.place {
            let agent = Path::new("agents").join(place.agent.to_string());
            let dir = Path::new("containers").join(place.container.to_string());
            let mut writable = |path: &Path, target: &str| {
                sources.bind(Step::Mounts, path, &target[1..], Access::Writable)
            };
            writable(&agent.join("workspace"), WORKSPACE)?;
            writable(&agent.join("home"), HOME)?;
            writable(&agent.join("agents"), AGENTS)?;
            writable(&dir.join("run"), RUN)?;
            writable(&dir.join("journal"), JOURNAL)?;
            sources.bind(Step::Mounts, &spec.shim, &SHIM[1..], Access::ReadOnly)?;
            if let Some(killed) = &spec.groups.killed {
                sources.bind(Step::Mounts, killed, &KILLED[1..], Access::ReadOnly)?;
            }
        }
        for (name, path) in &spec.repositories {
            let target = format!("repositories/{name}");
            sources.bind(Step::Repository, path, &target, Access::ReadOnly)?;
        }
        for (target, path) in &spec.bundles {
            sources.bind(Step::Repository, path, target, Access::ReadOnly)?;
        }
        Ok(sources)
    }

    fn bind(
        &mut self,
        step: Step,
        path: &Path,
        target: &str,
        access: Access,
    ) -> Result<(), Failure> {
        // Recursive: the kernel refuses to show what lies under a mount we may not take away.
        let flags = OpenTreeFlags::OPEN_TREE_CLONE
            | OpenTreeFlags::OPEN_TREE_CLOEXEC
            | OpenTreeFlags::AT_RECURSIVE;
        let tree = rustix::mount::open_tree(CWD, path, flags)
            .map_err(Failure::of(step, path.display()))?;
        self.binds.push(Bind { target: target.to_owned(), tree, access });
        Ok(())
    }

    /// How `path`, relative to the new root, may be used.
    fn access(&self, path: &str) -> Option<Access> {
        self.binds
            .iter()
            .filter(|bind| {
                path.strip_prefix(bind.target.as_str())
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            })
            .max_by_key(|bind| bind.target.len())
            .map(|bind| bind.access)
    }
}

/// Lets no mount made here be seen by the host.
pub(super) fn detach_from_host() -> Result<(), Failure> {
    rustix::mount::mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE)
        .map_err(Failure::of(Step::Mounts, "private mounts"))
}

/// Puts the root together and makes it the only one.
pub(super) fn assemble(sources: &Sources) -> Result<(), Failure> {
    let step = |what: &'static str| move |error: Errno| Failure::of(Step::Mounts, what)(error);
    let file = |what: &'static str| move |error: io::Error| Failure::of(Step::Mounts, what)(error);
    tmpfs(STAGE, c"mode=0755,size=4m,nr_inodes=4k", MountFlags::empty())
        .map_err(step("the root"))?;
    std::env::set_current_dir(STAGE).map_err(file("the root"))?;
    directories_and_files(sources).map_err(file("files of the root"))?;
    // Small, because a tmpfs is memory.
    tmpfs("dev", c"mode=0755,size=64k,nr_inodes=64", MountFlags::NOEXEC).map_err(step("/dev"))?;
    devices().map_err(file("/dev"))?;
    tmpfs("dev/shm", c"mode=1777,size=64m", MountFlags::NODEV).map_err(step("/dev/shm"))?;
    tmpfs("tmp", c"mode=1777,size=512m,nr_inodes=128k", MountFlags::NODEV).map_err(step("/tmp"))?;
    fs::create_dir(&MOUNTS[1..]).map_err(file(MOUNTS))?;
    tmpfs(&MOUNTS[1..], c"mode=0711,size=64k,nr_inodes=1k", MountFlags::NODEV)
        .map_err(step(MOUNTS))?;
    sources.binds.iter().try_for_each(mount_point)?;
    sources.binds.iter().try_for_each(attach)?;
    restrict(sources)?;
    // Before the host's is out of sight: the kernel lets us see only what we could see already.
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    rustix::mount::mount("proc", "proc", "proc", flags, None).map_err(step("/proc"))?;
    leave_host().map_err(step("leaving the host's root"))?;
    for (path, kept) in [("/dev", MountFlags::NOEXEC), ("/", MountFlags::NODEV)] {
        let flags = MountFlags::BIND | MountFlags::RDONLY | MountFlags::NOSUID | kept;
        rustix::mount::mount_remount(path, flags, "").map_err(step("a read-only root"))?;
    }
    Ok(())
}

fn tmpfs(target: &str, options: &CStr, flags: MountFlags) -> rustix::io::Result<()> {
    rustix::mount::mount("tmpfs", target, "tmpfs", flags | MountFlags::NOSUID, options)
}

fn directories_and_files(sources: &Sources) -> io::Result<()> {
    for path in ["dev", "etc", "home", "proc", "run", "tmp", "var"] {
        fs::create_dir(path)?;
    }
    for (link, target) in &sources.links {
        symlink(target, link)?;
    }
    symlink("/tmp", "var/tmp")?;
    symlink("/run", "var/run")?;
    let host = super::inside::HOSTNAME;
    for (path, text) in [
        (
            "etc/passwd",
            format!(
                "root:x:0:0:root:/:/usr/sbin/nologin\n\
                 agent:x:{INSIDE}:{INSIDE}:agent:{HOME}:/bin/sh\n\
                 nobody:x:65534:65534:nobody:/:/usr/sbin/nologin\n"
            ),
        ),
        ("etc/group", format!("root:x:0:\nagent:x:{INSIDE}:\nnogroup:x:65534:\n")),
        ("etc/hosts", format!("127.0.0.1 localhost {host}\n::1 localhost {host}\n")),
        ("etc/hostname", format!("{host}\n")),
        ("etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files\n".to_owned()),
    ] {
        fs::write(path, text)?;
    }
    Ok(())
}

fn devices() -> io::Result<()> {
    fs::create_dir("dev/shm")?;
    symlink("/proc/self/fd", "dev/fd")?;
    for (number, name) in ["stdin", "stdout", "stderr"].iter().enumerate() {
        symlink(format!("/proc/self/fd/{number}"), Path::new("dev").join(name))?;
    }
    Ok(())
}

/// Makes what `bind` is mounted on. Done for all before any is mounted: below a mount it would be made
/// in the host's directory.
fn mount_point(bind: &Bind) -> Result<(), Failure> {
    let target = Path::new(&bind.target);
    let make = || -> io::Result<()> {
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent)?;
        }
        let kind = FileType::from_raw_mode(rustix::fs::fstat(&bind.tree)?.st_mode);
        if kind == FileType::Directory {
            fs::create_dir_all(target)
        } else {
            fs::File::create(target).map(drop)
        }
    };
    make().map_err(Failure::of(Step::Mounts, &bind.target))
}

fn attach(bind: &Bind) -> Result<(), Failure> {
    let target = Path::new(&bind.target);
    rustix::mount::move_mount(&bind.tree, "", CWD, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .map_err(Failure::of(Step::Mounts, &bind.target))
}

/// Takes from every mount, and from the host's mounts below it, what its place does not allow.
fn restrict(sources: &Sources) -> Result<(), Failure> {
    let table =
        fs::read("/proc/self/mountinfo").map_err(Failure::of(Step::Mounts, "the mount table"))?;
    let table = String::from_utf8_lossy(&table);
    let mut open: BTreeSet<&str> = sources.binds.iter().map(|bind| bind.target.as_str()).collect();
    for (path, now) in table.lines().filter_map(mounted) {
        let Some(relative) = path.strip_prefix(STAGE).and_then(|path| path.strip_prefix('/'))
        else {
            continue;
        };
        let Some(access) = sources.access(relative) else { continue };
        let flags = MountFlags::BIND | access.flags() | now;
        match rustix::mount::mount_remount(relative, flags, "") {
            // A mount of the host's below ours which we may not enter: then no agent may either.
            Err(Errno::ACCESS) if sources.binds.iter().all(|bind| bind.target != relative) => {}
            other => other.map_err(Failure::of(Step::Mounts, &path))?,
        }
        open.remove(relative);
    }
    match open.first() {
        None => Ok(()),
        // Found under another spelling, it would have kept what it allows on the host.
        Some(target) => {
            Err(Failure::of(Step::Mounts, target)(io::Error::other("is not restricted")))
        }
    }
}

/// Mount point and flags of one line of mountinfo. What is set stays set: some flags are locked.
fn mounted(line: &str) -> Option<(String, MountFlags)> {
    let mut fields = line.split(' ').skip(4);
    let (path, options) = (fields.next()?, fields.next()?);
    let flags = options.split(',').fold(MountFlags::empty(), |flags, option| {
        flags
            | match option {
                "ro" => MountFlags::RDONLY,
                "nosuid" => MountFlags::NOSUID,
                "nodev" => MountFlags::NODEV,
                "noexec" => MountFlags::NOEXEC,
                "noatime" => MountFlags::NOATIME,
                "nodiratime" => MountFlags::NODIRATIME,
                "relatime" => MountFlags::RELATIME,
                _ => MountFlags::empty(),
            }
    });
    Some((unescaped(path), flags))
}

/// Undoes the octal escapes of mountinfo.
fn unescaped(path: &str) -> String {
    ["\\040", "\\011", "\\012", "\\134"]
        .iter()
        .zip([" ", "\t", "\n", "\\"])
        .fold(path.to_owned(), |path, (escape, plain)| path.replace(escape, plain))
}

/// Makes the working directory the root and lets go of the old one.
fn leave_host() -> rustix::io::Result<()> {
    // The old root ends up on top of the new one, where it is taken off.
    rustix::process::pivot_root(".", ".")?;
    rustix::mount::unmount(".", UnmountFlags::DETACH)?;
    rustix::process::chdir("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_mount_table_is_understood() {
        let line = r"98 35 0:45 / /tmp/usr/a\040b ro,nosuid,relatime shared:1 - ext4 /dev/vda rw";
        let (path, flags) = mounted(line).unwrap();
        assert_eq!(path, "/tmp/usr/a b");
        assert_eq!(flags, MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::RELATIME);
        assert!(mounted("short line").is_none());
    }
}
