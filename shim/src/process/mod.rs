//! Processes: the tree below the shim, and how it ends.
//!
//! What holds here: a process the shim started is waited for by whoever started it; every other
//! child is an orphan and is reaped here. A tree that is killed is gone when [`tree::Kin::kill`] returns,
//! also where a part of it left its process group or was forked twice. What stands around each is in
//! [`walls`], what it may take in [`limits`].

pub(crate) mod limits;
pub(crate) mod memory;
pub(crate) mod reaper;
pub(crate) mod tree;
pub(crate) mod walls;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// The children that somebody waits for, each with the uid that is its agent's own. All others are
/// orphans.
#[derive(Clone, Debug, Default)]
pub(crate) struct Children(Rc<RefCell<BTreeMap<i32, Option<u32>>>>);

impl Children {
    /// Takes `pid` out of the reaper's hands. To be called before the next `await` after the spawn.
    pub(crate) fn claim(&self, pid: i32, uid: Option<u32>) {
        self.0.borrow_mut().insert(pid, uid);
    }

    /// `pid` has been waited for: the number may name another process from now on.
    pub(crate) fn release(&self, pid: i32) {
        self.0.borrow_mut().remove(&pid);
    }

    /// Whether somebody waits for `pid`.
    pub(crate) fn claimed(&self, pid: i32) -> bool {
        self.0.borrow().contains_key(&pid)
    }

    /// Whether nobody but `pid` is waited for.
    pub(crate) fn only(&self, pid: i32) -> bool {
        self.0.borrow().keys().all(|&other| other == pid)
    }

    /// Whether nobody but `pid` is waited for that has `uid`.
    pub(crate) fn only_of(&self, pid: i32, uid: u32) -> bool {
        self.0.borrow().iter().all(|(&other, &its)| other == pid || its != Some(uid))
    }
}
