//! When the control plane dies, and who is ahead: decided by the test, not by the machine.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use app::ports::Ids;
use domain::Timestamp;
use domain::id::Ulid;

/// Ids that count.
#[derive(Debug, Default)]
pub(super) struct Count(AtomicU64);

impl Ids for Count {
    fn ulid(&self, now: Timestamp) -> Ulid {
        let next = self.0.fetch_add(1, Ordering::Relaxed);
        Ulid::from_parts(now.as_millis(), u128::from(next))
    }

    fn secret(&self) -> [u8; 32] {
        let next = self.0.fetch_add(1, Ordering::Relaxed);
        let mut secret = [7; 32];
        secret[..8].copy_from_slice(&next.to_le_bytes());
        secret
    }
}

/// The control plane is dead: nothing it was about to do happens.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dead;

impl std::fmt::Display for Dead {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("dead")
    }
}

impl std::error::Error for Dead {}

#[derive(Debug, Default)]
struct State {
    /// Steps that are still taken, and whether the last of all is.
    left: Option<(u8, bool)>,
    dead: bool,
    pace: u64,
}

/// Counts the steps the control plane takes outside itself, and kills it at one of them.
#[derive(Debug, Default)]
pub(super) struct Fate(Mutex<State>);

impl Fate {
    /// Kills it at the step behind the next `steps`, which is itself taken or not.
    pub(super) fn arm(&self, steps: u8, taken: bool) {
        self.state().left = Some((steps, taken));
    }

    /// Lets it live. Whether it was dead.
    pub(super) fn revive(&self) -> bool {
        let mut state = self.state();
        state.left = None;
        std::mem::take(&mut state.dead)
    }

    pub(super) fn is_dead(&self) -> bool {
        self.state().dead
    }

    /// Takes a step that something outlives.
    pub(super) fn pass<T>(&self, step: impl FnOnce() -> T) -> Result<T, Dead> {
        let mut state = self.state();
        if state.dead {
            return Err(Dead);
        }
        match &mut state.left {
            Some((0, taken)) => {
                if *taken {
                    step();
                }
                state.dead = true;
                Err(Dead)
            }
            Some((left, _)) => {
                *left -= 1;
                Ok(step())
            }
            None => Ok(step()),
        }
    }

    /// Lets others go first, now and then.
    pub(super) async fn pace(&self) {
        let turns = {
            let mut state = self.state();
            let mixed = state.pace.wrapping_mul(6_364_136_223_846_793_005);
            state.pace = mixed.wrapping_add(1_442_695_040_888_963_407);
            (state.pace >> 33) % 4
        };
        for _ in 0..turns {
            tokio::task::yield_now().await;
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
