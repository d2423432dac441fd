//! Answering an agent that asks for permission: by the plan, or by asking the control plane.

use std::rc::Rc;

use agent_client_protocol_schema::v1::{
    PermissionOptionId, RequestPermissionOutcome, RequestPermissionResponse,
    SelectedPermissionOutcome,
};
use domain::permission::Permission;
use domain::run::{PermissionAnswer, PermissionOption};
use domain::{RunId, event};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::{RawValue, to_raw_value};
use tokio::sync::oneshot;
use wire::shim::{MAX_OPTIONS, PermissionRequest, What};

use super::instance::Instance;
use super::stream::Stream;
use super::tools::Tools;
use crate::acp::message::{Fault, INVALID_PARAMS, Id};
use crate::acp::peer::CallError;
use crate::report::cut;

/// The request, as far as it is understood.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Asked<'a> {
    session_id: String,
    #[serde(borrow, default)]
    tool_call: Option<&'a RawValue>,
    #[serde(borrow)]
    options: &'a RawValue,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Choice {
    option_id: String,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    kind: Option<String>,
}

/// The options, if they are ones that can be put to somebody.
fn options(options: &RawValue) -> Option<Vec<PermissionOption>> {
    let choices: Vec<Choice> = serde_json::from_str(options.get()).ok()?;
    let fit = !choices.is_empty()
        && choices.len() <= MAX_OPTIONS
        && choices.iter().all(|choice| choice.option_id.len() <= 256);
    let put = |choice: Choice| PermissionOption {
        name: cut::line(choice.name.as_deref().unwrap_or(&choice.option_id), 200),
        kind: cut::line(choice.kind.as_deref().unwrap_or_default(), 64),
        option_id: choice.option_id,
    };
    fit.then(|| choices.into_iter().map(put).collect())
}

/// What the agent is told of somebody's answer.
fn given(answer: PermissionAnswer) -> RequestPermissionResponse {
    match answer {
        PermissionAnswer::Selected(option) => selected(&option),
        PermissionAnswer::Cancelled => cancelled(),
    }
}

fn selected(option: &str) -> RequestPermissionResponse {
    let option = PermissionOptionId::new(option);
    let outcome = RequestPermissionOutcome::Selected(SelectedPermissionOutcome::new(option));
    RequestPermissionResponse::new(outcome)
}

/// What the plan answers: none where it says to ask. Chooses by kind: agents order and name their
/// options as they like.
fn answer(options: &RawValue, permission: Permission) -> Option<RequestPermissionResponse> {
    let kinds = match permission {
        Permission::Allow => ["allow_once", "allow_always"],
        Permission::Reject => ["reject_once", "reject_always"],
        Permission::Ask => return None,
    };
    let choices: Vec<Choice> = serde_json::from_str(options.get()).unwrap_or_default();
    let chosen = kinds
        .iter()
        .find_map(|kind| choices.iter().find(|choice| choice.kind.as_deref() == Some(*kind)));
    Some(chosen.map_or_else(cancelled, |choice| selected(&choice.option_id)))
}

/// The answer of a turn that is being cancelled.
fn cancelled() -> RequestPermissionResponse {
    RequestPermissionResponse::new(RequestPermissionOutcome::Cancelled)
}

