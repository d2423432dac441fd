//! What one agent's processes may take of a machine, and which limit they have passed.
//!
//! What holds here: a limit is passed by whoever takes all of it or more. Disk is the exception: an
//! agent that found its disk full is stopped only when it takes still more, so that it can clear up.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::container::Resources;

/// What may be taken by all processes of one agent together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// Bytes of memory that belong to no file.
    pub memory: u64,
    /// Processes and threads.
    pub processes: u64,
    /// Open files, of each process.
    pub files: u64,
    /// Bytes in workspace and home.
    pub disk: u64,
    /// Files and directories in workspace and home.
    pub inodes: u64,
    /// Bytes in `/tmp` and `/dev/shm`, where they are the agent's own.
    pub scratch: u64,
    /// Processors, of all agents of a container together, where the kernel counts them: who takes all
    /// of it is slowed down and not stopped.
    pub cpu: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory: 4 << 30,
            processes: 1024,
            files: 4096,
            disk: 10 << 30,
            inodes: 1_000_000,
            scratch: 512 << 20,
            cpu: 4,
        }
    }
}

/// What is taken. What was not measured is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// As in [`Limits`].
    pub memory: u64,
    /// As in [`Limits`].
    pub processes: u64,
    /// Open files of the process that has most.
    pub files: u64,
    /// As in [`Limits`].
    pub disk: u64,
    /// As in [`Limits`].
    pub inodes: u64,
    /// Whether no byte or no file more goes into `/tmp` and `/dev/shm`.
    pub scratch_full: bool,
}

/// Which limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::EnumIter)]
pub enum Limit {
    /// [`Limits::memory`].
    Memory,
    /// [`Limits::processes`].
    Processes,
    /// [`Limits::files`].
    Files,
    /// [`Limits::disk`].
    Disk,
    /// [`Limits::inodes`].
    Inodes,
    /// [`Limits::scratch`].
    Scratch,
}

impl Limit {
    /// Its name, as in `--limit NAME=VALUE`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Processes => "processes",
            Self::Files => "files",
            Self::Disk => "disk",
            Self::Inodes => "inodes",
            Self::Scratch => "scratch",
        }
    }

    const fn in_bytes(self) -> bool {
        matches!(self, Self::Memory | Self::Disk | Self::Scratch)
    }
}

/// A limit that was passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passed {
    /// Which one.
    pub limit: Limit,
    /// What is allowed.
    pub allowed: u64,
}

impl fmt::Display for Passed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { limit, allowed } = *self;
        match limit {
            Limit::Files => write!(f, "a process took all {allowed} open files it may have")?,
            Limit::Scratch => write!(f, "/tmp and /dev/shm are full: they hold {allowed} bytes")?,
            Limit::Memory | Limit::Disk => {
                write!(f, "the agent took the {allowed} bytes of {} it may have", limit.name())?;
            }
            Limit::Processes => write!(f, "the agent took the {allowed} processes it may have")?,
            Limit::Inodes => write!(f, "the agent took the {allowed} files it may have on disk")?,
        }
        Ok(())
    }
}

/// The most processors a limit can be.
pub const MAX_CPU: u64 = 1024;

impl Limits {
    /// The first limit that is passed by who has taken `now`, and had taken `before` when it started.
    pub fn passed(&self, now: &Taken, before: &Taken) -> Option<Passed> {
        let grown = |allowed: u64, now: u64, before: u64| now >= allowed && now > before;
        let found = if now.memory >= self.memory {
            Limit::Memory
        } else if now.processes >= self.processes {
            Limit::Processes
        } else if now.files >= self.files {
            Limit::Files
        } else if grown(self.disk, now.disk, before.disk) {
            Limit::Disk
        } else if grown(self.inodes, now.inodes, before.inodes) {
            Limit::Inodes
        } else if now.scratch_full {
            Limit::Scratch
        } else {
            return None;
        };
        Some(Passed { limit: found, allowed: self.of(found) })
    }

    /// These, but where less is asked for.
    #[must_use]
    pub fn within(self, asked: &Resources) -> Self {
        let least = |ours: u64, asked: Option<u64>| match asked {
            Some(asked) if asked > 0 => ours.min(asked),
            Some(_) | None => ours,
        };
        Self {
            memory: least(self.memory, asked.memory_bytes),
            processes: least(self.processes, asked.pids.map(u64::from)),
            cpu: least(self.cpu, asked.cpu_count.map(u64::from)),
            ..self
        }
    }

    /// The value of a limit.
    pub const fn of(&self, limit: Limit) -> u64 {
        match limit {
            Limit::Memory => self.memory,
            Limit::Processes => self.processes,
            Limit::Files => self.files,
            Limit::Disk => self.disk,
            Limit::Inodes => self.inodes,
            Limit::Scratch => self.scratch,
        }
    }

