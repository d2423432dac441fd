//! Text that has been checked once, where it came in.
//!
//! A value of one of these types is within its limit and free of control characters, so no code
//! behind the parser has to ask again.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, de};

/// Why a text was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// Nothing but white space.
    #[error("must not be blank")]
    Blank,
    /// Longer than the type allows.
    #[error("must have at most {0} characters")]
    TooLong(usize),
    /// Heavier than what is stored for it may be: some characters have four bytes.
    #[error("must have at most {0} bytes")]
    TooHeavy(usize),
    /// Contains a control character that the type does not allow.
    #[error("must not contain control characters")]
    Control,
    /// Contains a character outside the type's alphabet.
    #[error("{0}")]
    Alphabet(&'static str),
}

macro_rules! texts {
    ($($(#[$doc:meta])* $name:ident { max: $max:literal, pattern: $pattern:literal, check: $check:expr })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// The most characters a value may have.
            pub const MAX: usize = $max;

            /// Checks `text` against the limits of this type.
            pub fn new(text: impl Into<String>) -> Result<Self, Unfit> {
                let text = text.into();
                if text.chars().count() > Self::MAX {
                    return Err(Unfit::TooLong(Self::MAX));
                }
                let check: fn(&str) -> Result<(), Unfit> = $check;
                check(&text)?;
                Ok(Self(text))
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Self::new(String::deserialize(deserializer)?).map_err(de::Error::custom)
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "maxLength": $max, "pattern": $pattern })
            }
        }
    )*};
}

fn line(text: &str) -> Result<(), Unfit> {
    if text.chars().any(char::is_control) {
        Err(Unfit::Control)
    } else if text.chars().all(char::is_whitespace) {
        Err(Unfit::Blank)
    } else {
        Ok(())
    }
}

fn prose(text: &str) -> Result<(), Unfit> {
    if text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t')) {
        Err(Unfit::Control)
    } else if text.chars().all(char::is_whitespace) {
        Err(Unfit::Blank)
    } else {
        Ok(())
    }
}

fn any_prose(text: &str) -> Result<(), Unfit> {
    if text.is_empty() {
        Ok(())
    } else {
        prose(text).or_else(|unfit| if unfit == Unfit::Blank { Ok(()) } else { Err(unfit) })
    }
}

/// The most bytes of a prompt: a run and its sealed answer each fit one item of the table.
const MAX_PROMPT: usize = 200_000;

fn prompt(text: &str) -> Result<(), Unfit> {
    if text.len() > MAX_PROMPT { Err(Unfit::TooHeavy(MAX_PROMPT)) } else { prose(text) }
}

fn slug(text: &str) -> Result<(), Unfit> {
    let fits = text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '/'))
        && !text.contains("..");
    if fits {
        Ok(())
    } else {
        Err(Unfit::Alphabet("must begin with a letter or digit and hold only a-z A-Z 0-9 . _ - /"))
    }
}

fn plain(text: &str) -> Result<(), Unfit> {
    if text.chars().any(char::is_control) { Err(Unfit::Control) } else { Ok(()) }
}

fn variable(text: &str) -> Result<(), Unfit> {
    let fits = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if fits { Ok(()) } else { Err(Unfit::Alphabet("must match ^[A-Za-z_][A-Za-z0-9_]*$")) }
}

fn value(text: &str) -> Result<(), Unfit> {
    // A NUL ends a C string: what is behind it would be lost without a word.
    if text.contains('\0') { Err(Unfit::Control) } else { Ok(()) }
}

fn registry_id(text: &str) -> Result<(), Unfit> {
    let fits = text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    if fits { Ok(()) } else { Err(Unfit::Alphabet("must match ^[a-z][a-z0-9-]*$")) }
}

fn version(text: &str) -> Result<(), Unfit> {
    let fits = text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '+'));
    if fits { Ok(()) } else { Err(Unfit::Alphabet("must match ^[0-9A-Za-z][0-9A-Za-z._+-]*$")) }
}

