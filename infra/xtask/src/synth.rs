//! Writes what is generated from the route table, or proves that it is fresh.

use std::path::PathBuf;

use domain::agent::AgentLifecycle;
use domain::container::ContainerLifecycle;
use domain::machine::mermaid;
use domain::realm::RealmLifecycle;
use domain::run::RunLifecycle;
use domain::session::SessionLifecycle;

/// Writes every generated file, or with `check` only compares.
pub(crate) fn synth(check: bool) -> Result<(), String> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    let map = std::fs::read_to_string(root.join(ARCHITECTURE))
        .map_err(|error| format!("{ARCHITECTURE}: {error}"))?;
    let mut files = generated();
    files.push((ARCHITECTURE, architecture(map)?));
    for (path, content) in files {
        let path = root.join(path);
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

const ARCHITECTURE: &str = "ARCHITECTURE.md";

/// Fills each machine's place in the map with its diagram.
fn architecture(mut text: String) -> Result<String, String> {
    let machines = [
        ("agent", mermaid::<AgentLifecycle>()),
        ("container", mermaid::<ContainerLifecycle>()),
        ("session", mermaid::<SessionLifecycle>()),
        ("run", mermaid::<RunLifecycle>()),
        ("realm", mermaid::<RealmLifecycle>()),
    ];
    for (name, diagram) in machines {
        let (begin, end) = (format!("<!-- machine: {name} -->\n"), "<!-- /machine -->");
        let from =
            text.find(&begin).ok_or_else(|| format!("{ARCHITECTURE} has no place for {name}"))?;
        let from = from + begin.len();
        let length =
            text[from..].find(end).ok_or_else(|| format!("the place for {name} has no end"))?;
        text.replace_range(from..from + length, &format!("```mermaid\n{diagram}```\n"));
    }
    Ok(text)
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
