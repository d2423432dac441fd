//! Putting things into a workspace, and taking them out.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use app::ports::{Put, WorkspaceError};
use disk::Root;
use domain::workspace::WorkspacePath;
use rustix::fs::{AtFlags, Gid, Mode, Uid};
use rustix::io::Errno;

use crate::durable;
use crate::sandbox::{self, WORKSPACE_NAME};

/// Where things are made and unmade, in the directory of an agent: no agent sees it.
const ASIDE: &str = "aside";

/// Whom a workspace belongs to.
#[derive(Clone, Copy, Debug)]
struct Owner(Uid, Gid);

impl Owner {
    fn of(workspace: &Path) -> io::Result<Self> {
        let found = std::fs::symlink_metadata(workspace)?;
        Ok(Self(Uid::from_raw(found.uid()), Gid::from_raw(found.gid())))
    }
}

/// Something that is made aside. What is not put anywhere goes when it is dropped.
#[derive(Debug)]
pub(super) struct Made {
    aside: OwnedFd,
    name: String,
    owner: Owner,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    File(File),
    Link,
    Directory,
}

impl Made {
    /// Begins to make `what` in the directory of an agent, which is made where it is absent.
    pub(super) fn begin(directory: &Path, what: &Put) -> Result<Self, WorkspaceError> {
        let workspace = directory.join(WORKSPACE_NAME);
        if !workspace.exists() {
            durable::directory(&workspace)?;
        }
        let owner = Owner::of(&workspace)?;
        let aside = aside(directory)?;
        let name = fresh()?;
        let kind = match what {
            Put::File { executable, .. } => {
                let path = directory.join(ASIDE).join(&name);
                let file = File::options().write(true).create_new(true).mode(0o600).open(path)?;
                let mode = if *executable { 0o755 } else { 0o644 };
                rustix::fs::fchmod(&file, Mode::from_raw_mode(mode)).map_err(io::Error::from)?;
                chown(&file, owner)?;
                Kind::File(file)
            }
            Put::Link(target) => {
                rustix::fs::symlinkat(target.as_str(), &aside, &name).map_err(io::Error::from)?;
                let Owner(uid, gid) = owner;
                let flags = AtFlags::SYMLINK_NOFOLLOW;
                rustix::fs::chownat(&aside, &name, Some(uid), Some(gid), flags)
                    .map_err(io::Error::from)?;
                Kind::Link
            }
            Put::Directory => Kind::Directory,
        };
        Ok(Self { aside, name, owner, kind })
    }

    /// Writes on.
    pub(super) fn write(mut self, piece: &[u8]) -> Result<Self, WorkspaceError> {
        if let Kind::File(file) = &mut self.kind {
            file.write_all(piece)?;
        }
        Ok(self)
    }

    /// Puts it where it belongs.
    pub(super) fn put(self, directory: &Path, path: &WorkspacePath) -> Result<(), WorkspaceError> {
        let root = Root::open(&directory.join(WORKSPACE_NAME))?;
        let root = root.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        if matches!(self.kind, Kind::Directory) {
            self.make_directory(&root, path)?;
            return Ok(());
        }
        let parent = match path.parent() {
            Some(parent) => self.make_directory(&root, &parent)?,
            None => root.open_directory(None).map_err(io::Error::from)?,
        };
        match rustix::fs::renameat(&self.aside, &self.name, &parent, path.name()) {
            Ok(()) => Ok(()),
            Err(Errno::ISDIR | Errno::EXIST | Errno::NOTEMPTY) => {
                Err(WorkspaceError::InTheWay(path.clone()))
            }
            Err(error) => Err(io::Error::from(error).into()),
        }
    }

    /// Opens a directory, and makes it and those above it where they are absent.
    fn make_directory(&self, root: &Root, path: &WorkspacePath) -> Result<OwnedFd, WorkspaceError> {
        match root.open_directory(Some(path)) {
            Ok(directory) => return Ok(directory),
            Err(Errno::NOENT) => {}
            Err(Errno::NOTDIR | Errno::LOOP) => {
                return Err(WorkspaceError::InTheWay(blocked(root, path)));
            }
            Err(error) => return Err(io::Error::from(error).into()),
        }
        let parent = match path.parent() {
            Some(parent) => self.make_directory(root, &parent)?,
            None => root.open_directory(None).map_err(io::Error::from)?,
        };
        match rustix::fs::mkdirat(&parent, path.name(), Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(io::Error::from(error).into()),
        }
        match root.open_directory(Some(path)) {
            Ok(directory) => {
                chown(&directory, self.owner)?;
                Ok(directory)
            }
            // Whoever was faster has put something else there.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {
                Err(WorkspaceError::InTheWay(path.clone()))
            }
            Err(error) => Err(io::Error::from(error).into()),
        }
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        if !matches!(self.kind, Kind::Directory) {
            // Gone already where it was put somewhere.
            rustix::fs::unlinkat(&self.aside, &self.name, AtFlags::empty()).ok();
        }
    }
}

/// The first part of a path that is no directory.
fn blocked(root: &Root, path: &WorkspacePath) -> WorkspacePath {
    match path.parent() {
        Some(parent) if root.open_directory(Some(&parent)).is_err() => blocked(root, &parent),
        Some(_) | None => path.clone(),
    }
}

/// Removes what is at `path`. Answers whether there was anything.
pub(super) fn remove(directory: &Path, path: &WorkspacePath) -> Result<bool, WorkspaceError> {
    let Some(root) = Root::open(&directory.join(WORKSPACE_NAME))? else { return Ok(false) };
    let parent = match root.open_directory(path.parent().as_ref()) {
        Ok(parent) => parent,
        // What lies behind a link is not in the workspace.
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(false),
        Err(error) => return Err(io::Error::from(error).into()),
    };
    let (aside, name) = (aside(directory)?, fresh()?);
    match rustix::fs::renameat(&parent, path.name(), &aside, &name) {
        Ok(()) => {}
        Err(Errno::NOENT) => return Ok(false),
        Err(error) => return Err(io::Error::from(error).into()),
    }
    let away = directory.join(ASIDE).join(name);
    if std::fs::symlink_metadata(&away)?.is_dir() {
        sandbox::remove_tree(&away)?;
    } else {
        std::fs::remove_file(&away)?;
    }
    Ok(true)
}

fn aside(directory: &Path) -> io::Result<OwnedFd> {
    let path = directory.join(ASIDE);
    if !path.exists() {
        durable::directory(&path)?;
    }
    Ok(File::open(path)?.into())
}

fn fresh() -> io::Result<String> {
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    Ok(format!("{:016x}", u64::from_be_bytes(random)))
}

fn chown(fd: impl std::os::fd::AsFd, Owner(uid, gid): Owner) -> io::Result<()> {
    rustix::fs::fchown(fd, Some(uid), Some(gid)).map_err(io::Error::from)
}
