//! The data directory, and the lock that keeps it to one process.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// Another process works in it.
    #[error("{} is in use by {}", .dir.display(), holder(*.pid))]
    Held {
        /// The directory.
        dir: PathBuf,
        /// The process that holds it, where it said so.
        pid: Option<u32>,
    },
    /// The file system refused.
    #[error("cannot use {}", .dir.display())]
    Io {
        /// The directory.
        dir: PathBuf,
        /// What it said.
        #[source]
        source: io::Error,
    },
}

fn holder(pid: Option<u32>) -> String {
    pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
}

/// A data directory that belongs to this process until the value is dropped or the process ends,
/// however it ends.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    // The kernel holds the lock for as long as this is open.
    _lock: File,
}

impl DataDir {
    /// Takes the directory, which is made with mode 0700 where it is absent. One that exists keeps
    /// its mode. Never waits.
    pub fn claim(path: impl Into<PathBuf>) -> Result<Self, ClaimError> {
        let path = path.into();
        match lock(&path) {
            Ok(lock) => Ok(Self { path, _lock: lock }),
            Err(Refused::Held(pid)) => Err(ClaimError::Held { dir: path, pid }),
            Err(Refused::Io(source)) => Err(ClaimError::Io { dir: path, source }),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

enum Refused {
    Held(Option<u32>),
    Io(io::Error),
}

impl From<io::Error> for Refused {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

fn lock(dir: &Path) -> Result<File, Refused> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    // Not truncated when opened: until the lock is ours, what is in it is another's.
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(dir.join("lock"))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            // The pid is a courtesy: without it the refusal stands.
            let read = Read::by_ref(&mut file).take(32).read_to_string(&mut text);
            return Err(Refused::Held(read.ok().and_then(|_| text.trim().parse().ok())));
        }
        Err(TryLockError::Error(error)) => return Err(error.into()),
    }
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_second_claim_names_the_directory_and_the_process() {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("a/b");
        let first = DataDir::claim(&dir).unwrap();
        assert_eq!(dir.metadata().unwrap().permissions().mode() & 0o777, 0o700);
        let second = DataDir::claim(&dir).unwrap_err().to_string();
        assert_eq!(
            second,
            format!("{} is in use by process {}", dir.display(), std::process::id())
        );
        drop(first);
        DataDir::claim(&dir).unwrap();
    }

    #[test]
    fn a_file_in_the_way_is_an_error_that_names_the_path() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("file");
        File::create(&path).unwrap();
        let error = DataDir::claim(&path).unwrap_err();
        assert!(error.to_string().contains("file"), "{error}");
    }
}