texts! {
    /// What people call a thing: one line, 1 to 120 characters.
    Name { max: 120, pattern: "^[^\\x00-\\x1F\\x7F-\\x9F]*[^\\s\\x00-\\x1F\\x7F-\\x9F][^\\x00-\\x1F\\x7F-\\x9F]*$", check: line }
    /// A prompt: text of 1 to 100,000 characters and at most 200,000 bytes, line breaks and tabs allowed.
    Prompt { max: 100_000, pattern: "^[^\\x00-\\x08\\x0B\\x0C\\x0E-\\x1F\\x7F-\\x9F]*[^\\s\\x00-\\x1F\\x7F-\\x9F][^\\x00-\\x08\\x0B\\x0C\\x0E-\\x1F\\x7F-\\x9F]*$", check: prompt }
    /// Instructions to a model: text of 1 to 20,000 characters, line breaks and tabs allowed.
    Instructions { max: 20_000, pattern: "^[^\\x00-\\x08\\x0B\\x0C\\x0E-\\x1F\\x7F-\\x9F]*[^\\s\\x00-\\x1F\\x7F-\\x9F][^\\x00-\\x08\\x0B\\x0C\\x0E-\\x1F\\x7F-\\x9F]*$", check: prose }
    /// What a thing is for: one line, up to 500 characters, may be empty.
    Description { max: 500, pattern: "^[^\\x00-\\x1F\\x7F-\\x9F]*$", check: plain }
    /// The key of a label: 1 to 63 of letters, digits, `.`, `_`, `-`, `/`.
    LabelKey { max: 63, pattern: "^[a-zA-Z0-9]([a-zA-Z0-9_/-]|\\.(?!\\.))*$", check: slug }
    /// The value of a label: up to 120 characters of one line, may be empty.
    LabelValue { max: 120, pattern: "^[^\\x00-\\x1F\\x7F-\\x9F]*$", check: plain }
    /// A name that becomes a file name or an identifier: 1 to 128 of letters, digits, `.`, `_`, `-`, `/`.
    Slug { max: 128, pattern: "^[a-zA-Z0-9]([a-zA-Z0-9_/-]|\\.(?!\\.))*$", check: slug }
    /// The name of an environment variable.
    VariableName { max: 128, pattern: "^[A-Za-z_][A-Za-z0-9_]*$", check: variable }
    /// The value of an environment variable or one argument of a command: up to 8,192 characters, no NUL.
    Argument { max: 8192, pattern: "^[^\\x00]*$", check: value }
    /// An agent's own id of a mode, a model or a value of an option: one line, 1 to 200 characters.
    ValueId { max: 200, pattern: "^[^\\x00-\\x1F\\x7F-\\x9F]*[^\\s\\x00-\\x1F\\x7F-\\x9F][^\\x00-\\x1F\\x7F-\\x9F]*$", check: line }
    /// The id of an agent in a registry: `^[a-z][a-z0-9-]*$`, 1 to 64 characters.
    RegistryId { max: 64, pattern: "^[a-z][a-z0-9-]*$", check: registry_id }
    /// The version of an agent in a registry: mostly `X.Y.Z`, compared for equality only.
    Version { max: 64, pattern: "^[0-9A-Za-z][0-9A-Za-z._+-]*$", check: version }
    /// A line or more about a thing from outside: up to 4,000 characters, may be empty.
    Prose { max: 4000, pattern: "^[^\\x00-\\x08\\x0B\\x0C\\x0E-\\x1F\\x7F-\\x9F]*$", check: any_prose }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_checked_where_it_comes_in() {
        assert_eq!(Name::new("  "), Err(Unfit::Blank));
        assert_eq!(Name::new("a\u{7}b"), Err(Unfit::Control));
        assert_eq!(Name::new("x".repeat(121)), Err(Unfit::TooLong(120)));
        assert!(Name::new("Größe 1").is_ok());
        assert!(Prompt::new("two\nlines").is_ok());
        assert_eq!(Prompt::new("nul\0"), Err(Unfit::Control));
        assert!(Prompt::new("x".repeat(100_000)).is_ok());
        assert_eq!(Prompt::new("\u{1F600}".repeat(50_001)), Err(Unfit::TooHeavy(200_000)));
        assert!(matches!(Slug::new("../etc"), Err(Unfit::Alphabet(_))));
        assert!(matches!(Slug::new("a/../etc"), Err(Unfit::Alphabet(_))));
        assert!(Argument::new("").is_ok());
    }
}
