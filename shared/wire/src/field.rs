//! A field of a merge patch (RFC 7396): absent keeps, null clears, a value replaces.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer};

/// What a patch says of one field. Needs `#[serde(default)]` where it is used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Field<T> {
    /// Nothing: it stays as it is.
    #[default]
    Absent,
    /// Null: it goes back to its default.
    Null,
    /// A value: it becomes this.
    Value(T),
}

impl<T> Field<T> {
    /// The value of the field that was `old`, whose default is `default`.
    pub fn overlay(self, old: T, default: T) -> T {
        match self {
            Self::Absent => old,
            Self::Null => default,
            Self::Value(value) => value,
        }
    }

    /// The value of the field that was `old`, which may be without one.
    pub fn overlay_optional(self, old: Option<T>) -> Option<T> {
        match self {
            Self::Absent => old,
            Self::Null => None,
            Self::Value(value) => Some(value),
        }
    }

    /// Whether it says nothing.
    pub const fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Field<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Option::deserialize(deserializer)?.map_or(Self::Null, Self::Value))
    }
}

impl<T: JsonSchema> JsonSchema for Field<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        Option::<T>::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Option::<T>::json_schema(generator)
    }
}
