//! Answering an agent that asks for permission.

use agent_client_protocol_schema::v1::{
    PermissionOptionId, RequestPermissionOutcome, RequestPermissionResponse,
    SelectedPermissionOutcome,
};
use domain::agent::Permissions;
use serde::Deserialize;
use serde_json::value::RawValue;

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
    kind: String,
}

/// Chooses by kind: agents order and name their options as they like.
pub(super) fn answer(options: &RawValue, permissions: Permissions) -> RequestPermissionResponse {
    let choices: Vec<Choice> = serde_json::from_str(options.get()).unwrap_or_default();
    let kinds = match permissions {
        Permissions::Allow => ["allow_once", "allow_always"],
        Permissions::Reject => ["reject_once", "reject_always"],
    };
    let chosen = kinds.iter().find_map(|kind| choices.iter().find(|choice| choice.kind == *kind));
    RequestPermissionResponse::new(match chosen {
        Some(choice) => RequestPermissionOutcome::Selected(SelectedPermissionOutcome::new(
            PermissionOptionId::new(choice.option_id.as_str()),
        )),
        None => RequestPermissionOutcome::Cancelled,
    })
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
        let options = |text: &str| RawValue::from_string(text.to_owned()).unwrap();
        let chosen = |text, permissions| {
            serde_json::to_value(answer(&options(text), permissions)).unwrap()["outcome"]
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
    }
}
