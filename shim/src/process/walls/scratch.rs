//! What is made for one instance of an agent and goes with it: its `/tmp`, its `/dev/shm`, and the
//! files that only it sees.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, UnmountFlags};
use wire::shim::{Boot, Egress};

use super::{HOME, Place};

/// A small file system in memory, which the shim sees too: how full it is shows here.
#[derive(Debug)]
pub(crate) struct Scratch(PathBuf);

/// For the few files beside `/tmp` and `/dev/shm`.
const OWN: u64 = 64 << 10;

/// How much room a file takes on average before there are too many of them.
const FILE: u64 = 4 << 10;

impl Scratch {
    /// Makes it, under a name that nothing else has; none where the shim cannot mount.
    pub(crate) fn make(boot: &Boot, place: &Place, number: u32) -> io::Result<Option<Self>> {
        let Some(mounts) = &boot.walls.mounts else { return Ok(None) };
        let path = Path::new(mounts).join(number.to_string());
        fs::create_dir(&path)?;
        let bytes = place.limits.scratch + OWN;
        let options = format!("mode=0711,size={bytes},nr_inodes={}\0", bytes / FILE + 16);
        let options =
            std::ffi::CStr::from_bytes_with_nul(options.as_bytes()).map_err(io::Error::other)?;
        let flags = MountFlags::NOSUID | MountFlags::NODEV;
        if let Err(error) = rustix::mount::mount("tmpfs", &path, "tmpfs", flags, options) {
            fs::remove_dir(&path)?;
            return Err(error.into());
        }
        let scratch = Self(path);
        scratch.fill(boot, place)?;
        Ok(Some(scratch))
    }

    fn fill(&self, boot: &Boot, place: &Place) -> io::Result<()> {
        for open in ["tmp", "shm"] {
            fs::create_dir(self.path(open))?;
            fs::set_permissions(self.path(open), fs::Permissions::from_mode(0o1777))?;
        }
        fs::create_dir(self.path("run"))?;
        if let Egress::Unix(path) = &boot.egress
            && let Some(name) = Path::new(path).file_name()
        {
            // What the socket is mounted on.
            fs::write(self.path("run").join(name), "")?;
        }
        if let Some(uid) = place.uid {
            let passwd = format!(
                "root:x:0:0:root:/:/usr/sbin/nologin\nagent:x:{uid}:{uid}:agent:{HOME}:/bin/sh\n\
                 nobody:x:65534:65534:nobody:/:/usr/sbin/nologin\n"
            );
            fs::write(self.path("passwd"), passwd)?;
            fs::write(
                self.path("group"),
                format!("root:x:0:\nagent:x:{uid}:\nnogroup:x:65534:\n"),
            )?;
        }
        Ok(())
    }

    /// Where something of it is.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Whether nothing more goes into it.
    pub(crate) fn is_full(&self) -> bool {
        rustix::fs::statvfs(&self.0).is_ok_and(|is| is.f_bavail == 0 || is.f_ffree == 0)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be taken away goes with the container.
        if rustix::mount::unmount(&self.0, UnmountFlags::DETACH).is_ok() {
            fs::remove_dir(&self.0).unwrap_or_default();
        }
    }
}
