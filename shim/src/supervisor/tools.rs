//! Of which kinds an agent's tool calls are, and what they are called: a request for permission may
//! leave it to what was told before.

use std::collections::{BTreeMap, VecDeque};

use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value};

/// How many tool calls are known.
const KNOWN: usize = 256;
/// The longest id, kind and title that are kept.
const LENGTH: usize = 256;
/// What is kept of a call.
const FIELDS: [&str; 2] = ["kind", "title"];

#[derive(Debug, Default)]
pub(super) struct Tools(VecDeque<(String, BTreeMap<&'static str, String>)>);

impl Tools {
    /// Takes up what a `tool_call` or a `tool_call_update` says.
    pub(super) fn note(&mut self, fields: &BTreeMap<String, &RawValue>) {
        let text = |name: &str| {
            let text = fields.get(name)?.get();
            (text.len() <= LENGTH).then(|| serde_json::from_str::<String>(text).ok())?
        };
        let Some(id) = text("toolCallId") else { return };
        let place = self.0.iter().position(|(known, _)| *known == id);
        let mut told =
            place.and_then(|place| self.0.remove(place)).unwrap_or((id, BTreeMap::new()));
        told.1.extend(FIELDS.into_iter().filter_map(|field| Some((field, text(field)?))));
        self.0.push_back(told);
        if self.0.len() > KNOWN {
            self.0.pop_front();
        }
    }

    /// The tool call that permission is asked for, with what was told of it before where it does not say
    /// that again.
    pub(super) fn complete(&self, call: Option<&RawValue>) -> Option<Box<RawValue>> {
        let call = call?;
        let Ok(mut said) = serde_json::from_str::<Map<String, Value>>(call.get()) else {
            return Some(call.to_owned());
        };
        let known =
            self.0.iter().find(|(id, _)| said.get("toolCallId") == Some(&id.as_str().into()));
        for (field, text) in known.into_iter().flat_map(|(_, told)| told) {
            if said.get(*field).is_none_or(|said| said.is_null() || said == "") {
                said.insert((*field).to_owned(), text.as_str().into());
            }
        }
        to_raw_value(&said).ok()
    }

    /// The kind of a tool call; `other` where it does not say.
    pub(super) fn kind(call: Option<&RawValue>) -> String {
        let said = call.and_then(|call| serde_json::from_str::<Value>(call.get()).ok());
        let kind = said.as_ref().and_then(|said| said["kind"].as_str());
        kind.unwrap_or("other").to_owned()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_was_said_of_a_call_counts_until_something_else_is() {
        let mut tools = Tools::default();
        let raw = |value: &Value| to_raw_value(value).unwrap();
        let mut note = |text: &str| tools.note(&serde_json::from_str(text).unwrap());
        note(r#"{"toolCallId":"a","kind":"edit","title":"Write it"}"#);
        note(r#"{"toolCallId":"a","title":"Write x"}"#);
        note(r#"{"toolCallId":"b","kind":"read"}"#);
        note(r#"{"toolCallId":"b","kind":"execute","title":null}"#);
        let complete = |call: Value| -> Value {
            serde_json::from_str(tools.complete(Some(&raw(&call))).unwrap().get()).unwrap()
        };
        for (said, expected) in [
            (json!({ "toolCallId": "a" }), json!(["edit", "Write x"])),
            (
                json!({ "toolCallId": "a", "kind": "delete", "title": "" }),
                json!(["delete", "Write x"]),
            ),
            (json!({ "toolCallId": "b", "kind": null, "title": "Run" }), json!(["execute", "Run"])),
            (json!({ "toolCallId": "b" }), json!(["execute", null])),
            (json!({ "toolCallId": "c" }), json!([null, null])),
        ] {
            let whole = complete(said.clone());
            assert_eq!(json!([whole["kind"], whole["title"]]), expected, "{said}");
            assert_eq!(whole["toolCallId"], said["toolCallId"]);
        }
        assert_eq!(complete(json!([7])), json!([7]), "what cannot be read stays as it is");
        assert!(tools.complete(None).is_none());
        let kind = |call: Value| Tools::kind(Some(&raw(&call)));
        assert_eq!(kind(json!({ "kind": "edit" })), "edit");
        assert_eq!(kind(json!({ "kind": null })), "other");
        assert_eq!(Tools::kind(None), "other");
        for n in 0..1000 {
            let text = format!(r#"{{"toolCallId":"{n}","kind":"read"}}"#);
            tools.note(&serde_json::from_str(&text).unwrap());
        }
        assert_eq!(tools.0.len(), KNOWN);
    }
}
