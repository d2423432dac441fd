//! The tools of the loop. What they may reach is decided by the container's walls, not here.
//!
//! What holds here: what a tool gives to the model is bounded; a tool that is dropped in the middle
//! leaves no process behind; whatever the model sends is an answer to it, never a failure of ours.

mod files;
mod search;
mod shell;

use serde::Deserialize;
use serde_json::{Value, json};

use super::transcript::Call;

/// The most bytes a tool gives to the model.
const OUTPUT: usize = 30_000;

/// A tool, as the model is told of it.
#[derive(Debug)]
pub(super) struct About {
    pub(super) name: &'static str,
    pub(super) purpose: &'static str,
    required: &'static [&'static str],
    /// Name, type and meaning of each field.
    fields: &'static [(&'static str, &'static str, &'static str)],
}

impl About {
    /// The JSON Schema of the input.
    pub(super) fn schema(&self) -> Value {
        let properties: serde_json::Map<String, Value> = self
            .fields
            .iter()
            .map(|(name, kind, about)| {
                ((*name).to_owned(), json!({ "type": kind, "description": about }))
            })
            .collect();
        json!({ "type": "object", "properties": properties, "required": self.required })
    }
}

/// Every tool.
pub(super) const LIST: &[About] = &[
    About {
        name: "read_file",
        purpose: "Reads a text file.",
        required: &["path"],
        fields: &[
            ("path", "string", "The file."),
            ("offset", "integer", "The first line, counted from 1."),
            ("limit", "integer", "How many lines, 2000 if not given."),
        ],
    },
    About {
        name: "write_file",
        purpose: "Writes a file, and the directories above it. What was there is replaced.",
        required: &["path", "content"],
        fields: &[("path", "string", "The file."), ("content", "string", "All of it.")],
    },
    About {
        name: "edit_file",
        purpose: "Replaces a text in a file. It must occur exactly once.",
        required: &["path", "old", "new"],
        fields: &[
            ("path", "string", "The file."),
            ("old", "string", "What is there, with enough around it to be unique."),
            ("new", "string", "What is to be there."),
        ],
    },
    About {
        name: "list_files",
        purpose: "Lists files below a directory, without what .gitignore excludes.",
        required: &[],
        fields: &[
            ("path", "string", "The directory, the workspace if not given."),
            ("glob", "string", "Only what fits, for example *.rs"),
        ],
    },
    About {
        name: "search",
        purpose: "Finds lines by a regular expression in the files below a directory.",
        required: &["pattern"],
        fields: &[
            ("pattern", "string", "The regular expression."),
            ("path", "string", "The directory or file, the workspace if not given."),
        ],
    },
    About {
        name: "shell",
        purpose: "Runs a command with /bin/sh in the workspace and gives what it wrote.",
        required: &["command"],
        fields: &[
            ("command", "string", "The command."),
            (
                "timeout",
                "integer",
                "Seconds after which it is ended, 120 if not given, at most 600.",
            ),
        ],
    },
];

/// A tool with its input.
#[derive(Debug, Deserialize)]
#[serde(tag = "name", content = "input", rename_all = "snake_case")]
pub(super) enum Tool {
    ReadFile { path: String, offset: Option<usize>, limit: Option<usize> },
    WriteFile { path: String, content: String },
    EditFile { path: String, old: String, new: String },
    ListFiles { path: Option<String>, glob: Option<String> },
    Search { pattern: String, path: Option<String> },
    Shell { command: String, timeout: Option<u64> },
}

/// What came of it: for the model, and where it was a change, for people.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) text: String,
    diff: Option<Value>,
}

impl From<String> for Outcome {
    fn from(text: String) -> Self {
        Self { text, diff: None }
    }
}

impl Outcome {
    /// ACP's content for it.
    pub(super) fn shown(&self) -> Value {
        self.diff.clone().unwrap_or_else(|| text(&self.text))
    }
}

/// ACP's content for a text.
pub(super) fn text(text: &str) -> Value {
    json!({ "type": "content", "content": { "type": "text", "text": text } })
}

impl Tool {
    /// Reads a call; the error is for the model.
    pub(super) fn read(call: &Call) -> Result<Self, String> {
        if !LIST.iter().any(|tool| tool.name == call.name) {
            return Err(format!("There is no tool {}.", call.name));
        }
        serde_json::from_value(json!({ "name": call.name, "input": call.input }))
            .map_err(|why| format!("The input cannot be read: {why}"))
    }

    /// ACP's kind.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::ReadFile { .. } => "read",
            Self::WriteFile { .. } | Self::EditFile { .. } => "edit",
            Self::ListFiles { .. } | Self::Search { .. } => "search",
            Self::Shell { .. } => "execute",
        }
    }

    /// One line for people.
    pub(super) fn title(&self) -> String {
        let line = match self {
            Self::ReadFile { path, .. } => format!("Read {path}"),
            Self::WriteFile { path, .. } => format!("Write {path}"),
            Self::EditFile { path, .. } => format!("Edit {path}"),
            Self::ListFiles { path, .. } => format!("List {}", path.as_deref().unwrap_or(".")),
            Self::Search { pattern, .. } => format!("Search {pattern}"),
            Self::Shell { command, .. } => command.clone(),
        };
        crate::report::cut::line(&line, 200)
    }

    /// The files it is about, as absolute paths.
    pub(super) fn locations(&self) -> Vec<String> {
        let path = match self {
            Self::ReadFile { path, .. }
            | Self::WriteFile { path, .. }
            | Self::EditFile { path, .. } => Some(path.as_str()),
            Self::ListFiles { path, .. } | Self::Search { path, .. } => path.as_deref(),
            Self::Shell { .. } => None,
        };
        path.map(|path| files::absolute(path).display().to_string()).into_iter().collect()
    }

    /// Runs it. The error is for the model.
    pub(super) async fn run(self) -> Result<Outcome, String> {
        if let Self::Shell { command, timeout } = self {
            return shell::run(&command, timeout).await.map(|text| clipped(text).into());
        }
        // A file may be a pipe nobody writes to: the turn must be able to end all the same.
        tokio::task::spawn_blocking(move || self.work())
            .await
            .map_err(|_| "The tool failed.".to_owned())?
    }

    fn work(self) -> Result<Outcome, String> {
        match self {
            Self::ReadFile { path, offset, limit } => {
                files::read(&path, offset, limit).map(|text| clipped(text).into())
            }
            Self::WriteFile { path, content } => files::write(&path, &content),
            Self::EditFile { path, old, new } => files::edit(&path, &old, &new),
            Self::ListFiles { path, glob } => {
                search::list(path.as_deref(), glob.as_deref()).map(|text| clipped(text).into())
            }
            Self::Search { pattern, path } => {
                search::find(&pattern, path.as_deref()).map(|text| clipped(text).into())
            }
            Self::Shell { .. } => Err("A command is not run here.".to_owned()),
        }
    }
}

/// `text` with its middle left out where it is too long: the end of an output tells most.
fn clipped(text: String) -> String {
    if text.len() <= OUTPUT {
        return text;
    }
    let head = &text[..text.floor_char_boundary(OUTPUT / 3)];
    let tail = &text[text.ceil_char_boundary(text.len() - OUTPUT / 3 * 2)..];
    let left_out = text.len() - head.len() - tail.len();
    format!("{head}\n[{left_out} bytes left out]\n{tail}")
}
