//! A conversation as a request for the next message carries it, as far as the script looks at it.

use serde::Deserialize;
use serde_json::{Map, Value};

/// What has been said and done, and which tools there are.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Conversation {
    messages: Vec<Message>,
    #[serde(default)]
    tools: Vec<Tool>,
    #[serde(default)]
    pub(super) stream: bool,
}

/// A tool that is offered.
#[derive(Clone, Debug, Deserialize)]
pub struct Tool {
    pub(super) name: String,
    #[serde(default)]
    pub(super) input_schema: Map<String, Value>,
}

#[derive(Clone, Debug, Deserialize)]
struct Message {
    role: String,
    content: Content,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Blocks(Vec<Block>),
}

#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Block {
    Text {
        text: String,
    },
    ToolResult {
        tool_use_id: String,
        content: Option<Content>,
        #[serde(default)]
        is_error: bool,
    },
    #[serde(other)]
    Other,
}

/// What came of a tool call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) text: String,
    pub(super) failed: bool,
}

impl Content {
    fn text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Blocks(blocks) => {
                let texts = blocks.iter().filter_map(|block| match block {
                    Block::Text { text } => Some(text.as_str()),
                    Block::ToolResult { .. } | Block::Other => None,
                });
                texts.collect::<Vec<_>>().join("\n")
            }
        }
    }

    fn results(&self) -> impl Iterator<Item = (&str, Outcome)> {
        let blocks = match self {
            Self::Text(_) => [].as_slice(),
            Self::Blocks(blocks) => blocks,
        };
        blocks.iter().filter_map(|block| match block {
            Block::ToolResult { tool_use_id, content, is_error } => {
                let text = content.as_ref().map(Self::text).unwrap_or_default();
                Some((tool_use_id.as_str(), Outcome { text, failed: *is_error }))
            }
            Block::Text { .. } | Block::Other => None,
        })
    }
}

impl Message {
    fn is_prompt(&self) -> bool {
        self.role == "user" && self.content.results().next().is_none()
    }
}

impl Conversation {
    /// The tool called `name`.
    pub(super) fn tool(&self, name: &str) -> Option<&Tool> {
        self.tools.iter().find(|tool| tool.name == name)
    }

    /// The last prompt.
    pub(super) fn prompt(&self) -> String {
        self.messages.get(self.turn()).map(|prompt| prompt.content.text()).unwrap_or_default()
    }

    /// The id of the call that is `step` of the current turn.
    pub(super) fn call_id(&self, step: &str) -> String {
        format!("toolu_scripted_{}_{step}", self.turn())
    }

    /// What came of that call, once it has been made.
    pub(super) fn outcome(&self, step: &str) -> Option<Outcome> {
        let ours = self.call_id(step);
        let turn = self.messages.iter().skip(self.turn());
        let mut results = turn.flat_map(|message| message.content.results());
        results.find(|(id, _)| *id == ours).map(|(_, outcome)| outcome)
    }

    /// How many messages there are.
    pub(super) fn len(&self) -> usize {
        self.messages.len()
    }

    /// Where the current turn begins: at the last prompt.
    fn turn(&self) -> usize {
        self.messages.iter().rposition(Message::is_prompt).unwrap_or_default()
    }
}
