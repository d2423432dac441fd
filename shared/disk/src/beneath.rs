//! Opening what lies below a directory, and nothing else.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use domain::workspace::WorkspacePath;
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

/// A workspace's own directory.
#[derive(Debug)]
pub struct Root(OwnedFd);

/// Why a file was not opened.
#[derive(Debug)]
pub enum NotOpened {
    /// There is something else.
    NotAFile,
    /// It did not work this time.
    Failed(io::Error),
}

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Reading does not wait for a writer of a pipe, and makes no terminal ours.
const FILE: OFlags = OFlags::RDONLY
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

impl Root {
    /// Opens the directory `path`, if it is there. It is ours, and so is what is above it: no agent can
    /// put a link in its place.
    pub fn open(path: &Path) -> io::Result<Option<Self>> {
        match rustix::fs::openat(CWD, path, DIRECTORY, Mode::empty()) {
            Ok(fd) => Ok(Some(Self(fd))),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn resolve(&self, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
        let how = ResolveFlags::BENEATH
            | ResolveFlags::NO_SYMLINKS
            | ResolveFlags::NO_MAGICLINKS
            | ResolveFlags::NO_XDEV;
        // The kernel gives up where somebody renames above it, again and again.
        loop {
            match rustix::fs::openat2(&self.0, path, flags, Mode::empty(), how) {
                Err(Errno::AGAIN | Errno::INTR) => {}
                other => return other,
            }
        }
    }

    /// A directory below it; the root itself for none.
    pub fn open_directory(&self, path: Option<&WorkspacePath>) -> Result<OwnedFd, Errno> {
        self.resolve(path.map_or(".", WorkspacePath::as_str), DIRECTORY)
    }

    /// A file below it, if there is something, with what it is.
    pub fn open_file(&self, path: &WorkspacePath) -> Result<Option<(File, Stat)>, NotOpened> {
        let fd = match self.resolve(path.as_str(), FILE) {
            Ok(fd) => fd,
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
            // A link, a socket, or what its owner may not read either.
            Err(Errno::LOOP | Errno::NXIO | Errno::ACCESS | Errno::XDEV) => {
                return Err(NotOpened::NotAFile);
            }
            Err(error) => return Err(NotOpened::Failed(error.into())),
        };
        let stat = rustix::fs::fstat(&fd).map_err(|error| NotOpened::Failed(error.into()))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(NotOpened::NotAFile);
        }
        Ok(Some((File::from(fd), stat)))
    }
}
