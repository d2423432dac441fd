//! The conversation, in no endpoint's shape.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The conversation so far.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Transcript(pub(super) Vec<Entry>);

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "role", rename_all = "snake_case")]
pub(super) enum Entry {
    User {
        text: String,
    },
    Assistant {
        text: String,
        calls: Vec<Call>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        thoughts: Vec<Value>,
    },
    Results {
        results: Vec<Answered>,
    },
}

/// A tool call of the model.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Call {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) input: Value,
}

/// What came of a tool call.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Answered {
    pub(super) id: String,
    pub(super) failed: bool,
    pub(super) text: String,
}

impl Transcript {
    /// Answers the calls that were cut off: an endpoint refuses a conversation with open ones.
    pub(super) fn settle(&mut self) {
        if let Some(Entry::Assistant { calls, .. }) = self.0.last()
            && !calls.is_empty()
        {
            let results = calls
                .iter()
                .map(|call| Answered {
                    id: call.id.clone(),
                    failed: true,
                    text: "The call was interrupted.".to_owned(),
                })
                .collect();
            self.results(results);
        }
    }

    pub(super) fn ask(&mut self, text: &str) {
        self.0.push(Entry::User { text: text.to_owned() });
    }

    /// What the model said. Nothing at all is no entry: endpoints refuse an empty one.
    pub(super) fn answer(&mut self, text: String, calls: Vec<Call>, thoughts: Vec<Value>) {
        if !text.is_empty() || !calls.is_empty() {
            self.0.push(Entry::Assistant { text, calls, thoughts });
        }
    }

    pub(super) fn results(&mut self, results: Vec<Answered>) {
        if !results.is_empty() {
            self.0.push(Entry::Results { results });
        }
    }
}
