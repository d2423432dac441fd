//! How long somebody waits who changed one handler.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use super::Result;
use super::figure::{Figure, Target, median};
use super::time::millis_since;

const ROUNDS: usize = 3;

/// Touches one handler and builds, again and again.
pub(crate) fn measure() -> Result<Vec<Figure>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let build = || -> Result<()> {
        let cargo = option_env!("CARGO").unwrap_or("cargo");
        let status = Command::new(cargo)
            .args(["build", "--quiet", "--locked", "--package", "reeve"])
            .current_dir(&root)
            .stderr(Stdio::inherit())
            .status()?;
        if status.success() { Ok(()) } else { Err("reeve does not build".into()) }
    };
    build()?;
    let mut taken = Vec::new();
    for _ in 0..ROUNDS {
        let handler =
            File::options().append(true).open(root.join("functions/agents/src/get.rs"))?;
        handler.set_modified(now())?;
        drop(handler);
        let started = Instant::now();
        build()?;
        taken.push(millis_since(started) / 1e3);
    }
    Ok(vec![Figure::new(
        "rebuild after touching one handler",
        "s",
        Target::AtMost(15.0),
        median(&taken),
        format!("p50 of {ROUNDS}: cargo build --package reeve, debug"),
    )])
}

#[expect(clippy::disallowed_methods, reason = "a file is touched at a time of the machine")]
fn now() -> std::time::SystemTime {
    std::time::SystemTime::now()
}
