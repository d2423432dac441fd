//! The start: the boot document, and what makes the shim hard to look into.

use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use rustix::process::DumpableBehavior;
use wire::shim::{BOOT_VARIABLE, Boot};

/// Reads the boot document and removes it: it holds a token that no agent may find.
pub(crate) fn read(path: &Path) -> Result<Boot, String> {
    let text = std::fs::read(path).map_err(|error| error.to_string())?;
    std::fs::remove_file(path).map_err(|error| format!("cannot be removed: {error}"))?;
    parse(&text)
}

/// Reads the boot document from the environment. It stays in what `/proc` shows of this process,
/// which [`harden`] keeps others from reading; no child inherits it.
#[expect(clippy::disallowed_methods, reason = "this is where the process starts")]
pub(crate) fn from_environment() -> Result<Boot, String> {
    let text = std::env::var(BOOT_VARIABLE).map_err(|_| format!("{BOOT_VARIABLE} has none"))?;
    parse(text.as_bytes())
}

fn parse(text: &[u8]) -> Result<Boot, String> {
    // The reason names line and column, never a value.
    serde_json::from_slice(text)
        .map_err(|error| format!("line {} column {}", error.line(), error.column()))
}

/// Says what the container lacks that the shim cannot do without.
///
/// A static program of this target reads `/dev/random` and `/dev/urandom`, and what makes the
/// WebSocket's keys and masks takes their absence for a reason to panic.
pub(crate) fn lacks(boot: &Boot) -> Option<String> {
    if getrandom::u32().is_err() {
        return Some("the container lacks /dev/random or /dev/urandom".to_owned());
    }
    // A volume comes empty.
    let directory = Path::new(&boot.journal);
    let made = directory.is_dir()
        || std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).is_ok();
    (!made).then(|| "the directory of the journal cannot be made".to_owned())
}

/// Keeps the agents, which may be of the same uid, out of this process's memory, environment and file
/// descriptors, and makes orphans its own. Before anything secret is read.
pub(crate) fn harden() {
    if let Err(error) = rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        note(&format!("still dumpable: {error}"));
    }
    let me = rustix::process::getpid();
    if me.as_raw_nonzero().get() != 1
        && let Err(error) = rustix::process::set_child_subreaper(Some(me))
    {
        note(&format!("orphans will escape: {error}"));
    }
}

/// Writes one line for the operator. The platform keeps what a shim says on stderr.
pub(crate) fn note(line: &str) {
    // Nobody may be listening, and there is nobody else to tell.
    drop(writeln!(std::io::stderr(), "shim: {line}"));
}
