//! The names of what is in a workspace.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, de};

/// The text names no place in a workspace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAPath {
    /// There is nothing.
    #[error("must not be empty")]
    Empty,
    /// Too long for a path, or for one of its names.
    #[error("must have at most 1024 bytes, each name in it at most 255")]
    TooLong,
    /// It begins at a root of its own.
    #[error("must be relative to the workspace")]
    Absolute,
    /// It has an empty name, `.` or `..`.
    #[error("must not contain an empty name, `.` or `..`")]
    Detour,
    /// It has a NUL.
    #[error("must not contain NUL")]
    Nul,
}

/// A place below the root of a workspace: UTF-8, names joined by `/`, none of them empty, `.` or
/// `..`, no NUL. At most 1024 bytes. A name may hold anything else, as on a disk.
///
/// Paths are ordered name by name, so what is in a directory comes right behind it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct WorkspacePath(String);

impl WorkspacePath {
    /// The most bytes of a path.
    pub const MAX: usize = 1024;

    /// Checks `text`.
    pub fn new(text: impl Into<String>) -> Result<Self, NotAPath> {
        let text = text.into();
        if text.is_empty() {
            return Err(NotAPath::Empty);
        }
        if text.len() > Self::MAX {
            return Err(NotAPath::TooLong);
        }
        if text.starts_with('/') {
            return Err(NotAPath::Absolute);
        }
        if text.contains('\0') {
            return Err(NotAPath::Nul);
        }
        for name in text.split('/') {
            if matches!(name, "" | "." | "..") {
                return Err(NotAPath::Detour);
            }
            if name.len() > 255 {
                return Err(NotAPath::TooLong);
            }
        }
        Ok(Self(text))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What is called `name` in this directory.
    pub fn join(&self, name: &str) -> Result<Self, NotAPath> {
        Self::new(format!("{}/{name}", self.0))
    }

    /// Its last name.
    pub fn name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }

    /// Its names, from the root.
    pub fn names(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.split('/')
    }

    /// The directory it is in; none where that is the root.
    pub fn parent(&self) -> Option<Self> {
        self.0.rsplit_once('/').map(|(parent, _)| Self(parent.to_owned()))
    }

    /// Whether it lies in the directory `other`, at any depth.
    pub fn is_below(&self, other: &Self) -> bool {
        self.0.strip_prefix(&other.0).is_some_and(|rest| rest.starts_with('/'))
    }
}

impl Ord for WorkspacePath {
    fn cmp(&self, other: &Self) -> Ordering {
        // `/` before every other byte is name by name: no name holds a NUL.
        fn bytes(text: &str) -> impl Iterator<Item = u8> {
            text.bytes().map(|byte| if byte == b'/' { 0 } else { byte })
        }
        bytes(&self.0).cmp(bytes(&other.0))
    }
}

impl PartialOrd for WorkspacePath {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for WorkspacePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for WorkspacePath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

impl JsonSchema for WorkspacePath {
    fn schema_name() -> Cow<'static, str> {
        "WorkspacePath".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string", "minLength": 1, "maxLength": 1024, "examples": ["notes/sample.txt"],
            "description": "A path below the workspace's root: names joined by `/`, none of them empty, `.` or `..`, no NUL.",
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn path(text: &str) -> WorkspacePath {
        WorkspacePath::new(text).unwrap()
    }

    #[test]
    fn what_leads_elsewhere_is_no_path() {
        for bad in [
            "",
            "/",
            "/etc/passwd",
            "..",
            "../x",
            "a/../b",
            "a/..",
            ".",
            "./a",
            "a/./b",
            "a//b",
            "a/",
            "a\0b",
            "//",
            "\0",
        ] {
            assert!(WorkspacePath::new(bad).is_err(), "{bad:?}");
        }
        assert_eq!(WorkspacePath::new("a".repeat(256)), Err(NotAPath::TooLong));
        assert_eq!(WorkspacePath::new("a/".repeat(600) + "a"), Err(NotAPath::TooLong));
        for good in ["a", ".git/config", "..a", "a b/c\nd", "é/ü", ".../a", "a\\..\\b"] {
            assert_eq!(path(good).as_str(), good);
        }
    }

    #[test]
    fn what_is_in_a_directory_comes_right_behind_it() {
        let mut paths = ["a.b", "a/b", "a", "a/b/c", "a!", "b"].map(path);
        paths.sort();
        assert_eq!(paths, ["a", "a/b", "a/b/c", "a!", "a.b", "b"].map(path));
        assert!(path("a/b/c").is_below(&path("a")));
        assert!(!path("ab").is_below(&path("a")) && !path("a").is_below(&path("a")));
        assert_eq!(path("a/b/c").parent(), Some(path("a/b")));
        assert_eq!((path("a").parent(), path("a/b").name().to_owned()), (None, "b".to_owned()));
    }

    proptest! {
        #[test]
        fn every_path_stays_below_the_root(text in "[./a\\n\0]{0,12}") {
            if let Ok(path) = WorkspacePath::new(text) {
                let mut depth = 0_i32;
                for part in std::path::Path::new(path.as_str()).components() {
                    let down = matches!(part, std::path::Component::Normal(_));
                    depth += if down { 1 } else { i32::MIN / 2 };
                }
                prop_assert!(depth > 0);
            }
        }

        #[test]
        fn the_order_is_that_of_the_names(
            one in "[ab!./]{1,8}", other in "[ab!./]{1,8}",
        ) {
            if let (Ok(one), Ok(other)) = (WorkspacePath::new(one), WorkspacePath::new(other)) {
                prop_assert_eq!(one.cmp(&other), one.names().cmp(other.names()));
            }
        }
    }
}
