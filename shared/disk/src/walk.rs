//! Looking at what is in a workspace, in order.

use std::ffi::CString;
use std::io;

use domain::Timestamp;
use domain::workspace::{Found, Kind, LeftOut, NAMED, Part, Walk, WorkspacePath};
use rustix::fs::{AtFlags, Dir, FileType, Stat};
use rustix::io::Errno;

use crate::Root;

/// The most names that one directory may have to be looked at.
const MAX_NAMES: usize = 200_000;

/// What is there. A change that is older than `settled_before`, in milliseconds, has settled.
pub fn walk(root: &Root, part: &Part, settled_before: u64) -> io::Result<Walk> {
    let mut walker = Walker { root, part, settled_before, walk: Walk::default() };
    walker.enter(None)?;
    Ok(walker.walk)
}

/// What a file is that was opened.
pub fn found_file(path: WorkspacePath, stat: &Stat, settled_before: u64) -> Found {
    let kind = file(stat);
    let (stamp, settled) = stamp(stat, settled_before);
    Found { path, kind, taken: taken(stat), stamp, settled }
}

/// The kernel counts in blocks of this size, whatever those of the file system are.
fn taken(stat: &Stat) -> u64 {
    u64::try_from(stat.st_blocks).unwrap_or_default() * 512
}

struct Walker<'a> {
    root: &'a Root,
    part: &'a Part,
    settled_before: u64,
    walk: Walk,
}

impl Walker<'_> {
    /// Looks at a directory and at all below it, until there is enough. Holds one descriptor at a time,
    /// however deep it goes.
    #[expect(clippy::wildcard_enum_match_arm, reason = "what is not named stays out")]
    fn enter(&mut self, at: Option<&WorkspacePath>) -> io::Result<()> {
        let directory = match self.root.open_directory(at) {
            Ok(directory) => directory,
            Err(Errno::ACCESS) => {
                self.leave_out(at.map_or(".", WorkspacePath::as_str), "it cannot be read");
                return Ok(());
            }
            // It has become something else, or is gone.
            Err(_) if at.is_some() => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let mut names = Vec::<CString>::new();
        for entry in Dir::read_from(&directory)? {
            let name = entry?.file_name().to_owned();
            if !matches!(name.as_bytes(), b"." | b"..") {
                names.push(name);
            }
            if names.len() > MAX_NAMES {
                self.leave_out(at.map_or(".", WorkspacePath::as_str), "it has too many names");
                return Ok(());
            }
        }
        names.sort_unstable();
        let mut here = Vec::new();
        for name in names {
            let Some(path) = self.name(at, &name) else { continue };
            if !self.may_matter(&path) {
                continue;
            }
            let stat = match rustix::fs::statat(&directory, &name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => stat,
                Err(Errno::NOENT) => continue,
                Err(error) => return Err(error.into()),
            };
            let kind = match FileType::from_raw_mode(stat.st_mode) {
                FileType::RegularFile => file(&stat),
                FileType::Directory => Kind::Directory,
                FileType::Symlink => {
                    match rustix::fs::readlinkat(&directory, &name, Vec::new())
                        .map(CString::into_string)
                    {
                        Ok(Ok(target)) => Kind::Link(target),
                        Ok(Err(_)) => {
                            self.leave_out(path.as_str(), "it is a link that is not UTF-8");
                            continue;
                        }
                        Err(_) => continue,
                    }
                }
                _ => {
                    self.leave_out(
                        path.as_str(),
                        "it is neither a file, a directory nor a symbolic link",
                    );
                    continue;
                }
            };
            let (stamp, settled) = stamp(&stat, self.settled_before);
            here.push(Found { path, kind, taken: taken(&stat), stamp, settled });
            // One more says that there is more.
            if self.walk.found.len() + here.len() > self.part.limit + 1 {
                break;
            }
        }
        drop(directory);
        for found in here {
            if self.walk.more {
                return Ok(());
            }
            let inside = (found.kind == Kind::Directory).then(|| found.path.clone());
            if self.is_wanted(&found.path) {
                if self.walk.found.len() == self.part.limit {
                    self.walk.more = true;
                    return Ok(());
                }
                self.walk.found.push(found);
            }
            if let Some(path) = inside {
                self.enter(Some(&path))?;
            }
        }
        Ok(())
    }

    fn name(&mut self, at: Option<&WorkspacePath>, name: &CString) -> Option<WorkspacePath> {
        let path = name.to_str().ok().and_then(|name| match at {
            Some(at) => at.join(name).ok(),
            None => WorkspacePath::new(name).ok(),
        });
        if path.is_none() {
            let lossy = name.to_string_lossy();
            let whole = at.map_or_else(|| lossy.to_string(), |at| format!("{at}/{lossy}"));
            self.leave_out(&whole, "its name is too long or not UTF-8");
        }
        path
    }

    fn leave_out(&mut self, path: &str, reason: &str) {
        self.walk.left_out_count += 1;
        if self.walk.left_out.len() < NAMED {
            let path = path.chars().take(WorkspacePath::MAX).collect();
            self.walk.left_out.push(LeftOut { path, reason: reason.to_owned() });
        }
    }

    /// Whether a path is one that was asked for.
    fn is_wanted(&self, path: &WorkspacePath) -> bool {
        path.as_str().starts_with(&self.part.prefix)
            && self.part.after.as_ref().is_none_or(|after| path > after)
    }

    /// Whether it is, or something below it may be.
    fn may_matter(&self, path: &WorkspacePath) -> bool {
        let prefix = self.part.prefix.as_str();
        let by_prefix = path.as_str().starts_with(prefix)
            || prefix.strip_prefix(path.as_str()).is_some_and(|rest| rest.starts_with('/'));
        let by_place =
            self.part.after.as_ref().is_none_or(|after| path >= after || after.is_below(path));
        by_prefix && by_place
    }
}

fn file(stat: &Stat) -> Kind {
    let seconds = u64::try_from(stat.st_mtime).unwrap_or_default();
    let nanos = stat.st_mtime_nsec;
    Kind::File {
        size: u64::try_from(stat.st_size).unwrap_or_default(),
        executable: stat.st_mode & 0o100 != 0,
        modified: Timestamp::from_millis(seconds.saturating_mul(1000) + nanos / 1_000_000),
    }
}

/// A number for what the file system says of a file, and whether a change from now on is certain to
/// change it. An agent can set one of the times, not the other.
fn stamp(stat: &Stat, settled_before: u64) -> (u64, bool) {
    let seen = [
        stat.st_ino.to_le_bytes(),
        stat.st_size.to_le_bytes(),
        stat.st_mtime.to_le_bytes(),
        stat.st_mtime_nsec.to_le_bytes(),
        stat.st_ctime.to_le_bytes(),
        stat.st_ctime_nsec.to_le_bytes(),
    ];
    // FNV-1a: kept in manifests, so it stays what it is.
    let stamp = seen.as_flattened().iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let seconds = u64::try_from(stat.st_ctime).unwrap_or_default();
    let changed = seconds.saturating_mul(1000) + stat.st_ctime_nsec / 1_000_000;
    (stamp, changed < settled_before)
}
