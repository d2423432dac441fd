//! Which runs are known: what makes a repeated command harmless.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use domain::RunId;
use tokio::sync::watch;

/// How many ended runs are remembered. The control plane repeats a command for seconds, not for
/// thousands of runs.
const REMEMBERED: usize = 4096;

/// The runs in flight and those that ended.
#[derive(Debug, Default)]
pub(super) struct Runs {
    flying: BTreeMap<RunId, watch::Sender<bool>>,
    ended: BTreeSet<RunId>,
    order: VecDeque<RunId>,
}

impl Runs {
    /// Takes a run in, unless it is known. What comes back says when it is to be cancelled.
    pub(super) fn admit(&mut self, run: RunId) -> Option<watch::Receiver<bool>> {
        if self.flying.contains_key(&run) || self.ended.contains(&run) {
            return None;
        }
        let (cancel, cancelled) = watch::channel(false);
        self.flying.insert(run, cancel);
        Some(cancelled)
    }

    /// Asks a run to be cancelled. Says whether it was unknown; then it has ended now.
    pub(super) fn cancel(&mut self, run: RunId) -> bool {
        if let Some(cancel) = self.flying.get(&run) {
            cancel.send_replace(true);
            return false;
        }
        let unknown = !self.ended.contains(&run);
        if unknown {
            self.end(run);
        }
        unknown
    }

    /// A run has ended.
    pub(super) fn end(&mut self, run: RunId) {
        self.flying.remove(&run);
        if self.ended.insert(run) {
            self.order.push_back(run);
        }
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.ended.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::id::Ulid;

    #[test]
    fn a_run_is_admitted_once() {
        let run = |n| RunId::new(Ulid::from_parts(n, 0));
        let mut runs = Runs::default();
        let cancelled = runs.admit(run(1)).unwrap();
        assert!(runs.admit(run(1)).is_none());
        assert!(!runs.cancel(run(1)));
        assert!(*cancelled.borrow());
        runs.end(run(1));
        assert!(runs.admit(run(1)).is_none());
        assert!(!runs.cancel(run(1)), "an ended run is not unknown");
        assert!(runs.cancel(run(2)));
        assert!(!runs.cancel(run(2)));
        assert!(runs.admit(run(2)).is_none(), "a prompt that comes behind its cancel is dead");
        for n in 3..10_000 {
            runs.end(run(n));
        }
        assert!(runs.ended.len() <= REMEMBERED);
    }
}
