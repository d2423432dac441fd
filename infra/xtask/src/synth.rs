//! Writes what is generated from the route table, or proves that it is fresh.

use std::path::PathBuf;

/// Writes every generated file, or with `check` only compares.
pub(crate) fn synth(check: bool) -> Result<(), String> {
    for (path, content) in generated() {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..").join(path);
        if std::fs::read_to_string(&path).is_ok_and(|found| found == content) {
            continue;
        }
        if check {
            return Err(format!("{} is stale: run `cargo xtask synth`", path.display()));
        }
        std::fs::write(&path, content).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(())
}

fn generated() -> Vec<(&'static str, String)> {
    let document = api::openapi("Reeve", env!("CARGO_PKG_VERSION"), &routes::routes());
    let mut text = serde_json::to_string_pretty(&document).unwrap_or_default();
    text.push('\n');
    vec![("infra/aws/generated/openapi.json", text)]
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_is_generated_is_fresh() {
        super::synth(true).unwrap();
    }
}
