//! Arguments for a tool by what they are for: their names are found in the tool's schema.

use serde_json::{Map, Value, json};

use super::conversation::Tool;

/// What an argument is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Path,
    Content,
    Command,
    Pattern,
}

impl Role {
    /// What it may be called, the likeliest first.
    const fn names(self) -> &'static [&'static str] {
        match self {
            Self::Path => &[
                "path",
                "file_path",
                "filePath",
                "filepath",
                "file",
                "filename",
                "directory",
                "dir",
                "root",
            ],
            Self::Content => &["content", "contents", "text", "data"],
            Self::Command => &["command", "cmd", "script"],
            Self::Pattern => &["pattern", "query", "regex", "search", "needle"],
        }
    }
}

/// The arguments for `tool` with these `values`. What else the schema requires gets an innocent
/// value of its type.
pub(super) fn arguments(tool: &Tool, values: &[(Role, &str)]) -> Value {
    let none = Map::new();
    let properties =
        tool.input_schema.get("properties").and_then(Value::as_object).unwrap_or(&none);
    let required: Vec<&str> = tool
        .input_schema
        .get("required")
        .and_then(Value::as_array)
        .map(|names| names.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default();
    let mut input = Map::new();
    for (role, value) in values {
        let known = role.names().iter().copied().find(|name| properties.contains_key(*name));
        let open = || required.iter().copied().find(|name| !input.contains_key(*name));
        let Some(name) =
            known.or_else(open).or_else(|| properties.is_empty().then(|| role.names()[0]))
        else {
            continue;
        };
        let is_list = properties.get(name).is_some_and(|schema| schema["type"] == "array");
        let value = match role {
            Role::Command if is_list => json!(["sh", "-c", value]),
            Role::Path | Role::Content | Role::Pattern if is_list => json!([value]),
            Role::Path | Role::Content | Role::Command | Role::Pattern => json!(value),
        };
        input.insert(name.to_owned(), value);
    }
    for name in required {
        if !input.contains_key(name) {
            let schema = properties.get(name).unwrap_or(&Value::Null);
            input.insert(name.to_owned(), innocent(schema));
        }
    }
    input.into()
}

fn innocent(schema: &Value) -> Value {
    if !schema["default"].is_null() {
        return schema["default"].clone();
    }
    if let Some(first) = schema["enum"].as_array().and_then(|values| values.first()) {
        return first.clone();
    }
    match schema["type"].as_str() {
        Some("integer" | "number") if schema["minimum"].is_number() => schema["minimum"].clone(),
        Some("integer" | "number") => json!(1),
        Some("boolean") => json!(false),
        Some("array") => json!([]),
        Some("object") => json!({}),
        _ => json!(""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tool(schema: &Value) -> Tool {
        serde_json::from_value(json!({ "name": "t", "input_schema": schema })).unwrap()
    }

    #[test]
    fn names_come_from_the_schema() {
        let write = tool(&json!({
            "properties": { "file_path": { "type": "string" }, "text": { "type": "string" } },
            "required": ["file_path", "text"],
        }));
        let input = arguments(&write, &[(Role::Path, "report.md"), (Role::Content, "hi")]);
        assert_eq!(input, json!({ "file_path": "report.md", "text": "hi" }));
    }

    #[test]
    fn an_unknown_name_is_taken_if_it_is_required() {
        let shell = tool(&json!({
            "properties": {
                "line": { "type": "string" },
                "timeout": { "type": "integer", "minimum": 5 },
                "cwd": { "type": "string" },
            },
            "required": ["line", "timeout"],
        }));
        let input = arguments(&shell, &[(Role::Command, "ls")]);
        assert_eq!(input, json!({ "line": "ls", "timeout": 5 }));
    }

    #[test]
    fn a_command_may_be_a_list() {
        let shell = tool(&json!({ "properties": { "command": { "type": "array" } } }));
        let input = arguments(&shell, &[(Role::Command, "ls")]);
        assert_eq!(input, json!({ "command": ["sh", "-c", "ls"] }));
    }

    #[test]
    fn without_a_schema_the_likeliest_name_is_taken() {
        assert_eq!(arguments(&tool(&json!({})), &[(Role::Path, "/")]), json!({ "path": "/" }));
    }
}
