//! Files that are there whole or not at all, whatever is killed or loses power when.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// How the name of a file begins that is not one yet.
const UNFINISHED: &str = ".unfinished-";

/// Makes a directory that only its owner may enter, and those above it.
pub(crate) fn directory(path: &Path) -> io::Result<()> {
    let absent: Vec<_> = path.ancestors().take_while(|part| !part.exists()).collect();
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    absent.into_iter().filter_map(Path::parent).try_for_each(sync)
}

/// Puts a file of mode 0600 there, in place of what is there. Durable when it returns. Until it is
/// whole, it is in `aside`, a directory of the same file system.
pub(crate) fn replace(aside: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let (dir, name) = parts(path)?;
    let unfinished = self::aside(aside, name)?;
    let written = write(&unfinished, bytes).and_then(|()| fs::rename(&unfinished, path));
    if written.is_err() {
        // Why it failed matters more than what is left, which `clear` takes away.
        drop(fs::remove_file(&unfinished));
    }
    written?;
    sync(dir)
}

/// Where in `dir` nobody else writes, for what is to be renamed to `name`.
pub(crate) fn aside(dir: &Path, name: &str) -> io::Result<PathBuf> {
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    Ok(dir.join(format!("{UNFINISHED}{name}-{:016x}", u64::from_be_bytes(random))))
}

/// Removes a file. One that is not there is removed already.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(()) => sync(parts(path)?.0),
    }
}

/// Takes away what a killed process left unfinished in `dir`. For when nobody writes there.
pub(crate) fn clear(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_name().as_encoded_bytes().starts_with(UNFINISHED.as_bytes()) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// What a file holds, if it is there.
pub(crate) fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn sync(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

fn parts(path: &Path) -> io::Result<(&Path, &str)> {
    let name = path.file_name().and_then(|name| name.to_str());
    path.parent().zip(name).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_is_replaced_and_what_is_unfinished_is_cleared() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("a/b");
        directory(&deep).unwrap();
        directory(&deep).unwrap();
        let file = deep.join("file");
        assert_eq!(read(&file).unwrap(), None);
        replace(&deep, &file, b"one").unwrap();
        replace(dir.path(), &file, b"two").unwrap();
        fs::write(deep.join(format!("{UNFINISHED}file-0")), b"thr").unwrap();
        clear(&deep).unwrap();
        assert_eq!(fs::read_dir(&deep).unwrap().count(), 1);
        assert_eq!(read(&file).unwrap().as_deref(), Some(b"two".as_slice()));
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        remove(&file).unwrap();
        remove(&file).unwrap();
        assert_eq!(read(&file).unwrap(), None);
    }

    #[test]
    fn what_cannot_be_put_there_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("taken")).unwrap();
        replace(dir.path(), &dir.path().join("taken"), b"one").unwrap_err();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
