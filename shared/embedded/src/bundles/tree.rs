//! What is in a directory, as a list with one spelling.
//!
//! A line for each entry, in the byte order of their paths: `d "<path>"`, `l "<path>" "<target>"`, or
//! `f <644 or 755> <length> <SHA-256> "<path>"`, the texts as JSON writes them.

use std::fmt::Write as _;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use app::ports::MakeError;
use domain::Digest;
use sha2::{Digest as _, Sha256};

use super::{Limits, passing};

/// The list, and what it adds up to.
pub(super) struct List {
    pub(super) text: String,
    pub(super) files: u64,
    pub(super) bytes: u64,
}

/// What a tree looks like without being read: it changes with whatever is done to it.
pub(super) type Fingerprint = Digest;

pub(super) fn digest(bytes: &[u8]) -> Digest {
    Digest::new(Sha256::digest(bytes).into())
}

enum Kind {
    Directory,
    Link(String),
    File(fs::Metadata),
}

/// Calls `see` with every path below `root` and what is there, in their order.
fn walk(root: &Path, see: &mut dyn FnMut(&str, Kind) -> io::Result<()>) -> io::Result<()> {
    let mut paths = Vec::new();
    let mut directories = vec![(root.to_owned(), String::new())];
    while let Some((dir, name)) = directories.pop() {
        for entry in fs::read_dir(&dir)? {
            let entry = entry?;
            let own = entry.file_name().into_string();
            let own = own.map_err(|_| io::Error::other("the name of a file is not UTF-8"))?;
            let path = if name.is_empty() { own } else { format!("{name}/{own}") };
            if entry.file_type()?.is_dir() {
                directories.push((entry.path(), path.clone()));
            }
            paths.push(path);
        }
    }
    paths.sort_unstable();
    for path in paths {
        let at = root.join(&path);
        let found = fs::symlink_metadata(&at)?;
        let kind = if found.is_dir() {
            Kind::Directory
        } else if found.is_symlink() {
            let target = fs::read_link(&at)?.into_os_string().into_string();
            Kind::Link(target.map_err(|_| io::Error::other("a link's target is not UTF-8"))?)
        } else if found.is_file() {
            Kind::File(found)
        } else {
            return Err(io::Error::other(format!("{path} is no file, directory or link")));
        };
        see(&path, kind)?;
    }
    Ok(())
}

/// Lists what is below `root`.
pub(super) fn list(root: &Path) -> io::Result<List> {
    let mut list = List { text: String::new(), files: 0, bytes: 0 };
    walk(root, &mut |path, kind| {
        let name = serde_json::Value::from(path);
        match kind {
            Kind::Directory => writeln!(list.text, "d {name}").map_err(io::Error::other)?,
            Kind::Link(target) => {
                let target = serde_json::Value::from(target);
                writeln!(list.text, "l {name} {target}").map_err(io::Error::other)?;
            }
            Kind::File(found) => {
                let mode = if found.mode() & 0o111 == 0 { 644 } else { 755 };
                let mut hash = Sha256::new();
                let read = io::copy(&mut File::open(root.join(path))?, &mut Hashing(&mut hash))?;
                let hash = Digest::new(hash.finalize().into()).hex();
                writeln!(list.text, "f {mode} {read} {hash} {name}").map_err(io::Error::other)?;
                list.files += 1;
                list.bytes += read;
            }
        }
        Ok(())
    })?;
    Ok(list)
}

/// Brings what is below `root` into the form that is kept, and lists it: no mode but 644 and 755, no
/// link that leads out.
pub(super) fn settle(root: &Path, limits: &Limits) -> Result<List, MakeError> {
    let (mut entries, mut bytes, mut wrong) = (0, 0, None);
    walk(root, &mut |path, kind| {
        entries += 1;
        let at = root.join(path);
        match kind {
            Kind::Directory => fs::set_permissions(&at, Permissions::from_mode(0o755)),
            Kind::Link(target) => {
                if !stays_inside(path, &target) {
                    wrong.get_or_insert_with(|| format!("the link {path} leads out, to {target}"));
                }
                Ok(())
            }
            Kind::File(found) => {
                bytes += found.len();
                let mode = if found.mode() & 0o111 == 0 { 0o644 } else { 0o755 };
                fs::set_permissions(&at, Permissions::from_mode(mode))
            }
        }
    })
    .map_err(passing)?;
    if let Some(detail) = wrong {
        return Err(MakeError::failed("bad_archive", detail));
    }
    if entries > limits.entries || bytes > limits.bytes {
        let detail = format!("it has {entries} entries and {bytes} bytes");
        return Err(MakeError::failed("too_large", detail));
    }
    list(root).map_err(passing)
}

/// Whether a link at `path` leads to somewhere below the same root, by its text alone.
pub(super) fn stays_inside(path: &str, target: &str) -> bool {
    if target.is_empty() || target.starts_with('/') || target.contains(['\\', '\0']) {
        return false;
    }
    let mut depth = path.split('/').count() - 1;
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." if depth == 0 => return false,
            ".." => depth -= 1,
            _ => depth += 1,
        }
    }
    true
}

/// What a tree looks like: every inode with its length and the time it was last touched, which no
/// owner can set.
pub(super) fn fingerprint(root: &Path) -> io::Result<Fingerprint> {
    let mut hash = Sha256::new();
    walk(root, &mut |path, kind| {
        hash.update(path.as_bytes());
        match kind {
            Kind::Directory => hash.update([0]),
            Kind::Link(target) => hash.update(target.as_bytes()),
            Kind::File(found) => {
                for part in [found.ino(), found.len(), u64::from(found.mode())] {
                    hash.update(part.to_be_bytes());
                }
                for part in [found.ctime(), found.ctime_nsec(), found.mtime(), found.mtime_nsec()] {
                    hash.update(part.to_be_bytes());
                }
            }
        }
        Ok(())
    })?;
    Ok(Digest::new(hash.finalize().into()))
}

/// Hashes what is written to it.
pub(super) struct Hashing<'a>(pub(super) &'a mut Sha256);

impl io::Write for Hashing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_leads_out_or_stays() {
        for (path, target) in
            [("a", "b"), ("a/b", "../c"), (".bin/x", "../x/cli.js"), ("a/b/c", "../../d")]
        {
            assert!(stays_inside(path, target), "{path} -> {target}");
        }
        for (path, target) in
            [("a", ""), ("a", "/etc"), ("a", ".."), ("a/b", "../../c"), ("a", "b/../../c")]
        {
            assert!(!stays_inside(path, target), "{path} -> {target}");
        }
    }

    #[test]
    fn a_tree_has_one_list_whatever_its_owner_and_times() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for (dir, mode) in [(&one, 0o600), (&other, 0o664)] {
            fs::create_dir(dir.path().join("a")).unwrap();
            fs::write(dir.path().join("a/x"), "text").unwrap();
            fs::set_permissions(dir.path().join("a/x"), Permissions::from_mode(mode)).unwrap();
            std::os::unix::fs::symlink("a/x", dir.path().join("l")).unwrap();
        }
        let list = |dir: &tempfile::TempDir| settle(dir.path(), &Limits::default()).unwrap().text;
        assert_eq!(list(&one), list(&other));
        fs::set_permissions(one.path().join("a/x"), Permissions::from_mode(0o700)).unwrap();
        assert_ne!(list(&one), list(&other));
    }
}
