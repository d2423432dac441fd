//! What an agent offers in a conversation, and what it is to be set to.
//!
//! What holds here: what is offered is bounded, whatever an agent tells.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::text::{Slug, ValueId};

/// The most modes, and the most models, that are kept.
const CHOICES: usize = 128;
/// The most bytes of one text of them.
const TEXT: usize = 200;
/// The most bytes of all options as JSON; of an agent that has more, none are kept.
const OPTIONS: usize = 32 * 1024;
/// The most options that may be set.
pub const MAX_SET: usize = 32;

/// One of several.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Choice {
    /// The agent's id of it.
    pub id: String,
    /// What the agent calls it.
    pub name: String,
}

/// What an agent offers in a conversation, as it last told it; empty before it was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Offers {
    /// The mode it is in.
    pub mode: Option<String>,
    /// The modes it can be in.
    pub modes: Vec<Choice>,
    /// The model it uses, where it tells models apart from its options.
    pub model: Option<String>,
    /// The models it can use.
    pub models: Vec<Choice>,
    /// ACP's `configOptions`, as the agent sent them.
    pub options: Vec<Value>,
    /// Whether it can go on from a copy of the conversation: whether the session can be forked.
    pub fork: bool,
}

impl Offers {
    /// Takes up an update of the conversation. One of another kind changes nothing.
    pub fn hear(&mut self, kind: &str, data: &str) {
        let read = || serde_json::from_str::<Value>(data).unwrap_or_default();
        match kind {
            "current_mode_update" => {
                let told = read();
                self.mode = text(&told["currentModeId"]).or_else(|| self.mode.take());
                if let Some(modes) = told["availableModes"].as_array() {
                    self.modes = choices(modes, "id");
                }
            }
            "current_model_update" => {
                let told = read();
                self.model = text(&told["currentModelId"]).or_else(|| self.model.take());
                if let Some(models) = told["availableModels"].as_array() {
                    self.models = choices(models, "modelId");
                }
            }
            "config_option_update" if data.len() <= OPTIONS => {
                if let Value::Array(options) = read()["configOptions"].take() {
                    self.options = options;
                }
            }
            _ => {}
        }
    }
}

impl Offers {
    /// The first setting that is none of what is offered, as field and reason. Where the agent has not
    /// told what it offers, only it can say.
    pub fn misses(&self, settings: &Settings) -> Option<(&'static str, String)> {
        let missing = |field, choices: &[Choice], wanted: &Option<ValueId>| {
            let wanted = wanted.as_ref()?;
            let known = choices.is_empty() || choices.iter().any(|one| one.id == wanted.as_str());
            let ids = || choices.iter().map(|one| one.id.as_str()).collect::<Vec<_>>().join(", ");
            (!known).then(|| (field, format!("must be one of: {}", ids())))
        };
        missing("mode", &self.modes, &settings.mode)
            .or_else(|| missing("model", &self.models, &settings.model))
            .or_else(|| {
                let offered = |id: &Slug| self.options.iter().any(|one| one["id"] == id.as_str());
                let odd = settings.options.keys().find(|id| !offered(id));
                let odd = odd.filter(|_| !self.options.is_empty())?;
                Some(("options", format!("the agent offers no option {odd}")))
            })
    }
}

fn text(value: &Value) -> Option<String> {
    value.as_str().filter(|text| text.len() <= TEXT).map(str::to_owned)
}

fn choices(all: &[Value], id: &str) -> Vec<Choice> {
    let choice = |one: &Value| {
        Some(Choice { id: text(&one[id])?, name: text(&one["name"]).unwrap_or_default() })
    };
    all.iter().filter_map(choice).take(CHOICES).collect()
}

/// What an option is set to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Setting {
    /// One of its values.
    Value(ValueId),
    /// On or off.
    Switch(bool),
}

/// What an agent is to be set to in a conversation. It is told before each prompt what it is not set to
/// yet: also when it has taken the conversation up again, after whatever ended it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Settings {
    /// The mode.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<ValueId>,
    /// The model, for agents that tell models apart from their options.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<ValueId>,
    /// The options, by the agent's ids of them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    pub options: BTreeMap<Slug, Setting>,
}

impl Settings {
    /// Gives up what the agent did not take, where it is still what is wanted.
    pub fn give_up(&mut self, refused: &str) {
        #[derive(Deserialize)]
        struct Refused {
            setting: String,
            #[serde(default)]
            option: String,
            value: Setting,
        }
        let Ok(refused) = serde_json::from_str::<Refused>(refused) else { return };
        let same = |wanted: &mut ValueId| Setting::Value(wanted.clone()) == refused.value;
        match refused.setting.as_str() {
            "mode" => drop(self.mode.take_if(same)),
            "model" => drop(self.model.take_if(same)),
            _ => self
                .options
                .retain(|id, wanted| id.as_str() != refused.option || *wanted != refused.value),
        }
    }

    /// Whether nothing is set.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_last_counts() {
        let mut offers = Offers::default();
        let mut hear = |kind: &str, data: Value| offers.hear(kind, &data.to_string());
        let modes =
            serde_json::json!([{ "id": "ask", "name": "Ask" }, { "id": "code" }, { "odd": 1 }]);
        let told = serde_json::json!({ "currentModeId": "ask", "availableModes": modes });
        hear("current_mode_update", told);
        hear("current_mode_update", serde_json::json!({ "currentModeId": "code" }));
        hear("current_mode_update", serde_json::json!({ "currentModeId": 7 }));
        hear("config_option_update", serde_json::json!({ "configOptions": [{ "id": "effort" }] }));
        hear("config_option_update", serde_json::json!({ "configOptions": ["x".repeat(OPTIONS)] }));
        hear("config_option_update", serde_json::json!({ "configOptions": null }));
        let large = serde_json::json!({ "modelId": "m", "name": "M" });
        let told = serde_json::json!({ "currentModelId": "m", "availableModels": [large] });
        hear("current_model_update", told);
        hear("plan", serde_json::json!({ "currentModeId": "no" }));
        assert_eq!(offers.mode.as_deref(), Some("code"));
        assert_eq!(offers.modes.len(), 2);
        assert_eq!(offers.options, [serde_json::json!({ "id": "effort" })]);
        assert_eq!((offers.model.as_deref(), offers.models.len()), (Some("m"), 1));
        let wants = |text: &str| {
            let settings: Settings = serde_json::from_str(text).unwrap();
            offers.misses(&settings).map(|(field, _)| field)
        };
        assert_eq!(wants(r#"{"mode":"ask","model":"m","options":{"effort":"high"}}"#), None);
        assert_eq!(wants(r#"{"mode":"plan"}"#), Some("mode"));
        assert_eq!(wants(r#"{"model":"n"}"#), Some("model"));
        assert_eq!(wants(r#"{"options":{"other":true}}"#), Some("options"));
        let anything: Settings = serde_json::from_str(r#"{"mode":"plan"}"#).unwrap();
        assert_eq!(Offers::default().misses(&anything), None);
    }
}
