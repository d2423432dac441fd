//! What becomes of a container: decided from what is stored of it and what the platform shows of it.
//!
//! One table for whoever looks: an exit that the platform tells, a shim that hung up or is silent, a
//! start that could not be made, and the sweep over everything that runs.
//!
//! What holds
//! - A start that lives and is the present one of a container that may run is never ended for it.
//! - What no row wants is removed, by its generation: a later start of the same container is not meant.
//! - A container that dies while somebody needs it is started again, [`TRIES`] times at most, with
//!   growing pauses. That counts until a run has ended in it as its agent said, until it was up for
//!   [`STEADY`], until it was stopped as somebody wished, or until somebody asks anew after the end.
//! - Not to know is no reason to do anything.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::container::{Container, ContainerEvent, ContainerState};
use crate::run::End;
use crate::{Refused, Timestamp};

/// How often a container that fails is started again before it has failed for good.
pub const TRIES: u32 = 3;

/// How long a container is up and unchanged until what failed before counts no more.
pub const STEADY: Duration = Duration::from_mins(10);

/// How long to wait before the next try, after so many: 250 ms, 1 s, 4 s.
pub const fn pause(tries: u32) -> Duration {
    let doublings = if tries < TRIES { 2 * tries } else { 2 * TRIES };
    Duration::from_millis(250 << doublings)
}

/// What the platform shows of a container, and of which start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// It runs.
    Runs(u32),
    /// It runs or should, and its shim has not been heard of for longer than it may.
    Silent(u32),
    /// It has ended by itself, or could not be made.
    Ended(u32),
    /// It cannot be made as it is asked for, now or later.
    Refused(u32),
    /// Nothing of any start is there.
    Absent,
    /// The platform does not say, or does not show yet what it was asked for a moment ago.
    Unknown,
}

/// What is stored of a container, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Where it is.
    pub state: ContainerState,
    /// Its present start.
    pub generation: u32,
    /// How often it was started again since it was last well.
    pub tries: u32,
    /// Whether a start of it is for anybody.
    pub wanted: bool,
}

/// What the end of a start means to whoever had something in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// It was up, and is gone.
    Lost,
    /// It did not come up.
    Unavailable,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Nothing: it is as it should be, or somebody sees to it already.
    Leave,
    /// It is kept as it runs.
    Adopt,
    /// What was seen is ended, and nothing else: no row wants it.
    Remove,
    /// It has stopped, as somebody wished.
    Stop,
    /// It has failed, and nobody needs it: it stays so until somebody does.
    Fail(Cause),
    /// It has failed and is started again after this long.
    Recover(Cause, Duration),
    /// It has failed, and everything that waits for it fails with it.
    GiveUp(Cause),
}

/// Decides about one container, of which a row is stored or none.
pub const fn decide(stored: Option<Stored>, seen: Seen) -> Decision {
    use ContainerState as S;
    use Decision as D;
    let Some(stored) = stored else { return unwanted(seen) };
    match seen {
        Seen::Runs(other) | Seen::Silent(other) if other != stored.generation => return D::Remove,
        // An end that was reckoned with, or a late word about one.
        Seen::Ended(other) | Seen::Refused(other) if other != stored.generation => return D::Leave,
        Seen::Runs(_)
        | Seen::Silent(_)
        | Seen::Ended(_)
        | Seen::Refused(_)
        | Seen::Absent
        | Seen::Unknown => {}
    }
    match stored.state {
        S::Requested | S::Stopped | S::Failed | S::Deleted => unwanted(seen),
        S::Provisioning | S::Starting | S::Recovering => match seen {
            Seen::Runs(_) => D::Adopt,
            Seen::Silent(_) | Seen::Ended(_) => failed(stored, Cause::Unavailable),
            Seen::Refused(_) => D::GiveUp(Cause::Unavailable),
            // Whoever needs it asks for the same start again until it is there.
            Seen::Absent | Seen::Unknown => D::Leave,
        },
        S::Ready | S::Busy | S::Idle => match seen {
            Seen::Runs(_) => D::Adopt,
            Seen::Silent(_) | Seen::Ended(_) | Seen::Absent => failed(stored, Cause::Lost),
            Seen::Refused(_) | Seen::Unknown => D::Leave,
        },
        S::Hibernating => match seen {
            Seen::Ended(_) | Seen::Absent => D::Stop,
            // Its errand sees that it stops.
            Seen::Runs(_) | Seen::Silent(_) | Seen::Refused(_) | Seen::Unknown => D::Leave,
        },
        // Its errand takes it apart, whatever is left of it.
        S::Deleting => D::Leave,
    }
}

