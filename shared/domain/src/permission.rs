//! What is answered to an agent that asks: for permission to use a tool, or for what only somebody
//! knows.

use std::fmt;

use schemars::JsonSchema;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, IntoDeserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use strum::IntoStaticStr;

/// What to answer when an agent asks for permission to use a tool.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, IntoStaticStr,
)]
#[serde(rename_all = "snake_case")]
pub enum Permission {
    /// Allow once, each time: the container's walls are the limit.
    #[default]
    Allow,
    /// Reject, each time.
    Reject,
    /// Ask: the run waits for an answer through the API. Waiting counts toward the run's time.
    Ask,
}

/// What to answer when an agent asks for permission to use a tool: the same for all tools, or by what a
/// tool does, as the agent says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Permissions {
    /// The same for all.
    All(Permission),
    /// By ACP's kinds of tools.
    ByKind(ByKind),
}

/// What to answer for each of ACP's kinds of tools.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", default, deny_unknown_fields)]
pub struct ByKind {
    /// For every kind that is not named here.
    pub default: Permission,
    /// Reading files or data.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read: Option<Permission>,
    /// Changing files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub edit: Option<Permission>,
    /// Removing files or data.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delete: Option<Permission>,
    /// Moving or renaming files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub r#move: Option<Permission>,
    /// Searching.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub search: Option<Permission>,
    /// Running commands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub execute: Option<Permission>,
    /// Thinking and planning.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub think: Option<Permission>,
    /// Fetching from elsewhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fetch: Option<Permission>,
    /// Going over to another mode.
    #[serde(skip_serializing_if = "Option::is_none", alias = "switchMode")]
    pub switch_mode: Option<Permission>,
    /// Whatever is none of these, and whatever says nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub other: Option<Permission>,
}

impl Permissions {
    /// Allow all.
    pub const ALLOW: Self = Self::All(Permission::Allow);
    /// Reject all.
    pub const REJECT: Self = Self::All(Permission::Reject);
    /// Ask for all.
    pub const ASK: Self = Self::All(Permission::Ask);

    /// What to answer for a tool of ACP's `kind`. A kind that is not known is `other`.
    pub fn of(self, kind: &str) -> Permission {
        let by = match self {
            Self::All(one) => return one,
            Self::ByKind(by) => by,
        };
        let own = match kind {
            "read" => by.read,
            "edit" => by.edit,
            "delete" => by.delete,
            "move" => by.r#move,
            "search" => by.search,
            "execute" => by.execute,
            "think" => by.think,
            "fetch" => by.fetch,
            "switch_mode" => by.switch_mode,
            _ => by.other,
        };
        own.unwrap_or(by.default)
    }
}

impl Default for Permissions {
    fn default() -> Self {
        Self::ALLOW
    }
}

/// A word or an object, and each is told its own mistakes.
impl<'de> Deserialize<'de> for Permissions {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Permissions;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("allow, reject, ask, or an object of these by kind of tool")
            }

            fn visit_str<E: Error>(self, word: &str) -> Result<Permissions, E> {
                Permission::deserialize(word.into_deserializer()).map(Permissions::All)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Permissions, A::Error> {
                ByKind::deserialize(MapAccessDeserializer::new(map)).map(Permissions::ByKind)
            }
        }
        from.deserialize_any(Either)
    }
}

/// What to do when an agent asks for what only somebody knows: an elicitation.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, IntoStaticStr,
)]
#[serde(rename_all = "snake_case")]
pub enum Elicitations {
    /// Ask: the run waits for an answer through the API. Waiting counts toward the run's time.
    #[default]
    Ask,
    /// Decline. The agent is told from the beginning that nobody can be asked.
    Decline,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_counts_for_all_and_an_object_by_kind() {
        let read = |text: &str| serde_json::from_str::<Permissions>(text);
        for (text, kind, expected) in [
            (r#""ask""#, "edit", Permission::Ask),
            (r#"{"default":"ask","read":"allow"}"#, "read", Permission::Allow),
            (r#"{"default":"ask","read":"allow"}"#, "edit", Permission::Ask),
            (r#"{"move":"reject"}"#, "move", Permission::Reject),
            (r#"{"move":"reject"}"#, "search", Permission::Allow),
            (r#"{"switchMode":"ask"}"#, "switch_mode", Permission::Ask),
            (r#"{"other":"reject"}"#, "from_the_future", Permission::Reject),
        ] {
            let permissions = read(text).unwrap();
            assert_eq!(permissions.of(kind), expected, "{text} {kind}");
            let again = serde_json::to_string(&permissions).unwrap();
            assert_eq!(read(&again).unwrap(), permissions);
        }
        assert_eq!(serde_json::to_string(&Permissions::ASK).unwrap(), r#""ask""#);
        for wrong in [r#""perhaps""#, r#"{"write":"allow"}"#, r#"{"read":1}"#, r#"["ask"]"#, "null"]
        {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        let told = read(r#""perhaps""#).unwrap_err().to_string();
        assert!(told.contains("`allow`, `reject`, `ask`"), "{told}");
    }
}
