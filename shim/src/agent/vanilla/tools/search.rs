//! Looking through many files.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use ignore::overrides::OverrideBuilder;
use ignore::{Walk, WalkBuilder};
use regex::bytes::RegexBuilder;

/// The most files listed.
const FILES: usize = 2000;
/// The most lines found.
const FOUND: usize = 200;
/// The largest file looked into.
const LARGEST: u64 = 4 * 1024 * 1024;
/// The longest line shown.
const LINE: usize = 300;

fn walk(root: &str, glob: Option<&str>) -> Result<Walk, String> {
    if let Err(why) = std::fs::metadata(root) {
        return Err(format!("{root}: {why}"));
    }
    let mut builder = WalkBuilder::new(root);
    builder
        .hidden(false)
        .require_git(false)
        .sort_by_file_name(Ord::cmp)
        .filter_entry(|entry| entry.file_name() != ".git");
    if let Some(glob) = glob {
        let mut only = OverrideBuilder::new(root);
        only.add(glob).map_err(|why| why.to_string())?;
        builder.overrides(only.build().map_err(|why| why.to_string())?);
    }
    Ok(builder.build())
}

fn shown(path: &Path) -> String {
    path.strip_prefix("./").unwrap_or(path).display().to_string()
}

pub(super) fn list(path: Option<&str>, glob: Option<&str>) -> Result<String, String> {
    let mut lines = Vec::new();
    for entry in walk(path.unwrap_or("."), glob)?.flatten() {
        if entry.file_type().is_some_and(|kind| kind.is_dir()) {
            continue;
        }
        if lines.len() == FILES {
            lines.push("[there are more]".to_owned());
            break;
        }
        lines.push(shown(entry.path()));
    }
    Ok(if lines.is_empty() { "There are no files.".to_owned() } else { lines.join("\n") })
}

pub(super) fn find(pattern: &str, path: Option<&str>) -> Result<String, String> {
    let pattern = RegexBuilder::new(pattern)
        .size_limit(4 * 1024 * 1024)
        .build()
        .map_err(|why| why.to_string())?;
    let mut lines = Vec::new();
    let files = walk(path.unwrap_or("."), None)?
        .flatten()
        .filter(|entry| entry.file_type().is_some_and(|kind| kind.is_file()));
    for entry in files {
        let mut text = Vec::new();
        let read =
            File::open(entry.path()).and_then(|file| file.take(LARGEST + 1).read_to_end(&mut text));
        let start = &text[..text.len().min(8192)];
        if read.is_err() || text.len() as u64 > LARGEST || start.contains(&0) {
            continue;
        }
        for (number, line) in text.split(|byte| *byte == b'\n').enumerate() {
            if !pattern.is_match(line) {
                continue;
            }
            if lines.len() == FOUND {
                lines.push("[there are more]".to_owned());
                return Ok(lines.join("\n"));
            }
            let line = &line[..line.len().min(LINE)];
            let line = String::from_utf8_lossy(line);
            lines.push(format!("{}:{}: {line}", shown(entry.path()), number + 1));
        }
    }
    Ok(if lines.is_empty() { "Nothing was found.".to_owned() } else { lines.join("\n") })
}
