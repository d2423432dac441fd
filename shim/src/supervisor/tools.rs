//! Of which kinds an agent's tool calls are: a request for permission may leave it to what was told
//! before.

use std::collections::{BTreeMap, VecDeque};

use serde::Deserialize;
use serde_json::value::RawValue;

/// How many tool calls are known.
const KNOWN: usize = 256;
/// The longest id and kind that are kept.
const LENGTH: usize = 256;

#[derive(Debug, Default)]
pub(super) struct Tools(VecDeque<(String, String)>);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Call {
    #[serde(default)]
    tool_call_id: String,
    #[serde(default)]
    kind: Option<String>,
}

impl Tools {
    /// Takes up what a `tool_call` or a `tool_call_update` says.
    pub(super) fn note(&mut self, fields: &BTreeMap<String, &RawValue>) {
        let text = |name: &str| {
            let text = fields.get(name)?.get();
            (text.len() <= LENGTH).then(|| serde_json::from_str::<String>(text).ok())?
        };
        let (Some(id), Some(kind)) = (text("toolCallId"), text("kind")) else { return };
        self.0.retain(|(known, _)| *known != id);
        self.0.push_back((id, kind));
        if self.0.len() > KNOWN {
            self.0.pop_front();
        }
    }

    /// The kind of the tool call that permission is asked for; `other` where nobody said.
    pub(super) fn kind(&self, call: Option<&RawValue>) -> String {
        let call = call.and_then(|call| serde_json::from_str::<Call>(call.get()).ok());
        let Some(call) = call else { return "other".to_owned() };
        let known = || {
            let found = self.0.iter().find(|(id, _)| *id == call.tool_call_id);
            found.map(|(_, kind)| kind.clone())
        };
        call.kind.clone().or_else(known).unwrap_or_else(|| "other".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_of_a_call_counts_until_something_else_is() {
        let mut tools = Tools::default();
        let raw = |text: &str| RawValue::from_string(text.to_owned()).unwrap();
        let mut note = |text: &str| {
            tools.note(&serde_json::from_str(text).unwrap());
        };
        note(r#"{"toolCallId":"a","kind":"edit"}"#);
        note(r#"{"toolCallId":"a","title":"no kind"}"#);
        note(r#"{"toolCallId":"b","kind":"read"}"#);
        note(r#"{"toolCallId":"b","kind":"execute"}"#);
        let kind = |text: &str| tools.kind(Some(&raw(text)));
        assert_eq!(kind(r#"{"toolCallId":"a"}"#), "edit");
        assert_eq!(kind(r#"{"toolCallId":"a","kind":"delete"}"#), "delete");
        assert_eq!(kind(r#"{"toolCallId":"b","kind":null}"#), "execute");
        assert_eq!(kind(r#"{"toolCallId":"c"}"#), "other");
        assert_eq!(tools.kind(None), "other");
        for n in 0..1000 {
            let text = format!(r#"{{"toolCallId":"{n}","kind":"read"}}"#);
            tools.note(&serde_json::from_str(&text).unwrap());
        }
        assert_eq!(tools.0.len(), KNOWN);
    }
}
