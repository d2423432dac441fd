//! The walls that stand around an agent and around the container it is in, as they were found, and who
//! keeps its limits.
//!
//! What holds here: a set names only what was set up and looked at. What is not named does not hold.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::{EnumIter, IntoEnumIterator};

/// One wall.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema, EnumIter)]
#[serde(rename_all = "snake_case")]
pub enum Wall {
    /// A filter refuses the system calls that no agent needs.
    Seccomp,
    /// No program gives a privilege.
    NoNewPrivileges,
    /// It has no capability.
    NoCapabilities,
    /// Its uid is nobody else's.
    OwnUid,
    /// It has user ids of its own: root inside would be nobody outside.
    UserNamespace,
    /// It sees no process but its own.
    PidNamespace,
    /// It sees no file system but its own.
    MountNamespace,
    /// It reaches no network but its own.
    NetworkNamespace,
    /// It reaches no System V or POSIX queues, semaphores and memory but its own.
    IpcNamespace,
    /// The kernel keeps its memory below a limit.
    MemoryCgroup,
    /// The kernel keeps the number of its processes below a limit.
    PidsCgroup,
    /// The kernel keeps its share of the processors below a limit.
    CpuCgroup,
}

/// The walls that stand. Stored and sent as one number, of which each wall is a bit: it stands in rows that are often
/// written. Bits of a later version are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Standing(u32);

impl Standing {
    /// None.
    pub const NONE: Self = Self(0);

    const fn bit(wall: Wall) -> u32 {
        1 << wall as u32
    }

    /// These and one more.
    #[must_use]
    pub const fn with(self, wall: Wall) -> Self {
        Self(self.0 | Self::bit(wall))
    }

    /// These, and one more where it `holds`.
    #[must_use]
    pub const fn with_if(self, holds: bool, wall: Wall) -> Self {
        if holds { self.with(wall) } else { self }
    }

    /// Whether `wall` is among them.
    pub const fn has(self, wall: Wall) -> bool {
        self.0 & Self::bit(wall) != 0
    }

    /// Whether there are none.
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
    pub const fn is_empty(&self) -> bool {
        self.0 == 0
    }

    /// Those that are in both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Each of them, in the order of [`Wall`].
    pub fn iter(self) -> impl Iterator<Item = Wall> {
        Wall::iter().filter(move |&wall| self.has(wall))
    }
}

impl FromIterator<Wall> for Standing {
    fn from_iter<T: IntoIterator<Item = Wall>>(walls: T) -> Self {
        walls.into_iter().fold(Self::NONE, Self::with)
    }
}

/// Who sees to it that a limit is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Keeper {
    /// The kernel: it is never passed.
    Kernel,
    /// The shim looks now and then: it may be passed by what is taken between two looks.
    Watch,
    /// Nobody.
    Nobody,
}

/// Who keeps the limits of the agents of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Keepers {
    /// Of memory.
    pub memory: Keeper,
    /// Of the number of processes.
    pub processes: Keeper,
    /// Of the share of processors.
    pub cpu: Keeper,
    /// Of open files.
    pub files: Keeper,
    /// Of bytes and files on disk.
    pub disk: Keeper,
}

impl Keepers {
    /// Who keeps the limits behind the walls of a container. What the kernel keeps for all of it
    /// together is watched for each agent besides.
    pub const fn of(walls: Standing) -> Self {
        const fn kernel(holds: bool, otherwise: Keeper) -> Keeper {
            if holds { Keeper::Kernel } else { otherwise }
        }
        Self {
            memory: kernel(walls.has(Wall::MemoryCgroup), Keeper::Watch),
            processes: kernel(walls.has(Wall::PidsCgroup), Keeper::Watch),
            cpu: kernel(walls.has(Wall::CpuCgroup), Keeper::Nobody),
            // A limit of the process that no process may raise.
            files: Keeper::Kernel,
            disk: Keeper::Watch,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_wall_is_a_bit_of_its_own() {
        let all: Standing = Wall::iter().collect();
        assert_eq!(all.iter().count(), Wall::iter().count());
        for wall in Wall::iter() {
            let one = Standing::NONE.with(wall);
            assert_eq!(one.iter().collect::<Vec<_>>(), [wall]);
            assert!(one.with(wall) == one && all.and(one) == one && !Standing::NONE.has(wall));
        }
    }

    #[test]
    fn a_set_is_stored_as_a_number_and_keeps_what_it_does_not_know() {
        let set = Standing::NONE.with(Wall::NoNewPrivileges).with_if(false, Wall::Seccomp);
        assert_eq!(serde_json::to_string(&set).unwrap(), "2");
        let later: Standing = serde_json::from_str("2147483650").unwrap();
        assert_eq!(later.iter().collect::<Vec<_>>(), [Wall::NoNewPrivileges]);
        assert_eq!(serde_json::to_string(&later).unwrap(), "2147483650");
    }

    #[test]
    fn what_the_kernel_does_not_keep_is_watched() {
        let none = Keepers::of(Standing::NONE);
        assert_eq!(
            (none.memory, none.processes, none.cpu),
            (Keeper::Watch, Keeper::Watch, Keeper::Nobody)
        );
        let walls = [Wall::MemoryCgroup, Wall::PidsCgroup, Wall::CpuCgroup].into_iter().collect();
        let kept = Keepers::of(walls);
        assert_eq!(
            (kept.memory, kept.processes, kept.cpu),
            (Keeper::Kernel, Keeper::Kernel, Keeper::Kernel)
        );
    }
}
