//! Setting an agent to the mode, the model and the options that its session is to have.

use std::rc::Rc;
use std::time::Duration;

use domain::conversation::{Setting, Settings};
use domain::event;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::instance::Instance;
use super::stream::Stream;
use crate::acp::peer::CallError;
use crate::report::cut;

/// One thing to be set.
struct Change {
    method: &'static str,
    request: Value,
    /// The update that tells what the agent is set to then, where its answer does not.
    told: Option<(&'static str, Value)>,
    /// What the event calls it.
    name: Value,
}

/// Tells the agent what it is not set to yet, as far as it has told what it is set to.
pub(super) async fn apply(
    instance: &Rc<Instance>,
    stream: &Stream,
    acp: &str,
    settings: &Settings,
    patience: Duration,
) {
    for Change { method, request, told, name } in changes(stream, acp, settings) {
        let deadline = Instant::now() + patience;
        let why = match instance.peer.call(method, &request, deadline).await {
            Ok(result) => {
                stream.offers(&result);
                if let Some((kind, data)) = told {
                    stream.tell(kind, &data);
                }
                continue;
            }
            Err(CallError::Fault(fault)) => cut::line(&fault.told(), 500),
            Err(CallError::Late) => "the agent did not answer in time".to_owned(),
            // The prompt will tell.
            Err(CallError::Closed) => return,
        };
        let mut data = name;
        data["reason"] = json!(why);
        stream.tell(event::SETTING_REFUSED, &data);
    }
}

fn changes(stream: &Stream, acp: &str, settings: &Settings) -> Vec<Change> {
    let now = stream.set_to();
    let mut changes = Vec::new();
    if let Some(mode) =
        settings.mode.as_ref().filter(|mode| now.mode.as_deref() != Some(mode.as_str()))
    {
        changes.push(Change {
            method: "session/set_mode",
            request: json!({ "sessionId": acp, "modeId": mode }),
            told: Some(("current_mode_update", json!({ "currentModeId": mode }))),
            name: json!({ "setting": "mode", "value": mode }),
        });
    }
    if let Some(model) =
        settings.model.as_ref().filter(|model| now.model.as_deref() != Some(model.as_str()))
    {
        changes.push(Change {
            method: "session/set_model",
            request: json!({ "sessionId": acp, "modelId": model }),
            told: Some(("current_model_update", json!({ "currentModelId": model }))),
            name: json!({ "setting": "model", "value": model }),
        });
    }
    let options = stream.options();
    let options = options.as_array().map_or(&[][..], Vec::as_slice);
    for (id, setting) in &settings.options {
        let known = options.iter().find(|option| option["id"] == json!(id));
        if known.is_some_and(|option| option["currentValue"] == json!(setting)) {
            continue;
        }
        let mut request = json!({ "sessionId": acp, "configId": id, "value": setting });
        if matches!(setting, Setting::Switch(_)) {
            request["type"] = json!("boolean");
        }
        changes.push(Change {
            method: "session/set_config_option",
            request,
            told: None,
            name: json!({ "setting": "option", "option": id, "value": setting }),
        });
    }
    changes
}
