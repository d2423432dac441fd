//! Writes what is generated from the route table, or proves that it is fresh.

mod policy;
mod stack;
mod trigger;

use std::path::PathBuf;

use domain::agent::AgentLifecycle;
use domain::container::ContainerLifecycle;
use domain::instance::InstanceLifecycle;
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
    files.extend(crate::events::generated());
    files.push((ARCHITECTURE.to_owned(), architecture(map)?));
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
        ("instance", mermaid::<InstanceLifecycle>()),
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

fn generated() -> Vec<(String, String)> {
    let document = api::openapi("Reeve", env!("CARGO_PKG_VERSION"), &routes::routes());
    let document = serde_json::to_string_pretty(&document).unwrap_or_default();
    let mut files = vec![("openapi".to_owned(), document)];
    for (artifact, template) in stack::stacks() {
        let template = serde_json::to_string_pretty(&template).unwrap_or_default();
        files.push((artifact.to_owned(), template));
    }
    let place = |(name, text)| (format!("{GENERATED}/{name}.json"), format!("{text}\n"));
    files.into_iter().map(place).collect()
}

const GENERATED: &str = "infra/aws/generated";

#[cfg(test)]
mod tests {
    #[test]
    fn what_is_generated_is_fresh() {
        super::synth(true).unwrap();
    }
}
