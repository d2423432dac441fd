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
        (kind.to_owned(), validator(&message["payload"]))
    });
    named.collect()
}

fn validator(schema: &Value) -> Validator {
    // The schemas refer to each other by their places in the document.
    let schema = json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "allOf": [schema],
        "components": DOCUMENT["components"],
    });
    jsonschema::validator_for(&schema).expect("it is a schema")
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
static EVENT: LazyLock<Validator> =
    LazyLock::new(|| validator(&json!({ "$ref": "#/components/schemas/Event" })));

fn check(frames: &BTreeMap<String, Validator>, frame: &Value) -> Result<(), String> {
    let kind = frame["type"].as_str().unwrap_or_default();
    fits(frames.get(kind).ok_or_else(|| format!("no frame is of type `{kind}`"))?, frame)
}

fn fits(schema: &Validator, frame: &Value) -> Result<(), String> {
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

/// What is wrong with an event of a session, in whatever way it was read.
pub fn check_event(event: &Value) -> Result<(), String> {
    fits(&EVENT, event)
}

/// What is wrong with a frame that a client gets.
pub fn check_told(frame: &Value) -> Result<(), String> {
    check(&TOLD, frame)
}
