//! The shim, carried in this program.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Built by `build.rs`.
static SHIM: &[u8] = include_bytes!(env!("SHIM"));

/// Puts the shim into `data` under a name that its content decides and returns its path. What runs
/// from an earlier one keeps it.
pub(super) fn extract(data: &Path) -> io::Result<PathBuf> {
    let dir = data.join("bin");
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
    let path = dir.join(concat!("shim-", env!("SHIM_HASH")));
    // Compared in full: a power failure may have left a name without its content.
    if fs::read(&path).is_ok_and(|found| found == SHIM) {
        return Ok(path);
    }
    let unfinished = dir.join(format!(".shim-{}", std::process::id()));
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = fs::File::options().write(true).create_new(true).open(&unfinished)?;
    // Whatever the umask: the sandbox's uid is another.
    file.set_permissions(fs::Permissions::from_mode(0o755))?;
    file.write_all(SHIM)?;
    file.sync_all()?;
    fs::rename(&unfinished, &path)?;
    Ok(path)
}
