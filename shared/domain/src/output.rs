//! What the answer to a prompt is to be, and whether an answer is that.
//!
//! What holds here: judging an answer takes a time that the schema bounds, whoever wrote either. So a
//! schema refers to its own parts alone, never back to itself, and patterns are of the kind that is
//! matched in linear time.
//!
//! Deliberately absent: schemas from elsewhere, and schemas of trees of any depth.

use jsonschema::{PatternOptions, Validator};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The most bytes of a schema as JSON: with its prompt it fits an item of the table.
pub const MAX_SCHEMA: usize = 16 * 1024;
/// The most bytes of an answer as JSON.
pub const MAX_ANSWER: usize = 64 * 1024;
/// How often an answer that does not fit is sent back to its agent.
pub const MAX_CORRECTIONS: u32 = 2;
/// The most values in a schema, what is referred to counted wherever it is.
const MAX_PARTS: usize = 4000;
/// How deep they may be in each other.
const MAX_DEPTH: usize = 48;
/// The most memory of a pattern, in bytes.
const MAX_PATTERN: usize = 256 * 1024;
/// The most characters of what is wrong with an answer.
const MAX_WRONG: usize = 500;

/// What the answer to a prompt is to be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Output {
    /// Text.
    #[default]
    Text,
    /// JSON that fits a schema. An answer that does not is sent back to the agent, twice at most; then
    /// the run fails with `output_invalid`.
    Structured {
        /// The JSON Schema: at most 16 KiB, referring with `$ref` to its own parts alone and never back
        /// to itself.
        schema: Value,
    },
}

impl Output {
    /// Whether any text will do.
    pub const fn is_text(&self) -> bool {
        matches!(self, Self::Text)
    }

    /// The schema it is to fit, where there is one.
    pub const fn schema(&self) -> Option<&Value> {
        match self {
            Self::Text => None,
            Self::Structured { schema } => Some(schema),
        }
    }
}

/// Why an answer cannot be judged by a schema.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadSchema {
    /// It is too long.
    #[error("the schema has more than {MAX_SCHEMA} bytes of JSON")]
    TooLong,
    /// It is too deep.
    #[error("the schema is more than {MAX_DEPTH} levels deep, what it refers to included")]
    TooDeep,
    /// It is too much.
    #[error("the schema has more than {MAX_PARTS} parts, what it refers to counted each time")]
    TooMuch,
    /// It refers to something else than a part of itself.
    #[error("the schema refers to {0}, which is no part of it")]
    Elsewhere(String),
    /// It refers to something that refers back.
    #[error("the schema refers to {0} from within it, and so never ends")]
    Endless(String),
    /// It uses a word that is not taken here.
    #[error("the schema uses {0}, which is not supported")]
    Unsupported(&'static str),
    /// It is no JSON Schema.
    #[error("{0}")]
    NoSchema(String),
}

/// A schema that is ready to judge answers.
#[derive(Debug)]
pub struct Contract(Validator);

impl Contract {
    /// Takes a schema in.
    pub fn new(schema: &Value) -> Result<Self, BadSchema> {
        if bytes(schema) > MAX_SCHEMA {
            return Err(BadSchema::TooLong);
        }
        Weight { schema, left: MAX_PARTS, inside: Vec::new() }.add(schema, 0)?;
        let patterns = PatternOptions::regex().size_limit(MAX_PATTERN).dfa_size_limit(MAX_PATTERN);
        jsonschema::options()
            .with_pattern_options(patterns)
            .build(schema)
            .map(Self)
            .map_err(|why| BadSchema::NoSchema(short(&why.to_string())))
    }

    /// Whether an answer fits; where it does not, what is wrong with it, in a line.
    pub fn judge(&self, answer: &Value) -> Result<(), String> {
        if bytes(answer) > MAX_ANSWER {
            return Err(format!("the answer has more than {MAX_ANSWER} bytes of JSON"));
        }
        self.0.validate(answer).map_err(|why| {
            let place = why.instance_path().to_string();
            let place = if place.is_empty() { "the answer" } else { &place };
            short(&format!("{place}: {why}"))
        })
    }

