//! Telling an agent of another maker how much to think: by the option that it offers for that.

use agent_client_protocol_schema::v1::{SessionConfigValueId, SetSessionConfigOptionRequest};
use domain::agent::Effort;
use serde_json::Value;

/// ACP's category of the option.
const CATEGORY: &str = "thought_level";

/// What agents call an effort, the best first.
const fn words(effort: Effort) -> &'static [&'static str] {
    match effort {
        Effort::Low => &["low", "minimal"],
        Effort::Medium => &["medium", "default"],
        Effort::High => &["high"],
        Effort::Max => &["max", "xhigh", "high"],
    }
}

/// The option by which an agent is told, as it stands.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Level<'a> {
    id: &'a str,
    pub(super) now: &'a str,
    values: Vec<&'a str>,
}

impl<'a> Level<'a> {
    /// The option among `configOptions`; none where the agent offers none.
    pub(super) fn among(options: &'a Value) -> Option<Self> {
        let option = options.as_array()?.iter().find(|one| one["category"] == CATEGORY)?;
        let entries = option["options"].as_array()?.iter();
        // They may stand in groups.
        let values = entries.flat_map(|entry| match entry["options"].as_array() {
            Some(group) => group.iter().collect(),
            None => vec![entry],
        });
        Some(Self {
            id: option["id"].as_str()?,
            now: option["currentValue"].as_str()?,
            values: values.filter_map(|entry| entry["value"].as_str()).collect(),
        })
    }

    /// The value that means `effort`, where there is one.
    pub(super) fn value(&self, effort: Effort) -> Option<&'a str> {
        let named = |word: &&str| {
            self.values.iter().find(|value| value.eq_ignore_ascii_case(word)).copied()
        };
        words(effort).iter().find_map(named)
    }

    /// The request that sets it.
    pub(super) fn set(&self, session: &str, value: &str) -> SetSessionConfigOptionRequest {
        SetSessionConfigOptionRequest::new(
            session.to_owned(),
            self.id.to_owned(),
            SessionConfigValueId::new(value.to_owned()),
        )
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_nearest_level_is_found() {
        let with = |options: Value| {
            json!([
                { "id": "model", "category": "model", "currentValue": "high", "options": [] },
                { "id": "t", "category": "thought_level", "currentValue": "low", "options": options },
            ])
        };
        let flat = with(json!([{ "value": "Low" }, { "value": "high" }]));
        let level = Level::among(&flat).unwrap();
        assert_eq!((level.id, level.now), ("t", "low"));
        assert_eq!(level.value(Effort::Low), Some("Low"));
        assert_eq!(level.value(Effort::Medium), None);
        assert_eq!(level.value(Effort::Max), Some("high"));
        let grouped = with(json!([{ "group": "g", "options": [{ "value": "xhigh" }] }]));
        let level = Level::among(&grouped).unwrap();
        assert_eq!(level.value(Effort::Max), Some("xhigh"));
        assert_eq!(level.value(Effort::High), None);
        for nothing in [json!(null), json!([]), json!([{ "category": "mode" }])] {
            assert_eq!(Level::among(&nothing), None);
        }
    }
}
