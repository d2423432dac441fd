//! Removing directories that an agent could write to, and giving them to it.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Removes `path` and all below it. Follows no symlink. Idempotent. Nothing may be writing to it.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        // An agent may have taken the owner's rights from a directory. Root needs none.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            open_up(path)?;
            fs::remove_dir_all(path)
        }
        other => other,
    }
}

/// Does `work` on `path` and all below it, what is above first. Follows no symlink. Nothing may be
/// writing to it.
pub(crate) fn each(path: &Path, work: &dyn Fn(&Path) -> io::Result<()>) -> io::Result<()> {
    work(path)?;
    if fs::symlink_metadata(path)?.is_dir() {
        for entry in fs::read_dir(path)? {
            each(&entry?.path(), work)?;
        }
    }
    Ok(())
}

fn open_up(path: &Path) -> io::Result<()> {
    if !fs::symlink_metadata(path)?.is_dir() {
        return Ok(());
    }
    fs::set_permissions(path, fs::Permissions::from_mode(0o700))?;
    for entry in fs::read_dir(path)? {
        open_up(&entry?.path())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_removed_and_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (kept, removed) = (dir.path().join("kept"), dir.path().join("removed"));
        fs::create_dir(&kept).unwrap();
        fs::write(kept.join("file"), "").unwrap();
        fs::create_dir_all(removed.join("locked/inner")).unwrap();
        std::os::unix::fs::symlink(&kept, removed.join("locked/link")).unwrap();
        fs::set_permissions(removed.join("locked"), fs::Permissions::from_mode(0o000)).unwrap();
        remove(&removed).unwrap();
        remove(&removed).unwrap();
        assert!(!removed.exists());
        assert!(kept.join("file").exists());
        std::os::unix::fs::symlink(&kept, &removed).unwrap();
        remove(&removed).unwrap();
        assert!(!removed.exists());
        assert!(kept.join("file").exists());
    }
}
