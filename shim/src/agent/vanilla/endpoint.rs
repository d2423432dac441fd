//! The model endpoint: which model, in which shape, and asking it until it answers.

use std::time::Duration;

use hyper::body::Incoming;
use hyper::{Response, StatusCode, header};
use serde_json::Value;
use wire::shim::{Egress, failure};

use super::http::sse::Events;
use super::reply::{Broken, Piece, Reply};
use super::transcript::Transcript;
use super::{anthropic, http, openai};
use crate::acp::message::Fault;
use crate::agent::client::Turn;
use crate::report::cut;
use crate::time::pass;

/// How often one request is tried.
const TRIES: u32 = 4;
/// What Anthropic's endpoints want to be told.
const VERSION: (&str, &str) = ("anthropic-version", "2023-06-01");
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

#[derive(Debug)]
pub(super) struct Endpoint {
    egress: Egress,
    model: String,
    shape: Shape,
}

#[derive(Clone, Copy, Debug)]
enum Shape {
    Anthropic,
    OpenAi,
}

enum Decoder {
    Anthropic(anthropic::Decoder),
    OpenAi(openai::Decoder),
}

/// Why a try failed.
enum Failed {
    /// The same may succeed later, after the pause the endpoint asked for.
    Passing(String, Option<Duration>),
    Final(Fault),
}

impl Endpoint {
    /// Finds the endpoint of `model`, or of the first model there is.
    pub(super) async fn find(egress: &Egress, model: Option<&str>) -> Result<Self, Fault> {
        let path = match model {
            // A slash in a name is no step of a path.
            Some(model) => format!("/v1/models/{}", model.replace('/', "%2F")),
            None => "/v1/models".to_owned(),
        };
        let found = retry(|| async {
            let answer = checked(http::send(egress, &path, &[], None).await).await?;
            Ok(http::whole(answer).await)
        })
        .await?;
        let entry = if model.is_some() { &found } else { &found["data"][0] };
        let (Some(id), Some(owner)) = (entry["id"].as_str(), entry["owned_by"].as_str()) else {
            let why = "the installation offers no model";
            return Err(Fault::stable(failure::MODEL_UNAVAILABLE, why));
        };
        let shape = match owner {
            "anthropic" => Shape::Anthropic,
            "google" => {
                let why = format!("the tool loop does not speak the protocol of {id}");
                return Err(Fault::stable(failure::MODEL_UNAVAILABLE, why));
            }
            _ => Shape::OpenAi,
        };
        Ok(Self { egress: egress.clone(), model: id.to_owned(), shape })
    }

    /// Asks the model to go on, and shows what it says while it says it.
    pub(super) async fn ask(
        &self,
        system: &str,
        transcript: &Transcript,
        turn: &Turn,
    ) -> Result<Reply, Fault> {
        let effort = turn.told.effort;
        let (path, body) = match self.shape {
            Shape::Anthropic => {
                ("/v1/messages", anthropic::request(&self.model, system, transcript, effort))
            }
            Shape::OpenAi => {
                ("/v1/chat/completions", openai::request(&self.model, system, transcript, effort))
            }
        };
        retry(|| async {
            let answer =
                checked(http::send(&self.egress, path, &[VERSION], Some(&body)).await).await?;
            self.listen(answer, turn).await
        })
        .await
    }

    async fn listen(&self, mut answer: Response<Incoming>, turn: &Turn) -> Result<Reply, Failed> {
        let mut decoder = match self.shape {
            Shape::Anthropic => Decoder::Anthropic(anthropic::Decoder::default()),
            Shape::OpenAi => Decoder::OpenAi(openai::Decoder::default()),
        };
        let mut events = Events::default();
        let mut shown = false;
        // What has been shown cannot be said again: a later failure is final.
        let broken = |shown: bool, broken: Broken| {
            if broken.passing && !shown {
                Failed::Passing(broken.message, None)
            } else {
                Failed::Final(Fault::stable(failure::MODEL_ERROR, broken.message))
            }
        };
        let lost = |message: String| Broken { message, passing: true };
        loop {
            let bytes = match http::piece(&mut answer).await {
                Ok(Some(bytes)) => bytes,
                Ok(None) => break,
                Err(why) => return Err(broken(shown, lost(why))),
            };
            let Some(complete) = events.feed(&bytes) else {
                let message = "an event of the endpoint was too long".to_owned();
                return Err(broken(true, lost(message)));
            };
            for data in complete.iter().filter(|data| *data != "[DONE]") {
                let Ok(event) = serde_json::from_str::<Value>(data) else { continue };
                let piece = match &mut decoder {
                    Decoder::Anthropic(decoder) => decoder.take(&event),
                    Decoder::OpenAi(decoder) => decoder.take(&event),
                };
                match piece.map_err(|why| broken(shown, why))? {
                    Some(Piece::Text(text)) => turn.say(&text).await,
                    Some(Piece::Thought(text)) => turn.think(&text).await,
                    None => continue,
                }
                shown = true;
            }
        }
        let reply = match decoder {
            Decoder::Anthropic(decoder) => decoder.finish(),
            Decoder::OpenAi(decoder) => decoder.finish(),
        };
        reply.ok_or_else(|| broken(shown, lost("the answer broke off".to_owned())))
    }
}

/// An answer that is a success; every other is a reason.
async fn checked(answer: Result<Response<Incoming>, String>) -> Result<Response<Incoming>, Failed> {
    let answer = answer.map_err(|why| Failed::Passing(why, None))?;
    let status = answer.status();
    if status.is_success() {
        return Ok(answer);
    }
    let pause = answer
        .headers()
        .get(header::RETRY_AFTER)
        .and_then(|value| value.to_str().ok()?.parse().ok())
        .map(Duration::from_secs);
    let body = http::whole(answer).await;
    let said = [&body["error"]["message"], &body["detail"], &body["title"]]
        .into_iter()
        .find_map(Value::as_str)
        .unwrap_or("no reason given");
    let message = cut::line(&format!("{}: {said}", status.as_u16()), 500);
    Err(if status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() {
        Failed::Passing(message, pause)
    } else if status == StatusCode::NOT_FOUND {
        Failed::Final(Fault::stable(failure::MODEL_UNAVAILABLE, message))
    } else {
        Failed::Final(Fault::stable(failure::MODEL_ERROR, message))
    })
}

async fn retry<T>(attempt: impl AsyncFn() -> Result<T, Failed>) -> Result<T, Fault> {
    let mut pause = FIRST_PAUSE;
    let mut tried = 0;
    loop {
        tried += 1;
        match attempt().await {
            Ok(done) => return Ok(done),
            Err(Failed::Final(fault)) => return Err(fault),
            Err(Failed::Passing(why, _)) if tried == TRIES => {
                return Err(Fault::stable(failure::MODEL_ERROR, why));
            }
            Err(Failed::Passing(_, asked)) => {
                pass(asked.unwrap_or(pause).min(LONGEST_PAUSE)).await;
                pause *= 2;
            }
        }
    }
}
