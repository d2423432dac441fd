//! The vanilla agent: our own tool loop over an Anthropic- or `OpenAI`-shaped model endpoint.
//!
//! What holds here: a turn ends when the model asks for no more tools, when a limit of the run is
//! reached, or when the model goes round in circles. The transcript is saved after each step, so a
//! turn that is cut off loses at most the step it was in.
//!
//! Deliberately absent: credentials, prices and model names. The gateway behind egress has them.

mod anthropic;
mod endpoint;
mod guard;
mod openai;
mod reply;
mod tools;
mod transcript;

use std::cell::Cell;

use serde_json::{Value, json};
use wire::shim::failure;

use super::client::Turn;
use super::settings::Settings;
use super::{Done, Used, http, memory};
use crate::acp::message::Fault;
use endpoint::Endpoint;
use guard::Guard;
use reply::{Reply, Stop};
use transcript::{Answered, Transcript};

const NATURE: &str = "You are a software agent in a container of your own. Your working directory \
is the workspace; paths are relative to it. Repositories to read may be mounted under \
/repositories. Use the tools to look before you change something, and check what you changed. When \
the work is done, answer with what you did, in a few sentences.";

/// Takes a turn.
pub(super) async fn prompt(settings: &Settings, turn: &Turn, text: &str) -> Result<Done, Fault> {
    let mut transcript: Transcript = memory::load(&settings.home, &turn.session)?;
    transcript.settle();
    transcript.ask(text);
    memory::save(&settings.home, &turn.session, &transcript)?;
    let used = Cell::new((0, 0));
    let looped = tokio::select! {
        looped = work(settings, turn, &mut transcript, &used) => looped?,
        // Dropping the work ends what it is in: the model call, or the command with its group.
        () = turn.cancellation() => "cancelled",
    };
    let (input, output) = used.get();
    Ok(Done { stop_reason: looped, usage: Some(Used::Plain(input, output)) })
}

async fn work(
    settings: &Settings,
    turn: &Turn,
    transcript: &mut Transcript,
    used: &Cell<(u64, u64)>,
) -> Result<&'static str, Fault> {
    let egress = settings.egress.as_ref().ok_or_else(|| {
        Fault::stable(failure::MODEL_UNAVAILABLE, "the agent was not told of a way out")
    })?;
    let endpoint = Endpoint::find(egress, settings.model.as_deref()).await?;
    let system = match &settings.system_prompt {
        Some(text) => format!("{NATURE}\n\n{text}"),
        None => NATURE.to_owned(),
    };
    let mut guard = Guard::default();
    let budget = turn.told.max_tokens.unwrap_or(settings.limits.max_tokens);
    for _ in 0..turn.told.max_turns.unwrap_or(settings.limits.max_turns) {
        let reply = endpoint.ask(&system, transcript, turn).await?;
        let (input, output) = used.get();
        used.set((input + reply.input_tokens, output + reply.output_tokens));
        let spent = input + output + reply.input_tokens + reply.output_tokens;
        turn.update("usage_update", &json!({ "used": spent, "size": budget })).await;
        let Reply { text, calls, stop, thoughts, .. } = reply;
        transcript.answer(text, calls.clone(), thoughts);
        memory::save(&settings.home, &turn.session, transcript)?;
        match stop {
            Stop::Refused => return Ok("refusal"),
            Stop::Ended if calls.is_empty() => return Ok("end_turn"),
            Stop::Ended | Stop::CutOff => {}
        }
        if spent >= budget {
            return Ok("max_tokens");
        }
        if calls.is_empty() {
            transcript
                .ask("You were cut off by the length of one answer. Go on where you stopped.");
        }
        let mut answered = Vec::new();
        for call in calls {
            let result = run_tool(turn, &call).await;
            let verdict = guard.judge(&call, result.is_err());
            answered.push(Answered {
                id: call.id,
                failed: result.is_err(),
                text: result.unwrap_or_else(|why| why),
            });
            if let Err(why) = verdict {
                transcript.results(answered);
                memory::save(&settings.home, &turn.session, transcript)?;
                return Err(Fault::stable(failure::LOOP, why));
            }
        }
        transcript.results(answered);
        memory::save(&settings.home, &turn.session, transcript)?;
    }
    Ok("max_turn_requests")
}

/// Runs a tool and tells the client about it. What comes back is for the model.
async fn run_tool(turn: &Turn, call: &transcript::Call) -> Result<String, String> {
    let tool = tools::Tool::read(call);
    let (kind, title, locations) = match &tool {
        Ok(tool) => (tool.kind(), tool.title(), tool.locations()),
        Err(_) => ("other", call.name.clone(), Vec::new()),
    };
    let locations: Vec<Value> = locations.into_iter().map(|path| json!({ "path": path })).collect();
    let told = json!({
        "toolCallId": call.id,
        "title": title,
        "kind": kind,
        "status": "in_progress",
        "locations": locations,
        "rawInput": call.input,
    });
    turn.update("tool_call", &told).await;
    let result = match tool {
        Ok(tool) => tool.run().await,
        Err(why) => Err(why),
    };
    let (status, content, answer) = match result {
        Ok(done) => ("completed", done.shown(), Ok(done.text)),
        Err(why) => ("failed", tools::text(&why), Err(why)),
    };
    let update = json!({ "toolCallId": call.id, "status": status, "content": [content] });
    turn.update("tool_call_update", &update).await;
    answer
}
