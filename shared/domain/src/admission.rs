//! Who of a realm may run: so many containers at once, the others wait in line, so many and no more.
//!
//! What holds here
//! - A container runs only while it has *room*: one of as many as the realm's `maxRunningContainers`
//!   says. It gets room before it is started, and gives it back when it counts as stopped.
//! - Who comes while somebody waits does not go ahead of them.
//! - Where there is no room, the container that has been idle longest is stopped for who waits, and no
//!   more are than those who wait need.
//!
//! The counts are kept beside the containers, changed in the commits that change those: see
//! `store::container`.

use crate::container::Container;
use crate::realm::RealmLimits;

/// What a realm's containers are at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Containers that exist.
    pub existing: i64,
    /// Containers that have room.
    pub running: i64,
    /// Containers that wait for room.
    pub waiting: i64,
    /// Containers that have room and are being stopped for one that waits.
    pub leaving: i64,
}

/// What becomes of a container that is needed and has no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// There is room for it.
    Room,
    /// It waits.
    Line,
    /// As many wait as may.
    Full,
}

impl Counts {
    /// How many more may run. Less than none where a limit was lowered.
    pub fn free(&self, limits: &RealmLimits) -> i64 {
        i64::from(limits.max_running_containers) - self.running
    }

    /// How many may wait, where `idle` containers could be stopped for them: those who will get room
    /// without anybody's run ending do not count.
    pub fn line(&self, limits: &RealmLimits, idle: usize) -> i64 {
        let idle = i64::try_from(idle).unwrap_or(i64::MAX);
        let soon = self.free(limits).saturating_add(self.leaving).saturating_add(idle).max(0);
        i64::from(limits.max_waiting).saturating_add(soon)
    }

    /// What becomes of one more, where `idle` containers could be stopped for it.
    pub fn place(&self, limits: &RealmLimits, idle: usize) -> Place {
        if self.waiting == 0 && self.free(limits) > 0 {
            Place::Room
        } else if self.waiting < self.line(limits, idle) {
            Place::Line
        } else {
            Place::Full
        }
    }

    /// How many idle containers are to be stopped, so that everybody who waits gets room.
    pub fn to_stop(self, limits: &RealmLimits) -> usize {
        let short = self.waiting.saturating_sub(self.free(limits)).saturating_sub(self.leaving);
        if self.waiting > 0 { usize::try_from(short).unwrap_or(0) } else { 0 }
    }
}

impl Container {
    /// Whether a run can be given to it now: it runs, is about to, or has the room to.
    pub fn has_place(&self) -> bool {
        self.state.takes_work() || (self.room && self.state.needs_start())
    }

    /// Whether somebody could have its room: nothing runs in it, and nobody has pinned it.
    pub fn is_idle(&self) -> bool {
        self.idle_at.is_some() && self.busy.is_empty() && !self.pinned
    }

    /// Whether somebody woke it, who had to wait for room, and there is some now: no run needs it, and
    /// it is not about to be started again by itself.
    pub fn was_let_in(&self) -> bool {
        let by_itself = self.failures.again_at.is_some();
        self.room && self.busy.is_empty() && self.state.needs_start() && !by_itself
    }

    /// Gives back the room, and the place in line, of a container that nobody needs and that does not
    /// run. Whether it had room.
    pub fn withdraw(&mut self) -> bool {
        if !self.busy.is_empty() || !self.state.needs_start() {
            return false;
        }
        self.waits_since = None;
        std::mem::take(&mut self.room)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(running: u32, waiting: u32) -> RealmLimits {
        RealmLimits {
            max_running_containers: running,
            max_waiting: waiting,
            ..RealmLimits::default()
        }
    }

    fn counts(running: i64, waiting: i64, leaving: i64) -> Counts {
        Counts { existing: running + waiting, running, waiting, leaving }
    }

    #[test]
    fn who_comes_gets_room_a_place_in_line_or_nothing() {
        let limits = limits(2, 1);
        assert_eq!(counts(1, 0, 0).place(&limits, 0), Place::Room);
        assert_eq!(counts(1, 1, 0).place(&limits, 0), Place::Line, "nobody goes ahead of the line");
        assert_eq!(counts(2, 0, 0).place(&limits, 0), Place::Line);
        assert_eq!(counts(2, 1, 0).place(&limits, 0), Place::Full);
        assert_eq!(counts(2, 1, 0).place(&limits, 1), Place::Line, "an idle one makes room");
        assert_eq!(counts(2, 2, 0).place(&limits, 1), Place::Full);
        assert_eq!(counts(2, 1, 1).place(&limits, 0), Place::Line, "one is leaving already");
        assert_eq!(counts(2, 0, 0).place(&self::limits(2, 0), 0), Place::Full);
        assert_eq!(counts(0, 0, 0).place(&self::limits(0, 0), 0), Place::Full);
    }

    #[test]
    fn as_many_are_stopped_as_those_who_wait_need() {
        let limits = limits(3, 9);
        assert_eq!(counts(3, 0, 0).to_stop(&limits), 0);
        assert_eq!(counts(3, 2, 0).to_stop(&limits), 2);
        assert_eq!(counts(3, 2, 1).to_stop(&limits), 1);
        assert_eq!(counts(3, 2, 2).to_stop(&limits), 0);
        assert_eq!(counts(2, 1, 0).to_stop(&limits), 0, "there is room");
        // The limit was lowered from five: nothing stops for that alone.
        assert_eq!(counts(5, 0, 0).to_stop(&limits), 0);
        assert_eq!(counts(5, 1, 0).to_stop(&limits), 3);
    }
}
