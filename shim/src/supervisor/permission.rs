//! Answering an agent that asks for permission: by the plan, or by asking the control plane.

use std::collections::BTreeMap;

use agent_client_protocol_schema::v1::{
    PermissionOptionId, RequestPermissionOutcome, RequestPermissionResponse,
    SelectedPermissionOutcome,
};
use domain::agent::Permissions;
use domain::run::{PermissionAnswer, PermissionOption};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::oneshot;
use wire::shim::{MAX_OPTIONS, MAX_REQUESTS};

use crate::report::cut;

/// The request, as far as it is understood.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Asked<'a> {
    pub(super) session_id: String,
    #[serde(borrow, default)]
    pub(super) tool_call: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) options: &'a RawValue,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Choice {
    option_id: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    kind: String,
}

/// The questions of a run that wait for an answer.
#[derive(Debug, Default)]
pub(super) struct Questions {
    open: BTreeMap<String, oneshot::Sender<PermissionAnswer>>,
    asked: u64,
}

impl Questions {
    /// Opens one, unless as many as may wait do. Its answer comes through the receiver; none comes
    /// where the run ends or is cancelled first.
    pub(super) fn open(&mut self) -> Option<(String, oneshot::Receiver<PermissionAnswer>)> {
        if self.open.len() >= MAX_REQUESTS {
            return None;
        }
        self.asked += 1;
        let id = format!("ask_{}", self.asked);
        let (give, given) = oneshot::channel();
        self.open.insert(id.clone(), give);
        Some((id, given))
    }

    /// Gives an answer. One to a question that is not open changes nothing: it is repeated.
    pub(super) fn give(&mut self, question: &str, answer: PermissionAnswer) {
        if let Some(give) = self.open.remove(question) {
            // Who asked may be gone.
            drop(give.send(answer));
        }
    }

    /// Leaves every open one without an answer.
    pub(super) fn close(&mut self) {
        self.open.clear();
    }
}

/// The options, if they are ones that can be put to somebody.
pub(super) fn options(options: &RawValue) -> Option<Vec<PermissionOption>> {
    let choices: Vec<Choice> = serde_json::from_str(options.get()).ok()?;
    let fit = !choices.is_empty()
        && choices.len() <= MAX_OPTIONS
        && choices.iter().all(|choice| choice.option_id.len() <= 256);
    let put = |choice: Choice| PermissionOption {
        name: cut::line(&choice.name, 200),
        kind: cut::line(&choice.kind, 64),
        option_id: choice.option_id,
    };
    fit.then(|| choices.into_iter().map(put).collect())
}

/// What the agent is told of somebody's answer.
pub(super) fn given(answer: PermissionAnswer) -> RequestPermissionResponse {
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
pub(super) fn answer(
    options: &RawValue,
    permissions: Permissions,
) -> Option<RequestPermissionResponse> {
    let kinds = match permissions {
        Permissions::Allow => ["allow_once", "allow_always"],
        Permissions::Reject => ["reject_once", "reject_always"],
        Permissions::Ask => return None,
    };
    let choices: Vec<Choice> = serde_json::from_str(options.get()).unwrap_or_default();
    let chosen = kinds.iter().find_map(|kind| choices.iter().find(|choice| choice.kind == *kind));
    Some(chosen.map_or_else(cancelled, |choice| selected(&choice.option_id)))
}

/// The answer of a turn that is being cancelled.
pub(super) fn cancelled() -> RequestPermissionResponse {
    RequestPermissionResponse::new(RequestPermissionOutcome::Cancelled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kind_decides() {
        let raw = |text: &str| RawValue::from_string(text.to_owned()).unwrap();
        let chosen = |text, permissions| {
            serde_json::to_value(answer(&raw(text), permissions).unwrap()).unwrap()["outcome"]
                ["optionId"]
                .as_str()
                .map(str::to_owned)
        };
        let all = r#"[{"optionId":"1","name":"allow","kind":"reject_once"},
            {"optionId":"2","name":"no","kind":"allow_always"},
            {"optionId":"3","name":"no","kind":"allow_once"}]"#;
        assert_eq!(chosen(all, Permissions::Allow).as_deref(), Some("3"));
        assert_eq!(chosen(all, Permissions::Reject).as_deref(), Some("1"));
        let always = r#"[{"optionId":"2","name":"no","kind":"allow_always"}]"#;
        assert_eq!(chosen(always, Permissions::Allow).as_deref(), Some("2"));
        assert_eq!(chosen(always, Permissions::Reject), None);
        assert_eq!(chosen("{}", Permissions::Allow), None);
        assert!(answer(&raw(all), Permissions::Ask).is_none());
        assert_eq!(options(&raw(all)).unwrap().len(), 3);
        assert!(options(&raw("[]")).is_none());
    }

    #[tokio::test]
    async fn a_question_is_answered_once_or_not_at_all() {
        let mut questions = Questions::default();
        let (first, given) = questions.open().unwrap();
        let (second, dropped) = questions.open().unwrap();
        assert_ne!(first, second);
        questions.give(&first, PermissionAnswer::Selected("a".to_owned()));
        questions.give(&first, PermissionAnswer::Cancelled);
        assert_eq!(given.await, Ok(PermissionAnswer::Selected("a".to_owned())));
        questions.close();
        assert!(dropped.await.is_err());
    }
}
