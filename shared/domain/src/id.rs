//! Ids: a prefix that names the kind and a ULID that orders by creation.
//!
//! An id parses only in its canonical spelling (lower-case prefix, 26 upper-case Crockford digits),
//! so two spellings of one id cannot name two things, and no id can carry a path or a control
//! character.

use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
pub use ulid::Ulid;

/// The text is not an id of the expected kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected `{prefix}` followed by a ULID (26 of 0-9 A-Z without I, L, O, U)")]
pub struct Malformed {
    /// The prefix that was expected, with its underscore.
    pub prefix: &'static str,
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Ulid);

        impl $name {
            /// What every id of this kind begins with.
            pub const PREFIX: &'static str = $prefix;

            /// Makes the id that carries `ulid`.
            pub const fn new(ulid: Ulid) -> Self {
                Self(ulid)
            }

            /// The ULID behind the prefix.
            pub const fn ulid(self) -> Ulid {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}{}", Self::PREFIX, self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = Malformed;

            fn from_str(text: &str) -> Result<Self, Malformed> {
                let malformed = Malformed { prefix: Self::PREFIX };
                let digits = text.strip_prefix(Self::PREFIX).ok_or(malformed)?;
                let ulid = Ulid::from_string(digits).map_err(|_| malformed)?;
                // Decoding is lenient (case, overflow): only the canonical spelling is an id.
                if ulid.to_string() == digits { Ok(Self(ulid)) } else { Err(malformed) }
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                text.parse().map_err(de::Error::custom)
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({
                    "type": "string",
                    "pattern": concat!("^", $prefix, "[0-7][0-9A-HJKMNP-TV-Z]{25}$"),
                    "examples": [concat!($prefix, "01JD3Z6V0QK5S8M2W4X7Y9ABCD")],
                })
            }
        }
    )*};
}

ids! {
    /// A realm: the tenant, and the border nothing crosses.
    RealmId = "rlm_";
    /// An API key. The id is public; the secret is not part of it.
    KeyId = "key_";
    /// A template: a saved way to make agents.
    TemplateId = "tpl_";
    /// An agent.
    AgentId = "agt_";
    /// A container: where an agent's processes run.
    ContainerId = "ctr_";
    /// One agent's process inside a container. It has the agent's ULID: an agent has one place.
    InstanceId = "ins_";
    /// A session: one conversation with an agent.
    SessionId = "ses_";
    /// A run: one prompt turn in a session.
    RunId = "run_";
    /// An errand in the due index.
    DueId = "due_";
    /// One line of the audit log.
    AuditId = "aud_";
    /// A ticket that opens one stream.
    TicketId = "wt_";
    /// A snapshot of an agent's workspace.
    SnapshotId = "snp_";
    /// One subscription of one connection.
    SubscriptionId = "sub_";
    /// Bytes that come before the request they are for.
    UploadId = "upl_";
    /// One HTTP request, as it appears in logs and problems.
    RequestId = "req_";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_as_it_was_written() {
        let id = AgentId::new(Ulid::from_parts(1_700_000_000_000, 42));
        assert_eq!(id.to_string().parse(), Ok(id));
        let json = serde_json::to_string(&id).unwrap();
        assert_eq!(serde_json::from_str::<AgentId>(&json).unwrap(), id);
    }

    #[test]
    fn only_the_canonical_spelling_is_an_id() {
        let good = AgentId::new(Ulid::from_parts(1_700_000_000_000, 42)).to_string();
        for bad in [
            good.to_lowercase(),
            good.replace("agt_", "run_"),
            good.replace("agt_", ""),
            format!("{good}0"),
            format!("{good}/.."),
            "agt_".to_owned(),
            "agt_../../etc/passwd".to_owned(),
            "agt_8ZZZZZZZZZZZZZZZZZZZZZZZZZ".to_owned(),
            String::new(),
        ] {
            assert!(bad.parse::<AgentId>().is_err(), "{bad}");
        }
    }
}
