//! Where the history of a workspace ends, and how far back it goes.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Cause, Snapshot};
use crate::{AgentId, Digest, KeyId, RealmId, Timestamp};

/// How long a blob is left alone that no snapshot names: whoever has put it may be about to say what it
/// is for. Also the longest that anything waits for somebody to look whether it may go.
pub const UNNAMED: Duration = Duration::from_hours(24);

/// The end of a workspace's history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct History {
    /// The realm it is in.
    pub realm: RealmId,
    /// Whose workspace.
    pub agent: AgentId,
    /// The latest snapshot.
    pub latest: Snapshot,
    /// The manifest of the agent's home as it was last, where no directory keeps it. It has no history.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub home: Option<Digest>,
    /// The rollback or import that made the latest snapshot, until the directory is what that says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restoring: Option<Restoring>,
    /// How many snapshots there are.
    #[serde(default)]
    pub kept: u32,
    /// When somebody looks what of it may go, where that is planned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collect_at: Option<Timestamp>,
    /// Until when blobs that nobody names may be taken away under whoever puts them again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collecting_until: Option<Timestamp>,
}

/// How a workspace becomes something else as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Renewal {
    /// It becomes what an earlier snapshot says, and nothing else is left.
    #[default]
    Rollback,
    /// Files come into it. What else is there stays, also where it changes meanwhile.
    Import,
}

impl Renewal {
    /// What the snapshots are for of what was there before, where that has none, and of what is to be.
    pub const fn causes(self) -> (Cause, Cause) {
        match self {
            Self::Rollback => (Cause::BeforeRollback, Cause::Rollback),
            Self::Import => (Cause::BeforeImport, Cause::Import),
        }
    }
}

/// A rollback or an import that was decided and is being carried out. While it is, nothing else changes
/// the directory or looks for a snapshot in it, and no prompt is given to the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Restoring {
    /// Which of them.
    #[serde(default)]
    pub what: Renewal,
    /// The key of whoever asked for it.
    pub by: KeyId,
    /// When they did.
    pub since: Timestamp,
    /// When it is given up, where it fails until then.
    pub until: Timestamp,
}

impl History {
    /// There are `added` snapshots more, of which at most `most` are to be kept. When somebody has to
    /// look what may go, where nobody has been told to. To look costs as much as all snapshots weigh, so
    /// there may be a quarter more of them before.
    pub fn grow(&mut self, added: u32, most: u32, now: Timestamp) -> Option<Timestamp> {
        self.kept = self.kept.saturating_add(added);
        let at = match self.collect_at {
            Some(at) if at <= now => return None,
            _ if self.kept > most.saturating_add(most / 4) => now,
            Some(_) => return None,
            None => now.after(UNNAMED),
        };
        self.collect_at = Some(at);
        Some(at)
    }
}

/// How many of the oldest go of snapshots that were `made` then, oldest first: those behind the `most`
/// latest, and those older than `keep`. Never the latest.
pub fn surplus(made: &[Timestamp], most: u32, keep: Duration, now: Timestamp) -> usize {
    let many = made.len().saturating_sub(usize::try_from(most).unwrap_or(usize::MAX));
    let old = made.iter().take_while(|made| made.after(keep) <= now).count();
    many.max(old).min(made.len().saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hours: u64) -> Timestamp {
        Timestamp::default().after(Duration::from_hours(hours))
    }

    #[test]
    fn what_is_too_many_or_too_old_goes_and_the_latest_stays() {
        let made: Vec<_> = (0..10).map(at).collect();
        let go = |most, keep, now| surplus(&made, most, Duration::from_hours(keep), at(now));
        assert_eq!(go(100, 100, 10), 0);
        assert_eq!(go(10, 100, 10), 0);
        assert_eq!(go(7, 100, 10), 3);
        assert_eq!(go(7, 6, 10), 5, "what is too old goes, although it is not too many");
        assert_eq!(go(3, 6, 10), 7);
        assert_eq!(go(0, 0, 1000), 9);
        assert_eq!(surplus(&[], 0, Duration::ZERO, at(1)), 0);
    }
}
