//! What a normal run costs on DynamoDB.
//!
//! It does not depend on the machine: the test that holds it counts it, and this only asks it.

use std::path::Path;
use std::process::{Command, Stdio};

use super::Result;
use super::figure::{Figure, Target};

/// The test, and what stands behind the figure in the line that it prints.
const TEST: &str = "normal_run::a_normal_run_takes_few_units";
const FIGURE: &str = " write units for a normal run";

/// Runs the test, with the features of every other.
pub(crate) fn measure() -> Result<Vec<Figure>> {
    let cargo = option_env!("CARGO").unwrap_or("cargo");
    let ran = Command::new(cargo)
        .args(["test", "--quiet", "--locked", "--package", "tests", "--package", "reeve"])
        .args(["--package", "shim", "--features", "reeve/failpoints", "--test", "it"])
        .args(["--", "--exact", TEST, "--nocapture"])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."))
        .stderr(Stdio::inherit())
        .output()?;
    let said = String::from_utf8_lossy(&ran.stdout);
    let found = said.lines().find_map(|line| line.split_once(FIGURE));
    let (units, of) = found.ok_or("the test of a normal run says no figure")?;
    Ok(vec![Figure::new(
        "write units of a normal run, about 1,000 stream events",
        "",
        Target::AtMost(60.0),
        units.trim().parse()?,
        format!("with its part of the realm's log{of}"),
    )])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_is_there_and_says_it() {
        let (module, test) = TEST.split_once("::").unwrap();
        let path = format!("{}/../../tests/it/{module}.rs", env!("CARGO_MANIFEST_DIR"));
        let source = std::fs::read_to_string(path).unwrap();
        assert!(source.contains(&format!("fn {test}(")) && source.contains(FIGURE));
    }
}
