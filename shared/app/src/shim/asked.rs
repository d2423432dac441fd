//! What an agent asks of people while it runs, and what it has been told.

use domain::RunId;
use domain::elicitation::{Elicitation, MAX_ELICITATIONS};
use domain::event::{self, Draft};
use domain::run::{PermissionRequest, Run, RunEvent, RunState};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use store::document::Loaded;
use wire::shim::{MAX_OPTIONS, MAX_REQUESTS};

use crate::Error;
use crate::turn::Turn;

/// The agent waits for permission.
pub(super) fn ask(
    turn: &mut Turn,
    mut run: Loaded<Run>,
    request: &wire::shim::PermissionRequest,
) -> Result<Loaded<Run>, Error> {
    #[derive(Deserialize)]
    struct ToolCall {
        #[serde(default)]
        title: String,
    }
    let id = request.request.clone();
    if run.value.permissions.len() >= MAX_REQUESTS
        || !matches!(run.value.state, RunState::Streaming | RunState::AwaitingApproval)
    {
        return Ok(run);
    }
    let data = json!({
        "requestId": id, "toolCall": request.tool_call, "options": request.options,
    });
    turn.draft(draft(event::PERMISSION_REQUEST, run.value.id, &data)?);
    let tool_call = serde_json::from_str::<ToolCall>(request.tool_call.get());
    let title = tool_call.map(|call| call.title.chars().take(500).collect()).unwrap_or_default();
    let options = request.options.iter().take(MAX_OPTIONS).cloned().collect();
    run.value.permissions.push(PermissionRequest { id, title, options, answer: None });
    if run.value.state == RunState::Streaming {
        run = turn.step(run, RunEvent::Ask, None)?;
    }
    Ok(run)
}

/// The agent has an answer.
pub(super) fn take_answer(
    turn: &mut Turn,
    mut run: Loaded<Run>,
    request: &str,
    outcome: &RawValue,
) -> Result<Loaded<Run>, Error> {
    let data = json!({ "requestId": request, "outcome": outcome });
    turn.draft(draft(event::PERMISSION_RESPONSE, run.value.id, &data)?);
    run.value.permissions.retain(|asked| asked.id != request);
    go_on(turn, run)
}

/// A run that waits for nobody any more goes on.
fn go_on(turn: &mut Turn, run: Loaded<Run>) -> Result<Loaded<Run>, Error> {
    if run.value.waits() || run.value.state != RunState::AwaitingApproval {
        return Ok(run);
    }
    turn.step(run, RunEvent::Answer, None)
}

/// The agent wants to know something from somebody.
pub(super) fn elicit(
    turn: &mut Turn,
    mut run: Loaded<Run>,
    request: &wire::shim::ElicitationRequest,
) -> Result<Loaded<Run>, Error> {
    if run.value.elicitations.len() >= MAX_ELICITATIONS
        || !matches!(run.value.state, RunState::Streaming | RunState::AwaitingApproval)
    {
        return Ok(run);
    }
    let mut data = json!(request.inquiry);
    data["requestId"] = json!(request.request);
    data["message"] = json!(request.message);
    if let Some(call) = &request.tool_call {
        data["toolCallId"] = json!(call);
    }
    turn.draft(draft(event::ELICITATION_REQUEST, run.value.id, &data)?);
    run.value.elicitations.push(Elicitation {
        id: request.request.clone(),
        message: request.message.clone(),
        inquiry: request.inquiry.clone(),
        reply: None,
    });
    if run.value.state == RunState::Streaming {
        run = turn.step(run, RunEvent::Ask, None)?;
    }
    Ok(run)
}

/// The agent has an answer to what it wanted to know.
pub(super) fn take_reply(
    turn: &mut Turn,
    mut run: Loaded<Run>,
    request: &str,
    action: &str,
) -> Result<Loaded<Run>, Error> {
    let data = json!({ "requestId": request, "action": action });
    turn.draft(draft(event::ELICITATION_RESPONSE, run.value.id, &data)?);
    run.value.elicitations.retain(|asked| asked.id != request);
    go_on(turn, run)
}

fn draft(kind: &str, run: RunId, data: &serde_json::Value) -> Result<Draft, Error> {
    let data =
        serde_json::value::to_raw_value(data).map_err(|_| Error::Bug("an event serialises"))?;
    Ok(Draft { kind: kind.to_owned(), run: Some(run), data })
}
