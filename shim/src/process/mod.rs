//! Processes: the tree below the shim, and how it ends.
//!
//! What holds here: a process the shim started is waited for by whoever started it; every other
//! child is an orphan and is reaped here. A tree that is killed is gone when [`tree::kill`] returns,
//! also where a part of it left its process group or was forked twice. What stands around each is in
//! [`walls`], what it may take in [`limits`].

pub(crate) mod limits;
pub(crate) mod reaper;
pub(crate) mod tree;
pub(crate) mod walls;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;

/// The children that somebody waits for. All others are orphans.
#[derive(Clone, Debug, Default)]
pub(crate) struct Children(Rc<RefCell<BTreeSet<i32>>>);

impl Children {
    /// Takes `pid` out of the reaper's hands. To be called before the next `await` after the spawn.
    pub(crate) fn claim(&self, pid: i32) {
        self.0.borrow_mut().insert(pid);
    }

    /// `pid` has been waited for: the number may name another process from now on.
    pub(crate) fn release(&self, pid: i32) {
        self.0.borrow_mut().remove(&pid);
    }

    /// Whether somebody waits for `pid`.
    pub(crate) fn claimed(&self, pid: i32) -> bool {
        self.0.borrow().contains(&pid)
    }

    /// How many are waited for.
    pub(crate) fn count(&self) -> usize {
        self.0.borrow().len()
    }
}
