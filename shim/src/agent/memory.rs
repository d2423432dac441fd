//! Sessions of the built-in agents: one small file each.
//!
//! What holds here: an id that we did not mint names no file.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::acp::message::{Fault, INTERNAL, NOT_FOUND};

/// A new session id.
pub(super) fn mint() -> Result<String, Fault> {
    let random = getrandom::u64().map_err(|why| Fault::new(INTERNAL, why.to_string()))?;
    Ok(format!("{random:016x}"))
}

fn path(home: &Path, id: &str) -> Option<PathBuf> {
    let ours = id.len() == 16 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    ours.then(|| home.join(".reeve/sessions").join(format!("{id}.json")))
}

/// Forgets the session, if there is one.
pub(super) fn forget(home: &Path, id: &str) {
    if let Some(path) = path(home, id) {
        // What is not there is forgotten already.
        std::fs::remove_file(path).unwrap_or_default();
    }
}

/// What the session held when it was saved.
pub(super) fn load<T: DeserializeOwned>(home: &Path, id: &str) -> Result<T, Fault> {
    path(home, id)
        .and_then(|path| std::fs::read(path).ok())
        .and_then(|text| serde_json::from_slice(&text).ok())
        .ok_or_else(|| Fault::new(NOT_FOUND, "no such session"))
}

/// Saves the session. A reader sees it as it was or as it is, never half of it.
pub(super) fn save(home: &Path, id: &str, content: &impl Serialize) -> Result<(), Fault> {
    let fault = |why: &dyn std::fmt::Display| {
        Fault::new(INTERNAL, format!("the session cannot be saved: {why}"))
    };
    let path = path(home, id).ok_or_else(|| Fault::new(NOT_FOUND, "no such session"))?;
    let text = serde_json::to_vec(content).map_err(|why| fault(&why))?;
    let beside = path.with_extension("new");
    let write = || {
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory)?;
        }
        std::fs::File::create(&beside)?.write_all(&text)?;
        std::fs::rename(&beside, &path)
    };
    write().map_err(|why| fault(&why))
}
