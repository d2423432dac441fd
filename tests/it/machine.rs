//! Every use case at once, in any order, with a control plane that dies at any step: whatever
//! happens, the rules of the domain hold after every commit, and in the end nothing is left over.
//!
//! Table, platform, shims and time are the test's own ([`world`]); what they are driven by is the
//! real thing. What a case has found is made small by proptest and printed as a list of steps.

mod asked;
mod fate;
mod ledger;
mod outside;
mod rest;
mod spoken;
mod tiers;
mod watched;
mod world;

use asked::Ask;
use outside::Mood;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, TestRunner};
use spoken::Work;
use wire::shim::Outcome;
use world::World;

/// What can happen. Numbers choose among what is there.
#[derive(Clone, Debug)]
enum Step {
    Ask(Ask),
    Suspend(bool),
    /// So many containers may run from now on.
    Limit(u8),
    /// A scheduler looks, and carries out so many errands side by side.
    Tick(u8),
    /// A scheduler takes an errand and does nothing.
    Stall,
    /// It wakes up, however late, and carries it out.
    Unstall,
    /// Milliseconds.
    Advance(u64),
    Mood(Mood),
    /// The control plane dies so many steps later, with that step done or not.
    Arm(u8, bool),
    Restart,
    Exit(u8),
    TellExits,
    Connect(u8),
    /// The container, and whether somebody tells.
    Disconnect(u8, bool),
    Heartbeat(u8),
    Work(u8, u8, Work),
    /// From so far behind what is acknowledged, so many.
    Send(u8, i8, u8),
    SendLate(u8, i8),
    Together(Box<Self>, Box<Self>),
}

fn single() -> impl Strategy<Value = Step> {
    let which = || 0..4_u8;
    let work = select(&[
        Work::Say,
        Work::Say,
        Work::Ask,
        Work::End(Outcome::Completed),
        Work::End(Outcome::Completed),
        Work::End(Outcome::Failed),
        Work::End(Outcome::Cancelled),
    ]);
    let asked = prop_oneof![
        2 => Just(Ask::CreateAgent),
        4 => which().prop_map(Ask::CreateSession),
        14 => which().prop_map(Ask::Prompt),
        5 => (which(), 0..4_u8).prop_map(|(session, run)| Ask::Cancel(session, run)),
        4 => (which(), 0..3_u8).prop_map(|(run, option)| Ask::Answer(run, option)),
        2 => which().prop_map(Ask::Close),
        3 => (which(), any::<bool>()).prop_map(|(agent, force)| Ask::Pause(agent, force)),
        1 => which().prop_map(Ask::Resume),
        2 => (which(), any::<bool>()).prop_map(|(agent, force)| Ask::Archive(agent, force)),
        1 => which().prop_map(Ask::Restore),
        1 => which().prop_map(Ask::Delete),
    ];
    let millis = select(&[1, 200, 1_000, 3_000, 11_000, 31_000, 700_000, 2_000_000]);
    let inside = prop_oneof![
        14 => (1..6_u8).prop_map(Step::Tick),
        2 => Just(Step::Stall),
        2 => Just(Step::Unstall),
        8 => millis.prop_map(Step::Advance),
        1 => select(&[Mood::Willing, Mood::Willing, Mood::Refuses, Mood::Fails]).prop_map(Step::Mood),
        1 => any::<bool>().prop_map(Step::Suspend),
        1 => (0..4_u8).prop_map(Step::Limit),
        1 => Just(Step::Restart),
    ];
    let outside = prop_oneof![
        2 => which().prop_map(Step::Exit),
        3 => Just(Step::TellExits),
        10 => which().prop_map(Step::Connect),
        1 => (which(), any::<bool>()).prop_map(|(one, told)| Step::Disconnect(one, told)),
        1 => which().prop_map(Step::Heartbeat),
        8 => (which(), which(), work).prop_map(|(at, run, end)| Step::Work(at, run, end)),
        8 => (which(), select(&[0, 0, 0, 1, 3, -1]), 1..5_u8).prop_map(|(at, b, n)| Step::Send(at, b, n)),
        1 => (which(), 0..3_i8).prop_map(|(at, back)| Step::SendLate(at, back)),
    ];
    prop_oneof![3 => asked.prop_map(Step::Ask), 3 => inside, 3 => outside]
}

fn step() -> impl Strategy<Value = Step> {
    let pair = (single(), single());
    prop_oneof![
        10 => single(),
        3 => pair.prop_map(|(first, second)| Step::Together(Box::new(first), Box::new(second))),
        1 => (0..6_u8, any::<bool>()).prop_map(|(steps, taken)| Step::Arm(steps, taken)),
    ]
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().build().unwrap()
}

/// Plays the steps after a beginning that makes most of them matter, and then sees to the end.
fn play(steps: &[Step]) {
    runtime().block_on(async {
        let world = World::new().await;
        for step in [Ask::CreateAgent, Ask::CreateSession(0), Ask::CreateSession(0)] {
            world.take(&Step::Ask(step)).await;
        }
        for step in steps {
            world.take(step).await;
        }
        rest::settle(&world).await;
        rest::vanish(&world).await;
    });
}

#[test]
fn whatever_happens_the_rules_hold() {
    let config = Config { cases: 300, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new(config);
    let steps = prop::collection::vec(step(), 1..90);
    if let Err(found) = runner.run(&steps, |steps| {
        play(&steps);
        Ok(())
    }) {
        panic!("{found}");
    }
}
