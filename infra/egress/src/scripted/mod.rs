//! The scripted model: a program that speaks the protocol of a model and works as one does, for a
//! demo on a machine that has no provider.
//!
//! What holds here
//! - It sees what a model sees, the conversation, and nothing else. All it says of a repository it
//!   has from the results of the tools it asked for; there is no canned answer.
//! - [`next`] is a pure function: the same conversation has the same continuation.
//! - It says that it is no language model, in every answer that ends a turn.
//!
//! Deliberately absent: understanding. It explores the repository that a prompt names and writes a
//! report; to any other prompt it says what it is.

mod arguments;
mod conversation;
mod explore;
mod findings;
mod report;
mod sse;

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use futures::{StreamExt as _, stream};

use crate::problem::{Kind, Problem};

pub use conversation::{Conversation, Tool};

/// Its id among the models.
pub const MODEL: &str = "scripted";

/// Between two pieces of an answer: enough for a watcher to see them come.
const PACE: Duration = Duration::from_millis(4);

/// What the model does next.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    /// What it says.
    pub text: String,
    /// The tool it then asks for; none ends the turn.
    pub call: Option<Call>,
}

/// A tool to call.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// The call's id, which its result will name.
    pub id: String,
    /// The tool.
    pub name: String,
    /// Its arguments, by the names of the tool's schema.
    pub input: serde_json::Value,
}

/// What the model does after `conversation`.
pub fn next(conversation: &Conversation) -> Reply {
    match explore::explore(conversation) {
        Ok(text) => Reply { text, call: None },
        Err(ask) => ask,
    }
}

/// The answer to a request for a message, streamed if it says so.
pub(crate) fn answer(body: &[u8]) -> Result<Response, Problem> {
    let conversation: Conversation = serde_json::from_slice(body)
        .map_err(|error| Problem::new(Kind::InvalidBody, format!("The body is not: {error}.")))?;
    let message = sse::Message::new(&conversation, next(&conversation), body.len());
    if !conversation.stream {
        return Ok(axum::Json(message.whole()).into_response());
    }
    let events = stream::iter(message.events()).then(|event| async {
        #[expect(clippy::disallowed_methods, reason = "a pace, which is nothing to wait for")]
        tokio::time::sleep(PACE).await;
        Ok::<_, Infallible>(event)
    });
    let head = [(header::CONTENT_TYPE, "text/event-stream")];
    Ok((head, Body::from_stream(events)).into_response())
}
