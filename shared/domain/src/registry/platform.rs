//! What a program was built for, by the names that registries, images and people use.

use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// An operating system and a processor. Written as the ACP registry does: `linux-x86_64`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Platform {
    os: Os,
    arch: Arch,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Os {
    Linux,
    Darwin,
    Windows,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Arch {
    X86,
    Arm,
}

/// The text names no platform.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be an operating system (linux, darwin, windows) and a processor (x86_64, aarch64), as in linux-x86_64"
)]
pub struct NotAPlatform;

impl Platform {
    /// Linux on this processor, by the name that Rust and the kernel have for it.
    pub fn linux(arch: &str) -> Result<Self, NotAPlatform> {
        Ok(Self { os: Os::Linux, arch: Arch::named(arch)? })
    }

    /// Whether agents can run it: they run on Linux.
    pub const fn runs_here(self) -> bool {
        matches!(self.os, Os::Linux)
    }
}

impl Arch {
    fn named(text: &str) -> Result<Self, NotAPlatform> {
        match text {
            "x86-64" | "x86_64" | "amd64" | "x64" => Ok(Self::X86),
            "aarch64" | "arm64" | "arm64-v8" | "armv8" => Ok(Self::Arm),
            _ => Err(NotAPlatform),
        }
    }
}

impl FromStr for Platform {
    type Err = NotAPlatform;

    /// Takes any case, `/`, `_` or `-` between the two, and the processor's other names.
    fn from_str(text: &str) -> Result<Self, NotAPlatform> {
        if text.len() > 64 {
            return Err(NotAPlatform);
        }
        let text = text.to_lowercase().replace(['/', '_'], "-");
        let (os, arch) = text.split_once('-').ok_or(NotAPlatform)?;
        let os = match os {
            "linux" => Os::Linux,
            "darwin" | "macos" | "osx" => Os::Darwin,
            "windows" | "win32" => Os::Windows,
            _ => return Err(NotAPlatform),
        };
        Ok(Self { os, arch: Arch::named(arch)? })
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.os {
            Os::Linux => "linux-",
            Os::Darwin => "darwin-",
            Os::Windows => "windows-",
        })?;
        f.write_str(match self.arch {
            Arch::X86 => "x86_64",
            Arch::Arm => "aarch64",
        })
    }
}

impl Serialize for Platform {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Platform {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Platform {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Platform".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "maxLength": 64, "examples": ["linux-x86_64"] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_platform_has_many_names_and_one_spelling() {
        for name in ["linux-x86_64", "linux/amd64", "LINUX_X64", "Linux-x86-64", "linux/x86_64"] {
            assert_eq!(name.parse::<Platform>().unwrap().to_string(), "linux-x86_64", "{name}");
        }
        for name in ["linux-aarch64", "linux/arm64", "LINUX_ARM64", "linux/arm64/v8"] {
            assert_eq!(name.parse::<Platform>().unwrap().to_string(), "linux-aarch64", "{name}");
        }
        for name in ["", "linux", "x86_64", "linux-", "linux-riscv64", "plan9-x86_64", "linux x64"]
        {
            assert_eq!(name.parse::<Platform>(), Err(NotAPlatform), "{name}");
        }
    }
}