    /// These, but for what `text` says: `NAME=VALUE`, where bytes may end in `K`, `M` or `G`.
    pub fn with(mut self, text: &str) -> Result<Self, Malformed> {
        use strum::IntoEnumIterator;
        let (name, value) = text.split_once('=').ok_or(Malformed)?;
        if name == "cpu" {
            let cpu =
                value.parse().ok().filter(|cpu| (1..=MAX_CPU).contains(cpu)).ok_or(Malformed)?;
            return Ok(Self { cpu, ..self });
        }
        let limit = Limit::iter().find(|limit| limit.name() == name).ok_or(Malformed)?;
        let digits = value.trim_end_matches(['K', 'M', 'G']);
        let shift = match &value[digits.len()..] {
            "" => 0,
            "K" if limit.in_bytes() => 10,
            "M" if limit.in_bytes() => 20,
            "G" if limit.in_bytes() => 30,
            _ => return Err(Malformed),
        };
        let number: u64 = digits.parse().map_err(|_| Malformed)?;
        let value = number.checked_mul(1 << shift).filter(|&value| value > 0).ok_or(Malformed)?;
        match limit {
            Limit::Memory => self.memory = value,
            Limit::Processes => self.processes = value,
            Limit::Files => self.files = value,
            Limit::Disk => self.disk = value,
            Limit::Inodes => self.inodes = value,
            Limit::Scratch => self.scratch = value,
        }
        Ok(self)
    }
}

/// The text is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected NAME=VALUE: memory, disk or scratch in bytes (K, M and G are understood), processes, \
     files, inodes or cpu"
)]
pub struct Malformed;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_passed_by_who_takes_all_of_it() {
        let limits = Limits {
            memory: 10,
            processes: 10,
            files: 10,
            disk: 10,
            inodes: 10,
            scratch: 10,
            cpu: 1,
        };
        let none = Taken::default();
        let row = |now: Taken| limits.passed(&now, &none).map(|passed| passed.limit);
        assert_eq!(row(none), None);
        let nearly =
            Taken { memory: 9, processes: 9, files: 9, disk: 9, inodes: 9, scratch_full: false };
        assert_eq!(row(nearly), None);
        assert_eq!(row(Taken { memory: 10, ..nearly }), Some(Limit::Memory));
        assert_eq!(row(Taken { processes: 11, ..nearly }), Some(Limit::Processes));
        assert_eq!(row(Taken { files: 10, ..nearly }), Some(Limit::Files));
        assert_eq!(row(Taken { disk: 10, ..nearly }), Some(Limit::Disk));
        assert_eq!(row(Taken { inodes: 10, ..nearly }), Some(Limit::Inodes));
        assert_eq!(row(Taken { scratch_full: true, ..nearly }), Some(Limit::Scratch));
    }

    #[test]
    fn who_found_its_disk_full_may_clear_up() {
        let limits = Limits { disk: 100, inodes: 100, ..Limits::default() };
        let before = Taken { disk: 150, inodes: 150, ..Taken::default() };
        assert_eq!(limits.passed(&before, &before), None);
        assert_eq!(limits.passed(&Taken { disk: 120, ..before }, &before), None);
        let more = Taken { disk: 151, ..before };
        assert_eq!(limits.passed(&more, &before).map(|one| one.limit), Some(Limit::Disk));
    }

    #[test]
    fn who_asks_for_less_gets_less_and_never_more() {
        let asked = Resources { cpu_count: Some(99), memory_bytes: Some(1 << 20), pids: Some(0) };
        let ours = Limits::default();
        assert_eq!(ours.within(&asked), Limits { memory: 1 << 20, ..ours });
        let asked = Resources { cpu_count: Some(1), memory_bytes: None, pids: Some(8) };
        assert_eq!(ours.within(&asked), Limits { cpu: 1, processes: 8, ..ours });
    }

    #[test]
    fn limits_are_read_from_a_command_line() {
        let limits = Limits::default().with("memory=512M").unwrap().with("processes=99").unwrap();
        assert_eq!((limits.memory, limits.processes), (512 << 20, 99));
        assert_eq!(limits.with("scratch=2G").unwrap().scratch, 2 << 30);
        assert_eq!(limits.with("cpu=3").unwrap().cpu, 3);
        for wrong in [
            "memory",
            "memory=",
            "memory=0",
            "memory=1T",
            "memory=1KK",
            "files=4K",
            "cpu=0",
            "cpu=1025",
            "cpu=1K",
            "gpu=1",
            "disk=-1",
        ] {
            assert_eq!(Limits::default().with(wrong), Err(Malformed), "{wrong}");
        }
        assert_eq!(Limits::default().with("disk=18446744073709551615G"), Err(Malformed));
    }

    #[test]
    fn what_was_passed_is_named() {
        let passed = |limit| Passed { limit, allowed: 7 }.to_string();
        assert_eq!(passed(Limit::Memory), "the agent took the 7 bytes of memory it may have");
        assert_eq!(passed(Limit::Processes), "the agent took the 7 processes it may have");
    }
}
