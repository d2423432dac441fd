//! Each row of the table is a test, every case is in exactly one row, and whatever is seen in whatever
//! order, the rules at the top of the module hold.

use Cause::{Lost, Unavailable};
use ContainerState as S;
use Decision as D;
use Need::{After, Nobody};
use Seen::{Absent, Ended, Refused, Runs, Silent, Unknown};
use proptest::prelude::*;
use strum::VariantArray;

use super::*;
use crate::id::Ulid;
use crate::{AgentId, ContainerId, RealmId, SessionId};

/// Whether somebody needs the container, and how often it has been started again.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Need {
    Nobody,
    After(u32),
}

struct Row {
    states: &'static [S],
    seen: &'static [Seen],
    needs: &'static [Need],
    then: Decision,
}

/// The present start in all rows: the one before it, and one that is stored nowhere, are others.
const PRESENT: u32 = 7;

const ALL: &[S] = S::VARIANTS;
const RESTS: &[S] = &[S::Requested, S::Stopped, S::Failed, S::Deleted];
const STARTS: &[S] = &[S::Provisioning, S::Starting, S::Recovering];
const IS_UP: &[S] = &[S::Ready, S::Busy, S::Idle];
const SEEN: &[Seen] = &[
    Runs(7),
    Silent(7),
    Ended(7),
    Refused(7),
    Runs(6),
    Silent(6),
    Ended(6),
    Refused(6),
    Runs(8),
    Silent(8),
    Ended(8),
    Refused(8),
    Absent,
    Unknown,
];
const ANY: &[Need] = &[Nobody, After(0), After(1), After(2), After(3), After(4)];

fn stored(state: S, need: Need) -> Stored {
    let (wanted, tries) = match need {
        Nobody => (false, 0),
        After(tries) => (true, tries),
    };
    Stored { state, generation: PRESENT, tries, wanted }
}

impl Row {
    fn cases(&self) -> impl Iterator<Item = (S, Seen, Need)> {
        let with = move |state| self.seen.iter().map(move |&seen| (state, seen));
        let pairs = self.states.iter().flat_map(move |&state| with(state));
        pairs.flat_map(|(state, seen)| self.needs.iter().map(move |&need| (state, seen, need)))
    }

    fn holds(&self) {
        for (state, seen, need) in self.cases() {
            let decided = decide(Some(stored(state, need)), seen);
            assert_eq!(decided, self.then, "{state:?}, {seen:?}, {need:?}");
        }
    }
}

const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

macro_rules! rows {
    ($($name:ident: $states:expr, [$($seen:expr),+], $needs:expr => $then:expr;)*) => {
        const ROWS: &[Row] =
            &[$(Row { states: $states, seen: &[$($seen),+], needs: $needs, then: $then }),*];

        $(#[test]
        fn $name() {
            Row { states: $states, seen: &[$($seen),+], needs: $needs, then: $then }.holds();
        })*
    };
}

rows! {
    what_runs_as_it_should_is_adopted:
        &[S::Provisioning, S::Starting, S::Recovering, S::Ready, S::Busy, S::Idle],
        [Runs(7)], ANY => D::Adopt;
    what_runs_for_a_container_at_rest_is_removed:
        RESTS, [Runs(7), Silent(7)], ANY => D::Remove;
    a_container_at_rest_of_which_nothing_runs_is_left:
        RESTS, [Ended(7), Refused(7), Absent, Unknown], ANY => D::Leave;
    what_runs_of_another_start_is_removed:
        ALL, [Runs(6), Runs(8), Silent(6), Silent(8)], ANY => D::Remove;
    a_word_about_another_start_changes_nothing:
        ALL, [Ended(6), Ended(8), Refused(6), Refused(8)], ANY => D::Leave;
    a_start_that_is_not_there_yet_is_left_to_who_asks_for_it:
        STARTS, [Absent, Unknown], ANY => D::Leave;
    a_start_that_can_never_be_made_is_given_up_at_once:
        STARTS, [Refused(7)], ANY => D::GiveUp(Unavailable);
    a_start_that_fails_is_followed_by_another:
        STARTS, [Silent(7), Ended(7)], &[After(0)] => D::Recover(Unavailable, millis(250));
    a_second_start_that_fails_is_followed_by_another_later:
        STARTS, [Silent(7), Ended(7)], &[After(1)] => D::Recover(Unavailable, millis(1000));
    a_third_start_that_fails_is_followed_by_the_last_one:
        STARTS, [Silent(7), Ended(7)], &[After(2)] => D::Recover(Unavailable, millis(4000));
    a_start_that_fails_after_three_tries_is_the_last:
        STARTS, [Silent(7), Ended(7)], &[After(3), After(4)] => D::GiveUp(Unavailable);
    a_start_that_fails_for_nobody_is_not_followed:
        STARTS, [Silent(7), Ended(7)], &[Nobody] => D::Fail(Unavailable);
    what_is_lost_is_started_again:
        IS_UP, [Silent(7), Ended(7), Absent], &[After(0)] => D::Recover(Lost, millis(250));
    what_is_lost_again_is_started_again_later:
        IS_UP, [Silent(7), Ended(7), Absent], &[After(1)] => D::Recover(Lost, millis(1000));
    what_is_lost_a_third_time_is_started_once_more:
        IS_UP, [Silent(7), Ended(7), Absent], &[After(2)] => D::Recover(Lost, millis(4000));
    what_is_lost_after_three_tries_is_given_up:
        IS_UP, [Silent(7), Ended(7), Absent], &[After(3), After(4)] => D::GiveUp(Lost);
    what_is_lost_and_nobody_needs_stays_so:
        IS_UP, [Silent(7), Ended(7), Absent], &[Nobody] => D::Fail(Lost);
    what_is_up_is_left_where_nothing_is_known:
        IS_UP, [Unknown, Refused(7)], ANY => D::Leave;
    what_is_being_stopped_and_is_gone_has_stopped:
        &[S::Hibernating], [Ended(7), Absent], ANY => D::Stop;
    what_is_being_stopped_is_left_to_who_stops_it:
        &[S::Hibernating], [Runs(7), Silent(7), Refused(7), Unknown], ANY => D::Leave;
    what_is_being_deleted_is_left_to_who_takes_it_apart:
        &[S::Deleting], [Runs(7), Silent(7), Ended(7), Refused(7), Absent, Unknown], ANY => D::Leave;
}

