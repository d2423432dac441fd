//! What a client follows: one session, all sessions of one agent, or all of a realm.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{AgentId, SessionId};

/// What a client follows, written `realm`, `agent:<id>` or `session:<id>`. Which realm is meant, the
/// client's key says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Topic {
    /// Everything in the realm.
    Realm,
    /// Everything in the sessions of one agent.
    Agent(AgentId),
    /// Everything in one session.
    Session(SessionId),
}

/// The text is not a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a topic is `realm`, `agent:<id>` or `session:<id>`")]
pub struct NotATopic;

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Realm => f.write_str("realm"),
            Self::Agent(id) => write!(f, "agent:{id}"),
            Self::Session(id) => write!(f, "session:{id}"),
        }
    }
}

impl FromStr for Topic {
    type Err = NotATopic;

    fn from_str(text: &str) -> Result<Self, NotATopic> {
        match text.split_once(':') {
            None if text == "realm" => Ok(Self::Realm),
            Some(("agent", id)) => id.parse().map(Self::Agent).map_err(|_| NotATopic),
            Some(("session", id)) => id.parse().map(Self::Session).map_err(|_| NotATopic),
            None | Some(_) => Err(NotATopic),
        }
    }
}

impl Serialize for Topic {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Topic {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<'de, str>::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Topic {
    fn schema_name() -> Cow<'static, str> {
        "Topic".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let ulid = "[0-7][0-9A-HJKMNP-TV-Z]{25}";
        let pattern = format!("^(realm|agent:agt_{ulid}|session:ses_{ulid})$");
        json_schema!({ "type": "string", "pattern": pattern })
    }
}

#[cfg(test)]
mod tests {
    use crate::id::Ulid;

    use super::*;

    #[test]
    fn a_topic_reads_back_and_anything_else_is_none() {
        for topic in [
            Topic::Realm,
            Topic::Agent(AgentId::new(Ulid::from_parts(1, 2))),
            Topic::Session(SessionId::new(Ulid::from_parts(1, 2))),
        ] {
            assert_eq!(topic.to_string().parse(), Ok(topic));
            let json = serde_json::to_string(&topic).unwrap();
            assert_eq!(serde_json::from_str::<Topic>(&json).unwrap(), topic);
        }
        for bad in ["", "Realm", "realm:", "agent", "agent:", "agent:ses_1", "session:*", "run:x"] {
            assert_eq!(bad.parse::<Topic>(), Err(NotATopic), "{bad}");
        }
    }
}
