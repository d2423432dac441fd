//! `events/asyncapi.yaml`, and whether a frame is one that it describes.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use jsonschema::Validator;
use serde_json::{Value, json};

/// The document.
pub static DOCUMENT: LazyLock<Value> = LazyLock::new(|| {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../events/asyncapi.yaml");
    let text = fs::read_to_string(path).expect("events/asyncapi.yaml reads");
    serde_saphyr::from_str(&text).expect("events/asyncapi.yaml is YAML")
});

/// What each kind of frame of an operation looks like, by its `type`.
fn frames(operation: &str) -> BTreeMap<String, Validator> {
    let messages = DOCUMENT["operations"][operation]["messages"].as_array().expect("messages");
    let named = messages.iter().map(|message| {
        let message = resolve(resolve(message));
        let kind = message["payload"]["properties"]["type"]["const"].as_str().expect("a type");
        // The schemas refer to each other by their places in the document.
        let schema = json!({
            "$schema": "http://json-schema.org/draft-07/schema#",
            "allOf": [message["payload"]],
            "components": DOCUMENT["components"],
        });
        (kind.to_owned(), jsonschema::validator_for(&schema).expect("a payload is a schema"))
    });
    named.collect()
}

/// What something in the document refers to, or the thing itself.
pub fn resolve(thing: &'static Value) -> &'static Value {
    match thing["$ref"].as_str() {
        Some(reference) => DOCUMENT.pointer(&reference[1..]).expect("a reference leads somewhere"),
        None => thing,
    }
}

static SAID: LazyLock<BTreeMap<String, Validator>> = LazyLock::new(|| frames("listen"));
static TOLD: LazyLock<BTreeMap<String, Validator>> = LazyLock::new(|| frames("tell"));

fn check(frames: &BTreeMap<String, Validator>, frame: &Value) -> Result<(), String> {
    let kind = frame["type"].as_str().unwrap_or_default();
    let schema = frames.get(kind).ok_or_else(|| format!("no frame is of type `{kind}`"))?;
    let wrong: Vec<_> = schema
        .iter_errors(frame)
        .map(|error| format!("{} at {}", error, error.instance_path()))
        .collect();
    if wrong.is_empty() { Ok(()) } else { Err(format!("{}: {frame:#}", wrong.join("; "))) }
}

/// What is wrong with a frame that a client sends.
pub fn check_said(frame: &Value) -> Result<(), String> {
    check(&SAID, frame)
}

/// What is wrong with a frame that a client gets.
pub fn check_told(frame: &Value) -> Result<(), String> {
    check(&TOLD, frame)
}