#[test]
fn every_case_is_in_exactly_one_row() {
    let all = Row { states: ALL, seen: SEEN, needs: ANY, then: D::Leave };
    for case in all.cases() {
        let rows = ROWS.iter().filter(|row| row.cases().any(|one| one == case)).count();
        assert_eq!(rows, 1, "{case:?}");
    }
}

#[test]
fn what_runs_and_is_stored_nowhere_is_removed() {
    for seen in [Runs(1), Silent(9)] {
        assert_eq!(decide(None, seen), D::Remove);
    }
}

#[test]
fn what_is_stored_nowhere_and_does_not_run_is_left() {
    for seen in [Ended(1), Refused(1), Absent, Unknown] {
        assert_eq!(decide(None, seen), D::Leave);
    }
}

fn session(which: u8) -> SessionId {
    SessionId::new(Ulid::from_parts(2, which.into()))
}

fn container() -> Container {
    let id = ContainerId::new(Ulid::from_parts(1, 1));
    Container::requested(id, RealmId::new(Ulid::from_parts(1, 2)), Timestamp::from_millis(1))
}

#[test]
fn a_start_nobody_heard_of_takes_nothing_along_until_it_is_given_up() {
    let now = Timestamp::from_millis(5);
    let mut one = container().apply(ContainerEvent::Provision, now).unwrap();
    (one.generation, one.heard_of) = (2, 1);
    let end = || End::failure("container_unavailable", "it did not come up");
    let failed = one.after(D::Recover(Unavailable, millis(250)), end(), now).unwrap();
    assert!(failed.took_along(1) && !failed.took_along(2), "the agent never had it");
    assert_eq!(failed.must_wait(now), Some(millis(250)));
    assert_eq!(failed.must_wait(now.after(millis(250))), None);
    let over = one.after(D::GiveUp(Unavailable), end(), now).unwrap();
    assert!(over.took_along(2) && over.is_given_up());
    assert_eq!(over.fault, Some(end()));
    assert_eq!(over.must_wait(now), None);
}

#[test]
fn what_was_up_for_long_has_not_failed_before() {
    let now = Timestamp::from_millis(1_000_000);
    let mut one = Container { state: S::Idle, pinned: true, updated_at: now, ..container() };
    one.failures.tries = TRIES;
    assert_eq!(decide(Some(one.stored(now)), Absent), D::GiveUp(Lost));
    let later = one.stored(now.after(STEADY));
    assert_eq!(decide(Some(later), Absent), D::Recover(Lost, millis(250)));
}

/// What can happen, and what can be seen: true or not.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// A session needs it, after the end or before.
    Ask(u8),
    /// A session needs it no more; a run has ended well in it where that is said.
    Leave(u8, bool),
    /// Whoever sees to it begins the next start, if it is time.
    Begin,
    /// The platform does what it was asked for.
    Make,
    Connect,
    Die,
    Hibernate,
    Delete,
    Wait(u64),
    /// Somebody looks, and sees what is there.
    Look,
    /// Somebody has seen whatever this is.
    Claim(Seen),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let seen = (0..6_u8, 0..6_u32).prop_map(|(kind, start)| match kind {
        0 => Runs(start),
        1 => Silent(start),
        2 => Ended(start),
        3 => Refused(start),
        4 => Absent,
        _ => Unknown,
    });
    let step = prop_oneof![
        3 => (0..2_u8).prop_map(Step::Ask),
        1 => (0..2_u8, any::<bool>()).prop_map(|(session, well)| Step::Leave(session, well)),
        6 => Just(Step::Begin),
        4 => Just(Step::Make),
        4 => Just(Step::Connect),
        5 => Just(Step::Die),
        1 => Just(Step::Hibernate),
        1 => Just(Step::Delete),
        3 => (1..5_000_u64).prop_map(Step::Wait),
        5 => Just(Step::Look),
        3 => seen.prop_map(Step::Claim),
    ];
    prop::collection::vec(step, 1..120)
}

