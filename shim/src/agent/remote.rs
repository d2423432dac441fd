//! The driver `http`: an endpoint outside the container that is asked once for each prompt.
//!
//! What holds here: the request goes through egress, which decides what may be reached, follows no
//! redirect and adds nothing. An answer is `application/json` with `text`, or `text/event-stream` whose
//! events are JSON with `text`, told as they come; either may have `usage` and `error`. Whatever else
//! comes is a failure. A turn that is cancelled closes its request.

use hyper::Response;
use hyper::body::Incoming;
use hyper::header::CONTENT_TYPE;
use serde::Deserialize;
use serde_json::{Value, json};
use wire::shim::{FORWARD, FORWARD_TO, failure};

use super::client::Turn;
use super::pieces::{Text, too_long};
use super::settings::Settings;
use super::{Done, Used, http};
use crate::acp::message::Fault;
use crate::report::cut;
use http::sse::Events;

/// The longest answer that is no stream.
const WHOLE: usize = 4 * 1024 * 1024;

/// An answer, or an event of one.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Answer {
    text: Option<String>,
    usage: Option<Usage>,
    error: Option<Value>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Usage {
    #[serde(default)]
    input_tokens: u64,
    #[serde(default)]
    output_tokens: u64,
}

/// Takes a turn.
pub(super) async fn prompt(settings: &Settings, turn: &Turn, text: &str) -> Result<Done, Fault> {
    tokio::select! {
        done = ask(settings, turn, text) => done,
        // Dropping the request closes it.
        () = turn.cancellation() => Ok(Done { stop_reason: "cancelled", usage: None }),
    }
}

async fn ask(settings: &Settings, turn: &Turn, text: &str) -> Result<Done, Fault> {
    let (Some(egress), Some(url)) = (&settings.egress, &settings.url) else {
        return Err(failed("the agent was not told where it is"));
    };
    let body = json!({
        "sessionId": turn.told.session,
        "runId": turn.told.run,
        "forkedFrom": turn.told.forked_from,
        "prompt": text,
        "systemPrompt": settings.system_prompt,
        "model": settings.model,
        "effort": turn.told.effort,
    });
    let sent = http::send(egress, FORWARD, &[(FORWARD_TO, url)], Some(&body)).await;
    let answer = sent.map_err(|why| failed(&why))?;
    let status = answer.status();
    let kind = answer.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let kind = kind.unwrap_or_default().split(';').next().unwrap_or_default().trim().to_owned();
    if !status.is_success() {
        let said = http::whole(answer).await;
        let detail = [&said["detail"], &said["error"]["message"], &said["error"], &said["title"]];
        let detail = detail.into_iter().find_map(Value::as_str).unwrap_or("no reason given");
        let detail = cut::line(&format!("{}: {detail}", status.as_u16()), 500);
        let denied = kind == "application/problem+json" && said["code"] == failure::EGRESS_DENIED;
        let code = if denied { failure::EGRESS_DENIED } else { failure::HTTP_ERROR };
        return Err(Fault::stable(code, detail));
    }
    let mut heard = Heard { text: Text::new(turn), usage: None, any: false };
    match kind.as_str() {
        "application/json" => {
            let body = collect(answer).await?;
            heard.take(&body).await?;
        }
        "text/event-stream" => listen(answer, &mut heard).await?,
        other => {
            let other = cut::line(other, 100);
            return Err(failed(&format!("the answer is of the type `{other}`")));
        }
    }
    if !heard.any {
        return Err(failed("the answer has no text"));
    }
    let used = heard.usage.map(|usage| Used::Plain(usage.input_tokens, usage.output_tokens));
    Ok(Done { stop_reason: "end_turn", usage: used })
}

/// What has come of an answer.
struct Heard<'a> {
    text: Text<'a>,
    usage: Option<Usage>,
    any: bool,
}

impl Heard<'_> {
    async fn take(&mut self, json: &[u8]) -> Result<(), Fault> {
        let answer: Answer = serde_json::from_slice(json)
            .map_err(|why| failed(&format!("the answer is not what it is to be: {why}")))?;
        if let Some(error) = answer.error {
            let why = error["message"].as_str().or(error.as_str()).unwrap_or("no reason given");
            return Err(failed(why));
        }
        if let Some(usage) = answer.usage {
            self.usage = Some(usage);
            let used = usage.input_tokens.saturating_add(usage.output_tokens);
            self.text.turn().update("usage_update", &json!({ "used": used, "size": used })).await;
        }
        if let Some(text) = answer.text {
            self.any = true;
            self.text.text(&text).await?;
        }
        Ok(())
    }
}

async fn listen(mut answer: Response<Incoming>, heard: &mut Heard<'_>) -> Result<(), Fault> {
    let mut events = Events::default();
    while let Some(bytes) = http::piece(&mut answer).await.map_err(|why| failed(&why))? {
        for data in events.feed(&bytes).ok_or_else(too_long)? {
            if data == "[DONE]" {
                return Ok(());
            }
            heard.take(data.as_bytes()).await?;
        }
    }
    Ok(())
}

async fn collect(mut answer: Response<Incoming>) -> Result<Vec<u8>, Fault> {
    let mut whole = Vec::new();
    while let Some(bytes) = http::piece(&mut answer).await.map_err(|why| failed(&why))? {
        if whole.len() + bytes.len() > WHOLE {
            return Err(Fault::stable(
                failure::OUTPUT_LIMIT,
                format!("the answer has more than {WHOLE} bytes and is no stream"),
            ));
        }
        whole.extend_from_slice(&bytes);
    }
    Ok(whole)
}

fn failed(why: &str) -> Fault {
    Fault::stable(failure::HTTP_ERROR, why)
}
