//! The simpler schema of agentd (`distribution.type`), told in the official one's words.

use serde_json::{Map, Value, json};

/// The platforms an entry without any is taken to be for.
const EVERY_LINUX: [&str; 2] = ["linux-x86_64", "linux-aarch64"];

/// The same entry as the official document would have it. What is not of the simpler schema stays
/// as it is.
pub(super) fn official(mut entry: Value) -> Value {
    let Some(kind) = entry["distribution"]["type"].as_str().map(str::to_owned) else {
        return entry;
    };
    let mut way = entry["distribution"][&kind].clone();
    let Some(fields) = way.as_object_mut() else { return entry };
    for (old, new) in [("url", "archive"), ("executable", "cmd")] {
        if kind == "binary"
            && let Some(value) = fields.remove(old)
        {
            fields.insert(new.to_owned(), value);
        }
    }
    if let Some(version) = fields.remove("version")
        && let (Some(version), Some(package)) = (version.as_str(), fields["package"].as_str())
    {
        let package = format!("{package}@{version}");
        fields.insert("package".to_owned(), json!(package));
    }
    if let Some(env) = entry.get("default_env").or_else(|| entry.get("defaultEnv")).cloned() {
        fields.entry("env").or_insert(env);
    }
    let distribution = if kind == "binary" {
        let named: Vec<String> = entry["platforms"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|name| name.as_str().map(str::to_owned))
            .collect();
        let named = if named.is_empty() { EVERY_LINUX.map(str::to_owned).to_vec() } else { named };
        let of_each: Map<String, Value> =
            named.into_iter().map(|name| (name, way.clone())).collect();
        json!({ "binary": of_each })
    } else {
        json!({ kind: way })
    };
    entry["distribution"] = distribution;
    entry
}
