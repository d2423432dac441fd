//! What a session of the echo agent offers, and what it is set to.

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::read;
use crate::acp::message::{Fault, INVALID_PARAMS};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct Wanted {
    mode_id: String,
    model_id: String,
    config_id: String,
    value: Value,
}

/// Sets what a client wants, and says what ACP has for an answer.
pub(super) fn set(offers: &mut Value, method: &str, params: &RawValue) -> Result<Value, Fault> {
    let wanted: Wanted = read(params)?;
    let among = |all: &Value, name: &str, id: &str| {
        all.as_array().is_some_and(|all| all.iter().any(|one| one[name] == id))
    };
    let refused = |what: &str| Err(Fault::new(INVALID_PARAMS, format!("there is no such {what}")));
    match method {
        "session/set_mode" => {
            if !among(&offers["modes"]["availableModes"], "id", &wanted.mode_id) {
                return refused("mode");
            }
            offers["modes"]["currentModeId"] = json!(wanted.mode_id);
            Ok(json!({}))
        }
        "session/set_model" => {
            if !among(&offers["models"]["availableModels"], "modelId", &wanted.model_id) {
                return refused("model");
            }
            offers["models"]["currentModelId"] = json!(wanted.model_id);
            Ok(json!({}))
        }
        _ => {
            let options = offers["configOptions"].as_array_mut();
            let option = options
                .and_then(|all| all.iter_mut().find(|one| one["id"] == wanted.config_id.as_str()));
            let Some(option) = option else { return refused("option") };
            let fits = match &wanted.value {
                Value::Bool(_) => option["type"] == "boolean",
                Value::String(value) => among(&option["options"], "value", value),
                Value::Null | Value::Number(_) | Value::Array(_) | Value::Object(_) => false,
            };
            if !fits {
                return refused("value");
            }
            option["currentValue"] = wanted.value;
            Ok(json!({ "configOptions": offers["configOptions"] }))
        }
    }
}

/// What it is set to, in a line.
pub(super) fn told(offers: &Value) -> String {
    let options = offers["configOptions"].as_array().map_or(&[][..], Vec::as_slice);
    let options = options.iter().map(|one| format!("{}={}", one["id"], one["currentValue"]));
    let (mode, model) = (&offers["modes"]["currentModeId"], &offers["models"]["currentModelId"]);
    let all = [format!("mode={mode}"), format!("model={model}")].into_iter().chain(options);
    all.collect::<Vec<_>>().join(" ").replace('"', "")
}
