//! Agents whom the kernel starts no more processes, below the limit that is watched.
//!
//! It may refuse them earlier: several agents share what their container may have, or one uid, or the
//! machine has no more. Who then waits for what it cannot start would wait until its run's time is over.
//!
//! What holds here
//! - To be refused now and then is normal, and nobody is ended for being near a limit. The rule: who has
//!   many processes is asked for now and then whether it would get another
//!   ([`is_granted`](super::walls::is_granted)), and from the first refusal on at every look. Only who is
//!   refused at [`ROW`] looks in a row, some seconds, is at its limit.
//! - Where several are refused at once, that is the fault of one: of who has started most since it was last
//!   granted one, and of those alike, of who has most. What was refused to the others until then counts
//!   no more.
//! - Who has few processes is not asked for: whoever took the rest was another.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;

use super::Children;
use super::tree::Kin;
use super::walls::{self, Place};

/// So many refusals without a grant between them.
const ROW: u32 = 10;

/// Between two questions where nothing is refused.
const CALM: Duration = Duration::from_secs(1);

/// How many processes are many, where half of what an agent may have is not less.
const MANY: u64 = 32;

/// The agents of a container who are refused at the moment, by their first process.
#[derive(Clone, Debug, Default)]
pub(crate) struct Refused(Rc<RefCell<BTreeMap<i32, Refusals>>>);

#[derive(Clone, Copy, Debug, Default)]
struct Refusals {
    /// How many there were in a row.
    row: u32,
    /// What is held against the agent: what it has started since it was granted one, and what it has.
    weight: (u64, u64),
}

/// One agent among those of its container.
#[derive(Debug)]
pub(crate) struct Crowd {
    place: Place,
    root: i32,
    children: Children,
    all: Refused,
    /// How many processes it had when it was last granted one.
    calm: u64,
    next: Instant,
}

impl Crowd {
    pub(crate) fn new(place: &Place, kin: &Kin, all: &Refused) -> Self {
        Self {
            place: place.clone(),
            root: kin.root,
            children: kin.children.clone(),
            all: all.clone(),
            calm: 0,
            next: Instant::now(),
        }
    }

    /// Whether the agent, which has so many processes now, is at the limit by its own doing.
    pub(super) async fn is_at_its_limit(&mut self, processes: u64) -> bool {
        if processes < MANY.min(self.place.limits.processes / 2) {
            self.take(Some(true), processes);
        } else if Instant::now() >= self.next {
            let granted = walls::is_granted(&self.place, &self.children).await;
            self.take(granted, processes);
        }
        self.all.blame(self.root)
    }

    /// Takes in an answer to the question whether it would get another.
    fn take(&mut self, granted: Option<bool>, processes: u64) {
        match granted {
            Some(true) => {
                self.calm = processes;
                self.next = Instant::now() + CALM;
                self.all.0.borrow_mut().remove(&self.root);
            }
            Some(false) => {
                let mut all = self.all.0.borrow_mut();
                let refusals = all.entry(self.root).or_default();
                refusals.row += 1;
                refusals.weight = (processes.saturating_sub(self.calm), processes);
            }
            None => {}
        }
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.all.0.borrow_mut().remove(&self.root);
    }
}

impl Refused {
    /// Whether the agent of `root` has been refused for long enough, and it is its fault. Who is blamed
    /// is to be ended: all begin anew.
    fn blame(&self, root: i32) -> bool {
        let mut all = self.0.borrow_mut();
        let worst = all.iter().max_by_key(|(_, refusals)| refusals.weight);
        let blamed = worst.is_some_and(|(&most, worst)| most == root && worst.row >= ROW);
        if blamed {
            all.clear();
        }
        blamed
    }
}

#[cfg(test)]
mod tests {
    use domain::limits::Limits;

    use super::*;

    fn crowd(root: i32, all: &Refused) -> Crowd {
        let kin = Kin { root, mark: String::new(), uid: None, children: Children::default() };
        let place = Place {
            workspace: "/".into(),
            home: "/".into(),
            uid: None,
            limits: Limits { processes: 96, ..Limits::default() },
        };
        Crowd::new(&place, &kin, all)
    }

    fn refuse(one: &mut Crowd, times: u32, processes: u64) {
        for _ in 0..times {
            one.take(Some(false), processes);
        }
    }

    #[test]
    fn refusals_count_only_in_a_row() {
        let all = Refused::default();
        let mut one = crowd(7, &all);
        refuse(&mut one, ROW - 1, 90);
        assert!(!all.blame(7));
        one.take(Some(true), 90);
        refuse(&mut one, ROW - 1, 90);
        one.take(None, 90);
        assert!(!all.blame(7), "it went on between them");
        refuse(&mut one, 1, 90);
        assert!(all.blame(7));
    }

    #[test]
    fn it_is_the_fault_of_who_has_started_most_since_it_was_granted_one() {
        let all = Refused::default();
        let (mut many, mut few) = (crowd(1, &all), crowd(2, &all));
        many.take(Some(true), 80);
        few.take(Some(true), 10);
        refuse(&mut many, ROW, 81);
        refuse(&mut few, ROW, 40);
        assert!(!all.blame(1) && all.blame(2));
        assert!(!all.blame(1), "before the other is gone nobody else is blamed");
        drop(few);
        let mut other = crowd(3, &all);
        other.take(Some(true), 20);
        refuse(&mut other, ROW, 21);
        refuse(&mut many, ROW, 81);
        assert!(!all.blame(3) && all.blame(1), "alike, it is who has most");
    }
}