/// What no row wants is ended where it runs.
const fn unwanted(seen: Seen) -> Decision {
    match seen {
        Seen::Runs(_) | Seen::Silent(_) => Decision::Remove,
        Seen::Ended(_) | Seen::Refused(_) | Seen::Absent | Seen::Unknown => Decision::Leave,
    }
}

const fn failed(stored: Stored, cause: Cause) -> Decision {
    if !stored.wanted {
        Decision::Fail(cause)
    } else if stored.tries < TRIES {
        Decision::Recover(cause, pause(stored.tries))
    } else {
        Decision::GiveUp(cause)
    }
}

/// What went wrong with a container since it was last well.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Failures {
    /// How often it was started again.
    pub tries: u32,
    /// When it may be started again. None where it is not being recovered.
    pub again_at: Option<Timestamp>,
    /// It is not started again before somebody asks anew: its fault says why.
    pub given_up: bool,
    /// Whether that has been told to its agents' sessions.
    pub told: bool,
}

impl Failures {
    /// Whether there were none.
    pub fn none(&self) -> bool {
        *self == Self::default()
    }
}

impl Container {
    /// What of it matters to [`decide`], at `now`.
    pub fn stored(&self, now: Timestamp) -> Stored {
        let steady = self.state.is_connected() && now.since(self.updated_at) >= STEADY;
        Stored {
            state: self.state,
            generation: self.generation,
            tries: if steady { 0 } else { self.failures.tries },
            wanted: self.is_wanted(),
        }
    }

    /// Whether a start of it is for anybody: a session with a run in flight or in line, whoever pinned
    /// it, or whoever asked for the start that is under way.
    pub fn is_wanted(&self) -> bool {
        let waited_for = !self.busy.is_empty() || !self.line.is_empty();
        waited_for || self.pinned || self.state.is_being_started()
    }

    /// It after `decision` at `now`, which is about the end of its present start; `end` says why. As it
    /// is, where the decision ends nothing.
    pub fn after(&self, decision: Decision, end: End, now: Timestamp) -> Result<Self, Refused> {
        let stored = self.stored(now);
        let (event, failures) = match decision {
            Decision::Leave | Decision::Adopt | Decision::Remove => return Ok(self.clone()),
            Decision::Stop => (ContainerEvent::Stopped, Failures::default()),
            Decision::Fail(_) => {
                (ContainerEvent::Fail, Failures { tries: stored.tries, ..Failures::default() })
            }
            Decision::Recover(_, pause) => {
                let (tries, again_at) = (stored.tries + 1, Some(now.after(pause)));
                (ContainerEvent::Fail, Failures { tries, again_at, ..Failures::default() })
            }
            Decision::GiveUp(_) => {
                let (tries, given_up) = (stored.tries, true);
                (ContainerEvent::Fail, Failures { tries, given_up, ..Failures::default() })
            }
        };
        let mut next = Self { failures, ..self.apply(event, now)? };
        next.connection = None;
        next.fault = Some(end);
        (next.room, next.leaving) = (false, false);
        Ok(next)
    }

    /// Somebody asks for it anew: where it was given up, it is as if it had not failed before.
    pub fn ask_anew(&mut self) {
        if self.failures.given_up {
            self.failures = Failures::default();
        }
    }

    /// How long it is not to be started yet, because it failed just now.
    pub fn must_wait(&self, now: Timestamp) -> Option<Duration> {
        let again_at = self.failures.again_at.filter(|_| self.state == ContainerState::Failed)?;
        Some(again_at.since(now)).filter(|left| !left.is_zero())
    }

    /// Whether what was given to this start is over with it: the start is, and its agents may have had it,
    /// because its shim was heard of; or no other start follows.
    pub fn took_along(&self, generation: u32) -> bool {
        let over = generation < self.generation || self.state.needs_start();
        over && (generation <= self.heard_of || self.failures.given_up)
    }

    /// Whether whatever waits for it fails with it.
    pub fn is_given_up(&self) -> bool {
        self.failures.given_up && self.state == ContainerState::Failed
    }
}

#[cfg(test)]
mod tests;
