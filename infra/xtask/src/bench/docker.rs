//! What Docker needs for the same: a process in a container.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use super::Result;
use super::figure::median;
use super::time::millis_since;

/// The image that is made: one static program and nothing else.
const IMAGE: &str = "reeve-bench:latest";

/// How often it is run.
const ROUNDS: usize = 10;

/// The p50 of `docker run` of an image that holds nothing but `program`, in milliseconds; the reason
/// where there is no engine to ask.
pub(crate) fn run(program: &Path) -> Result<std::result::Result<f64, String>> {
    let engine =
        Command::new("docker").arg("info").stdout(Stdio::null()).stderr(Stdio::null()).status();
    match engine {
        Err(_) => return Ok(Err("there is no docker here".to_owned())),
        Ok(status) if !status.success() => {
            return Ok(Err("docker is here, but no engine answers".to_owned()));
        }
        Ok(_) => {}
    }
    let directory = program.parent().ok_or("the shim lies in a directory")?;
    let name = program.file_name().ok_or("the shim has a name")?;
    let mut tar = Command::new("tar")
        .arg("-C")
        .arg(directory)
        .arg("-c")
        .arg(name)
        .stdout(Stdio::piped())
        .spawn()?;
    let archive = tar.stdout.take().ok_or("tar writes to a pipe")?;
    let imported = Command::new("docker")
        .args(["import", "-", IMAGE])
        .stdin(archive)
        .stdout(Stdio::null())
        .status()?;
    tar.wait()?;
    if !imported.success() {
        return Ok(Err("docker imports no image".to_owned()));
    }
    let mut taken = Vec::new();
    for _ in 0..ROUNDS {
        let started = Instant::now();
        // Without arguments the shim says how it is used and ends.
        Command::new("docker")
            .args(["run", "--rm", "--network", "none", IMAGE])
            .arg(Path::new("/").join(name))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()?;
        taken.push(millis_since(started));
    }
    Command::new("docker").args(["rmi", IMAGE]).stdout(Stdio::null()).status()?;
    Ok(Ok(median(&taken)))
}