    /// The answer in a message: all of it, or the last fenced block that is JSON.
    pub fn read(&self, message: &str) -> Result<Value, String> {
        let answer = extract(message).ok_or("the answer is not JSON")?;
        self.judge(&answer)?;
        Ok(answer)
    }
}

fn bytes(value: &Value) -> usize {
    serde_json::to_vec(value).map_or(usize::MAX, |json| json.len())
}

fn short(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_WRONG).collect()
}

/// The JSON in a message: all of it, or the last of its fenced blocks that is JSON.
pub fn extract(message: &str) -> Option<Value> {
    if let Ok(value) = serde_json::from_str(message) {
        return Some(value);
    }
    let mut found = None;
    let mut open: Option<(&str, usize)> = None;
    let mut place = 0;
    for line in message.split_inclusive('\n') {
        let (start, bare) = (place, line.trim());
        place += line.len();
        let ticks = bare.len() - bare.trim_start_matches('`').len();
        match open {
            None if ticks >= 3 && !bare[ticks..].contains('`') => {
                open = Some((&bare[..ticks], place));
            }
            Some((fence, from)) if ticks >= fence.len() && bare.len() == ticks => {
                found = serde_json::from_str(&message[from..start]).ok().or(found);
                open = None;
            }
            None | Some(_) => {}
        }
    }
    found
}

/// Adds up what judging by a schema can take.
struct Weight<'a> {
    schema: &'a Value,
    left: usize,
    /// The parts it is in by reference.
    inside: Vec<&'a str>,
}

impl<'a> Weight<'a> {
    fn add(&mut self, part: &'a Value, depth: usize) -> Result<(), BadSchema> {
        if depth > MAX_DEPTH {
            return Err(BadSchema::TooDeep);
        }
        self.left = self.left.checked_sub(1).ok_or(BadSchema::TooMuch)?;
        match part {
            Value::Array(all) => all.iter().try_for_each(|one| self.add(one, depth + 1)),
            Value::Object(all) => all.iter().try_for_each(|(word, one)| {
                if let Value::String(text) = one {
                    self.refer(word, text, depth)?;
                }
                self.add(one, depth + 1)
            }),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(()),
        }
    }

