//! Processes: the tree below the shim, and how it ends.
//!
//! What holds here: a process the shim started is waited for by whoever started it; every other
//! child is an orphan and is reaped here. A tree that is killed is gone when [`tree::Kin::kill`] returns,
//! also where a part of it left its process group or was forked twice. What stands around each is in
//! [`walls`], what it may take in [`limits`].

pub(crate) mod crowd;
pub(crate) mod limits;
pub(crate) mod memory;
pub(crate) mod reaper;
pub(crate) mod tree;
pub(crate) mod walls;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// The children that somebody waits for. All others are orphans.
#[derive(Clone, Debug, Default)]
pub(crate) struct Children {
    /// The first process of each agent, with the uid that is the agent's own.
    agents: Rc<RefCell<BTreeMap<i32, Option<u32>>>>,
    /// What belongs to no agent.
    aside: Rc<RefCell<BTreeSet<i32>>>,
}

/// A child that belongs to no agent is waited for.
#[derive(Debug)]
pub(crate) struct Aside<'a>(&'a Children, i32);

impl Drop for Aside<'_> {
    fn drop(&mut self) {
        self.0.aside.borrow_mut().remove(&self.1);
    }
}

impl Children {
    /// Takes `pid` out of the reaper's hands. To be called before the next `await` after the spawn.
    pub(crate) fn claim(&self, pid: i32, uid: Option<u32>) {
        self.agents.borrow_mut().insert(pid, uid);
    }

    /// The same of a child of the shim's own, as long as what is returned lives.
    pub(crate) fn aside(&self, pid: u32) -> Aside<'_> {
        let pid = i32::try_from(pid).unwrap_or_default();
        self.aside.borrow_mut().insert(pid);
        Aside(self, pid)
    }

    /// `pid` has been waited for: the number may name another process from now on.
    pub(crate) fn release(&self, pid: i32) {
        self.agents.borrow_mut().remove(&pid);
    }

    /// Whether somebody waits for `pid`.
    pub(crate) fn claimed(&self, pid: i32) -> bool {
        self.agents.borrow().contains_key(&pid) || self.aside.borrow().contains(&pid)
    }

    /// Whether no other agent than that of `pid` is waited for.
    pub(crate) fn only(&self, pid: i32) -> bool {
        self.agents.borrow().keys().all(|&other| other == pid)
    }

    /// Whether no other agent than that of `pid` is waited for that has `uid`.
    pub(crate) fn only_of(&self, pid: i32, uid: u32) -> bool {
        self.agents.borrow().iter().all(|(&other, &its)| other == pid || its != Some(uid))
    }
}
