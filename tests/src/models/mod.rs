//! A provider of models on loopback that costs nothing and does what it is asked.
//!
//! It speaks the true protocols of `OpenAI`'s Chat Completions and Responses, of Anthropic's Messages and
//! of Google's Gemini as agents of other makers use them.
//!
//! It looks at what users say that begins with `please`, and at the last of it:
//! - `please write done.txt` has the agent write `it is` into that file with a tool of its own, and
//!   says `Done.` once the tool has answered;
//! - `please go on` says words until nobody listens any more;
//! - anything else it says back, with how many such requests the conversation has had.

mod anthropic;
mod google;
mod openai;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use serde_json::Value;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// The file that is written, as agents see it.
const FILE: &str = "/workspace/done.txt";
/// What is in it then.
const TEXT: &str = "it is\n";

/// One that serves for as long as it is there.
#[derive(Debug)]
pub struct Models {
    /// Where it is, without a path.
    pub url: String,
    going_on: Arc<Notify>,
    serving: JoinHandle<()>,
}

impl Drop for Models {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Models {
    /// Serves on a port of its own.
    pub async fn start() -> Self {
        let going_on = Arc::new(Notify::new());
        let router = Router::new()
            .route("/v1/chat/completions", post(openai::chat_completions))
            .route("/v1/responses", post(openai::responses))
            .route("/v1/messages", post(anthropic::messages))
            .route("/v1/messages/count_tokens", post(anthropic::count))
            .route("/v1beta/models/{call}", post(google::call))
            .with_state(Arc::clone(&going_on));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        #[expect(clippy::disallowed_methods, reason = "it is ended with the value")]
        let serving = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, going_on, serving }
    }

    /// Waits until it has begun to go on and on.
    pub async fn goes_on(&self) {
        self.going_on.notified().await;
    }
}

/// A conversation, as far as it is looked at: what was asked for, and whether a tool has answered since.
#[derive(Debug, Default)]
struct Heard {
    asked: Vec<String>,
    answered: bool,
}

impl Heard {
    /// A user says `text`. Agents put reminders of their own around it.
    fn says(&mut self, text: &str) {
        if let Some(line) = text.lines().map(str::trim).find(|line| line.starts_with("please")) {
            self.asked.push(line.to_owned());
            self.answered = false;
        }
    }

    /// A tool answers.
    fn answers(&mut self) {
        self.answered = true;
    }

    /// What comes next, and that somebody is told where it has no end. Agents ask for titles, too, and
    /// then offer no tools.
    fn next(self, tools: &Value, going_on: &Notify) -> Next {
        let has_tools = tools.as_array().is_some_and(|tools| !tools.is_empty());
        match self.asked.last().map(String::as_str) {
            Some("please write done.txt") if self.answered => Next::Say("Done.".to_owned()),
            Some("please write done.txt") if has_tools => Next::Write,
            Some("please go on") if has_tools => {
                going_on.notify_one();
                Next::GoOn
            }
            Some(text) => Next::Say(format!("{}: {text}", self.asked.len())),
            None => Next::Say("a title".to_owned()),
        }
    }
}

/// What it does next.
enum Next {
    /// Has `FILE` written.
    Write,
    GoOn,
    Say(String),
}

/// What is said word by word, without an end where it is to go on.
fn words(next: &Next) -> BoxStream<'static, String> {
    match next {
        Next::Say(text) => {
            let words: Vec<String> = text.split_inclusive(' ').map(str::to_owned).collect();
            stream::iter(words).boxed()
        }
        // Always something else: some agents stop a model that repeats itself.
        Next::GoOn => {
            let beats = tokio::time::interval(Duration::from_millis(20));
            stream::unfold((beats, 0_u64), |(mut beats, said)| async move {
                beats.tick().await;
                Some((format!("and {said} "), (beats, said + 1)))
            })
            .boxed()
        }
        Next::Write => stream::empty().boxed(),
    }
}

fn events(events: impl StreamExt<Item = String> + Send + 'static) -> Response {
    let body = Body::from_stream(events.map(Ok::<_, Infallible>));
    ([("content-type", "text/event-stream")], body).into_response()
}
