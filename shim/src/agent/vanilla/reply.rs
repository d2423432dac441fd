//! What a model answers, whatever the shape of its endpoint, put together from a stream.

use serde_json::Value;

use super::transcript::Call;

/// One answer of the model.
#[derive(Debug, Default)]
pub(super) struct Reply {
    pub(super) text: String,
    pub(super) calls: Vec<Call>,
    /// What it thought, as its endpoint wants it back.
    pub(super) thoughts: Vec<Value>,
    pub(super) input_tokens: u64,
    pub(super) output_tokens: u64,
    pub(super) stop: Stop,
}

/// Why it ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Stop {
    /// It said all, or wants its tools to be run.
    #[default]
    Ended,
    /// It was longer than one answer may be.
    CutOff,
    /// The model will not.
    Refused,
}

/// A piece that can be shown at once.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    Text(String),
    Thought(String),
}

/// What a stream says about its own failure.
#[derive(Debug)]
pub(super) struct Broken {
    pub(super) message: String,
    /// Whether the same request may succeed later.
    pub(super) passing: bool,
}

/// Tool calls whose inputs arrive in pieces.
#[derive(Debug, Default)]
pub(super) struct Pending(Vec<(usize, Call, String)>);

impl Pending {
    pub(super) fn begin(&mut self, index: usize, id: &str, name: &str) {
        let call = Call { id: id.to_owned(), name: name.to_owned(), input: Value::Null };
        self.0.push((index, call, String::new()));
    }

    pub(super) fn add(&mut self, index: usize, piece: &str) {
        if let Some((_, _, input)) = self.0.iter_mut().rev().find(|(known, ..)| *known == index) {
            input.push_str(piece);
        }
    }

    pub(super) fn knows(&self, index: usize) -> bool {
        self.0.iter().any(|(known, ..)| *known == index)
    }

    /// The calls. An input that cannot be read stays null, and the tool says so to the model.
    pub(super) fn finish(self) -> Vec<Call> {
        let read = |(_, mut call, input): (usize, Call, String)| {
            let input = if input.trim().is_empty() { "{}" } else { &input };
            call.input = serde_json::from_str(input).unwrap_or(Value::Null);
            call
        };
        self.0.into_iter().map(read).collect()
    }
}