impl Instance {
    /// Answers by the plan, or has somebody answer.
    pub(super) async fn permit(
        self: &Rc<Self>,
        id: &Id,
        params: &RawValue,
    ) -> Result<(), CallError> {
        let Ok(asked) = serde_json::from_str::<Asked<'_>>(params.get()) else {
            let fault = Fault::new(INVALID_PARAMS, "sessionId and options are required");
            return self.peer.answer(id, Err(fault)).await;
        };
        let stream = self.stream(&asked.session_id);
        let call = stream.as_ref().and_then(|to| to.tools.borrow().complete(asked.tool_call));
        let response = match &stream {
            Some(stream) if !stream.cancelling() => {
                let kind = Tools::kind(call.as_deref());
                let Some(response) = answer(asked.options, self.plan.permissions.of(&kind)) else {
                    return self.ask(id, stream, call, asked.options).await;
                };
                response
            }
            Some(_) | None => cancelled(),
        };
        let Ok(response) = serde_json::to_value(response) else { return Ok(()) };
        if let Some(stream) = stream {
            let outcome = &response["outcome"];
            stream.tell(
                event::PERMISSION_REQUEST,
                &json!({
                    "toolCall": call,
                    "options": asked.options,
                    "outcome": outcome,
                }),
            );
        }
        self.peer.answer(id, Ok(response)).await
    }

    /// Has somebody answer, and goes on reading meanwhile.
    async fn ask(
        self: &Rc<Self>,
        id: &Id,
        stream: &Rc<Stream>,
        call: Option<Box<RawValue>>,
        choices: &RawValue,
    ) -> Result<(), CallError> {
        let question = options(choices).and_then(|options| stream.ask(call, options));
        let Some((run, request, answered)) = question else {
            let response = serde_json::to_value(cancelled()).unwrap_or_default();
            return self.peer.answer(id, Ok(response)).await;
        };
        let (instance, stream, id) = (Rc::clone(self), Rc::clone(stream), id.clone());
        tokio::task::spawn_local(async move {
            let response = answered.await.map_or_else(|_| cancelled(), given);
            let response = serde_json::to_value(response).unwrap_or_default();
            stream.answered(run, request, &response["outcome"]);
            // Who closed its input does not want to know.
            drop(instance.peer.answer(&id, Ok(response)).await);
        });
        Ok(())
    }
}

impl Stream {
    /// Puts a question to the control plane. None where nobody is there to answer it.
    fn ask(
        &self,
        tool_call: Option<Box<RawValue>>,
        options: Vec<PermissionOption>,
    ) -> Option<(RunId, String, oneshot::Receiver<PermissionAnswer>)> {
        let run = self.run()?;
        let (request, given) = self.permissions.borrow_mut().open()?;
        self.flush();
        let tool_call = tool_call.or_else(|| to_raw_value(&json!({})).ok())?;
        let asked = PermissionRequest { request: request.clone(), tool_call, options };
        self.push(Some(run), What::Asked(asked));
        Some((run, request, given))
    }

    /// The control plane's answer to a question of `run`.
    pub(super) fn give(&self, run: RunId, request: &str, answer: PermissionAnswer) {
        if self.run() == Some(run) {
            self.permissions.borrow_mut().give(request, answer);
        }
    }

    /// The agent has the answer to a question of `run`, which may have ended over it.
    fn answered(&self, run: RunId, request: String, outcome: &serde_json::Value) {
        if self.run() == Some(run)
            && let Ok(outcome) = to_raw_value(outcome)
        {
            self.push(Some(run), What::Answered { request, outcome });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kind_decides() {
        let raw = |text: &str| RawValue::from_string(text.to_owned()).unwrap();
        let chosen = |text, permission| {
            serde_json::to_value(answer(&raw(text), permission).unwrap()).unwrap()["outcome"]
                ["optionId"]
                .as_str()
                .map(str::to_owned)
        };
        let all = r#"[{"optionId":"1","name":"allow","kind":"reject_once"},
            {"optionId":"2","name":"no","kind":"allow_always"},
            {"optionId":"3","name":"no","kind":"allow_once"}]"#;
        assert_eq!(chosen(all, Permission::Allow).as_deref(), Some("3"));
        assert_eq!(chosen(all, Permission::Reject).as_deref(), Some("1"));
        let always = r#"[{"optionId":"2","name":"no","kind":"allow_always"}]"#;
        assert_eq!(chosen(always, Permission::Allow).as_deref(), Some("2"));
        assert_eq!(chosen(always, Permission::Reject), None);
        assert_eq!(chosen("{}", Permission::Allow), None);
        assert!(answer(&raw(all), Permission::Ask).is_none());
        assert_eq!(options(&raw(all)).unwrap().len(), 3);
        assert!(options(&raw("[]")).is_none());
    }
}
