//! Shapes that are read from an object and from nothing else.
//!
//! A derived shape takes an array for an object, too, its fields by position. No client means that, and
//! no schema says it. For `#[serde(deserialize_with = "…")]` on fields of what callers send.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};

struct Object<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Object<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map))
    }
}

/// An object.
pub fn one<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<T, D::Error> {
    from.deserialize_map(Object(PhantomData))
}

struct Strict<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Strict<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        one(from).map(Self)
    }
}

/// An object, or null.
pub fn maybe<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    from: D,
) -> Result<Option<T>, D::Error> {
    Ok(Option::<Strict<T>>::deserialize(from)?.map(|Strict(one)| one))
}

/// Objects in an array.
pub fn each<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Vec<T>, D::Error> {
    Ok(Vec::<Strict<T>>::deserialize(from)?.into_iter().map(|Strict(one)| one).collect())
}

#[cfg(test)]
mod tests {
    use crate::container::Profile;
    use crate::session::Setup;

    #[test]
    fn an_array_is_no_object() {
        let profile = |text: &str| serde_json::from_str::<Profile>(text).is_ok();
        assert!(profile(r#"{"resourceLimits": {"pids": 3}}"#));
        assert!(profile(r#"{"resourceLimits": null}"#));
        assert!(!profile(r#"{"resourceLimits": [null, null]}"#));
        let setup = |text: &str| serde_json::from_str::<Setup>(text).is_ok();
        assert!(setup(r#"{"mcpServers": [{"name": "a", "command": "b"}]}"#));
        assert!(!setup(r#"{"mcpServers": [["a", "b"]]}"#));
    }
}