    fn refer(&mut self, word: &str, target: &'a str, depth: usize) -> Result<(), BadSchema> {
        // What gives a part another name, or finds it by one, is beyond what is followed here.
        const NAMES: [&str; 5] =
            ["$anchor", "$dynamicAnchor", "$dynamicRef", "$recursiveRef", "$id"];
        if let Some(name) = NAMES.into_iter().find(|name| *name == word)
            && (word != "$id" || depth > 0)
        {
            return Err(BadSchema::Unsupported(name));
        }
        if word != "$ref" {
            return Ok(());
        }
        let part = target
            .strip_prefix('#')
            .filter(|pointer| !pointer.contains('%'))
            .and_then(|pointer| self.schema.pointer(pointer))
            .ok_or_else(|| BadSchema::Elsewhere(short(target)))?;
        if self.inside.contains(&target) {
            return Err(BadSchema::Endless(short(target)));
        }
        self.inside.push(target);
        self.add(part, depth + 1)?;
        self.inside.pop();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn person() -> Value {
        json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "properties": { "name": { "$ref": "#/$defs/name" }, "age": { "type": "integer" } },
            "required": ["name"],
            "additionalProperties": false,
            "$defs": { "name": { "type": "string", "pattern": "^[A-Z]" } },
        })
    }

    #[test]
    fn an_answer_fits_or_is_told_what_is_wrong() {
        let contract = Contract::new(&person()).unwrap();
        assert_eq!(contract.read("{\"name\": \"Ann\"}"), Ok(json!({ "name": "Ann" })));
        for (message, wrong) in [
            ("Ann", "not JSON"),
            ("", "not JSON"),
            ("{\"name\": \"ann\"}", "/name: "),
            ("{}", "the answer: "),
            ("{\"name\": \"Ann\", \"age\": 1.5}", "/age: "),
            ("```json\n{\"name\": 3}\n```", "/name: "),
        ] {
            let why = contract.read(message).unwrap_err();
            assert!(why.contains(wrong), "{message}: {why}");
        }
        let long = json!({ "name": "A".repeat(MAX_ANSWER) });
        assert!(contract.judge(&long).unwrap_err().contains("more than"));
    }

    #[test]
    fn what_cannot_be_judged_in_time_is_refused() {
        let deep = (0..60).fold(json!(true), |inner, _| json!({ "not": inner }));
        let doubled = {
            let mut parts = serde_json::Map::new();
            parts.insert("d0".to_owned(), json!({ "type": "string" }));
            for n in 1..14 {
                let before = json!({ "$ref": format!("#/$defs/d{}", n - 1) });
                parts.insert(format!("d{n}"), json!({ "allOf": [before, before] }));
            }
            json!({ "$ref": "#/$defs/d13", "$defs": parts })
        };
        let endless = json!({ "items": { "$ref": "#" } });
        let away = "https://example.com/schema.json";
        for (schema, why) in [
            (json!({ "description": "x".repeat(MAX_SCHEMA) }), BadSchema::TooLong),
            (deep, BadSchema::TooDeep),
            (doubled, BadSchema::TooMuch),
            (endless, BadSchema::Endless("#".to_owned())),
            (json!({ "$ref": away }), BadSchema::Elsewhere(away.to_owned())),
            (
                json!({ "$ref": "file:///etc/passwd" }),
                BadSchema::Elsewhere("file:///etc/passwd".to_owned()),
            ),
            (json!({ "$ref": "#/nowhere" }), BadSchema::Elsewhere("#/nowhere".to_owned())),
            (json!({ "not": { "$id": "https://example.com/" } }), BadSchema::Unsupported("$id")),
            (json!({ "$dynamicRef": "#x" }), BadSchema::Unsupported("$dynamicRef")),
        ] {
            assert_eq!(Contract::new(&schema).unwrap_err(), why);
        }
        for schema in [
            json!("string"),
            json!({ "type": "strong" }),
            json!({ "pattern": "(" }),
            json!({ "pattern": "(a)\\1" }),
            json!({ "pattern": "(\\w{999}){999}" }),
            json!({ "$schema": away }),
        ] {
            assert!(matches!(Contract::new(&schema), Err(BadSchema::NoSchema(_))), "{schema}");
        }
    }

    #[test]
    fn the_last_block_counts() {
        for (message, found) in [
            ("```\n1\n```", Some(json!(1))),
            ("so:\n```json\n{\"a\": 1}\n```\nor\n~~~\n```JSON\n[2]\n```\ndone", Some(json!([2]))),
            ("```json\n1\n```\n```sh\nls\n```", Some(json!(1))),
            ("````\n```\n````", None),
            ("````\n\"```\"\n````\n", Some(json!("```"))),
            ("```json\n1", None),
            ("the answer is 1", None),
            ("  [1]\n", Some(json!([1]))),
        ] {
            assert_eq!(extract(message), found, "{message}");
        }
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "[\\PC`\n]{0,20}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("\\PC{0,8}", inner, 0..4)
                    .prop_map(|all| Value::Object(all.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn json_is_found_bare_and_fenced(value in any_json(), words in "[a-z .\n]{0,40}") {
            prop_assert_eq!(extract(&value.to_string()), Some(value.clone()));
            let pretty = serde_json::to_string_pretty(&value).unwrap();
            let fenced = format!("{words}\n```json\n{pretty}\n```\n{words}");
            prop_assert_eq!(extract(&fenced), Some(value));
        }

        #[test]
        fn nothing_breaks_it(message in "[`\n{}\\[\\]\"a1:, \\PC]{0,200}") {
            extract(&message);
        }
    }
}
