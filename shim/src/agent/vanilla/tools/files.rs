//! Reading and changing files.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use serde_json::json;

use super::Outcome;

/// The most lines read at once, unless asked otherwise.
const LINES: usize = 2000;
/// The most bytes read at once.
const BYTES: usize = 256 * 1024;
/// The largest file that is edited.
const EDITED: u64 = 8 * 1024 * 1024;
/// The longest text shown as a difference.
const SHOWN: usize = 24 * 1024;

/// `path` in the workspace, unless it is absolute.
pub(super) fn absolute(path: &str) -> PathBuf {
    std::env::current_dir().unwrap_or_default().join(path)
}

fn because(path: &str, why: &std::io::Error) -> String {
    format!("{path}: {why}")
}

pub(super) fn read(
    path: &str,
    offset: Option<usize>,
    limit: Option<usize>,
) -> Result<String, String> {
    let file = File::open(path).map_err(|why| because(path, &why))?;
    let skipped = offset.unwrap_or(1).max(1) - 1;
    let limit = limit.unwrap_or(LINES);
    let mut reader = BufReader::new(file);
    let mut text = String::new();
    let mut line = Vec::new();
    let mut number = 0;
    loop {
        line.clear();
        let mut bounded = reader.by_ref().take(BYTES as u64);
        let length = bounded.read_until(b'\n', &mut line).map_err(|why| because(path, &why))?;
        if length == 0 {
            break;
        }
        if line.contains(&0) {
            return Err(format!("{path} is not a text file."));
        }
        number += 1;
        if number <= skipped {
            continue;
        }
        if number > skipped + limit || text.len() + length > BYTES {
            text.extend(["[the file goes on: read from line ", &number.to_string(), "]\n"]);
            break;
        }
        text.push_str(&String::from_utf8_lossy(&line));
    }
    if text.is_empty() && skipped > 0 {
        return Err(format!("{path} has only {number} lines."));
    }
    Ok(text)
}

pub(super) fn write(path: &str, content: &str) -> Result<Outcome, String> {
    let before = whole(path).ok();
    if let Some(directory) = Path::new(path).parent() {
        std::fs::create_dir_all(directory).map_err(|why| because(path, &why))?;
    }
    std::fs::write(path, content).map_err(|why| because(path, &why))?;
    let diff = difference(path, before.as_deref(), content);
    Ok(Outcome { text: format!("Wrote {} bytes to {path}.", content.len()), diff })
}

pub(super) fn edit(path: &str, old: &str, new: &str) -> Result<Outcome, String> {
    if old.is_empty() {
        return Err("The text to be replaced is empty.".to_owned());
    }
    let text = whole(path)?;
    match text.matches(old).count() {
        1 => {}
        0 => return Err(format!("{path} does not contain this text.")),
        many => return Err(format!("{path} contains this text {many} times: give more of it.")),
    }
    std::fs::write(path, text.replacen(old, new, 1)).map_err(|why| because(path, &why))?;
    Ok(Outcome { text: format!("Edited {path}."), diff: difference(path, Some(old), new) })
}

fn whole(path: &str) -> Result<String, String> {
    let file = File::open(path).map_err(|why| because(path, &why))?;
    let mut text = String::new();
    file.take(EDITED + 1).read_to_string(&mut text).map_err(|why| because(path, &why))?;
    if text.len() as u64 > EDITED {
        return Err(format!("{path} is too large."));
    }
    Ok(text)
}

fn difference(path: &str, old: Option<&str>, new: &str) -> Option<serde_json::Value> {
    let fits = old.map_or(0, str::len) + new.len() <= SHOWN;
    fits.then(|| {
        let path = absolute(path).display().to_string();
        json!({ "type": "diff", "path": path, "oldText": old, "newText": new })
    })
}