/// One container, as it is stored and as it is.
struct World {
    now: Timestamp,
    row: Option<Container>,
    runs: Option<u32>,
    /// How often it was recovered since it was last well.
    recovered: u32,
}

impl World {
    /// What is there.
    fn truth(&self) -> Seen {
        self.runs.map_or(Absent, Runs)
    }

    /// Whether what runs is what the row wants to run.
    fn lives(&self) -> bool {
        let wants = |row: &Container| row.state.may_run() && Some(row.generation) == self.runs;
        self.row.as_ref().is_some_and(wants)
    }

    fn see(&mut self, seen: Seen) {
        let decision = decide(self.row.as_ref().map(|row| row.stored(self.now)), seen);
        let end = End::failure("a", "b");
        match (decision, seen) {
            (D::Leave | D::Adopt, _) => return,
            (D::Remove, Runs(start) | Silent(start)) => {
                let live = self.lives() && self.runs == Some(start);
                assert!(!live, "{seen:?} ends a live one: {:?}", self.row);
                if self.runs == Some(start) {
                    self.runs = None;
                }
                return;
            }
            (D::Recover(..), _) => self.recovered += 1,
            (D::Stop, _) => self.recovered = 0,
            (D::Remove | D::Fail(_) | D::GiveUp(_), _) => {}
        }
        assert!(self.recovered <= TRIES, "recovered once more: {:?}", self.row);
        let row = self.row.as_mut().unwrap();
        *row = row.after(decision, end, self.now).unwrap();
        // Whoever counts a start as over has stopped it before.
        self.runs = self.runs.filter(|&start| start != row.generation);
    }

    fn take(&mut self, step: Step) {
        let now = self.now;
        match step {
            Step::Wait(time) => self.now = now.after(millis(time)),
            Step::Die => self.runs = None,
            Step::Look => {
                let (lived, seen) = (self.lives(), self.truth());
                self.see(seen);
                assert!(!lived || self.lives(), "who looked ended it: {:?}", self.row);
            }
            Step::Claim(seen) => self.see(seen),
            Step::Delete => (self.row, self.recovered) = (None, 0),
            Step::Ask(which) => {
                let row = self.row.get_or_insert_with(container);
                if row.is_given_up() {
                    self.recovered = 0;
                }
                row.ask_anew();
                row.busy.insert(session(which), AgentId::new(Ulid::from_parts(1, 1)));
            }
            Step::Leave(which, well) => {
                let Some(row) = &mut self.row else { return };
                let was = row.busy.remove(&session(which)).is_some();
                if was && well && row.state.is_connected() {
                    (row.failures, self.recovered) = (Failures::default(), 0);
                }
            }
            Step::Begin => {
                let Some(row) = &mut self.row else { return };
                let wanted = row.is_wanted() && !row.is_given_up() && row.must_wait(now).is_none();
                if !wanted || !row.state.needs_start() {
                    return;
                }
                let again = row.state == S::Failed;
                let event = if again { ContainerEvent::Recover } else { ContainerEvent::Provision };
                *row = row.apply(event, now).unwrap();
                row.generation += 1;
            }
            Step::Make => {
                let Some(row) = &self.row else { return };
                if row.state.is_being_started() {
                    self.runs = Some(row.generation);
                }
            }
            Step::Connect => {
                let lives = self.lives();
                let Some(row) = self.row.as_mut().filter(|_| lives) else { return };
                if let Ok(next) = row.apply(ContainerEvent::Connected, now) {
                    *row = Container { heard_of: next.generation, ..next };
                }
            }
            Step::Hibernate => {
                let Some(row) = &mut self.row else { return };
                if let Ok(next) = row.apply(ContainerEvent::Hibernate, now) {
                    *row = next;
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Who claims what is not so can have a container started again, or fail, and never more often.
    #[test]
    fn whatever_is_seen_the_rules_hold(steps in steps()) {
        let now = Timestamp::from_millis(1_000_000);
        let mut world = World { now, row: None, runs: None, recovered: 0 };
        for step in steps {
            world.take(step);
        }
        // Two looks at the truth: the first may count a start as over.
        world.take(Step::Look);
        world.take(Step::Look);
        let orphan = world.runs.is_some() && !world.lives();
        prop_assert!(!orphan, "{:?} runs for {:?}", world.runs, world.row);
    }
}
