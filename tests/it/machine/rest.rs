//! The end of a case: everything is let go its way, and nothing may be left over.

use std::collections::BTreeMap;
use std::time::Duration;

use app::ports::Clock as _;
use domain::due::Errand;
use domain::run::RunState;
use wire::shim::Outcome;

use super::Step;
use super::asked::Ask;
use super::outside::{Mood, Said};
use super::spoken::Work;
use super::world::World;

/// How long it may take for everything that was asked for to have ended. Less than any run's limit:
/// what only that would end was forgotten.
const SETTLING: Duration = Duration::from_mins(5);

/// The platform is willing, shims connect, agents end their turns, and time goes by: then every run
/// has ended, and ended as its agent said.
pub(super) async fn settle(world: &World) {
    if world.fate.revive() {
        world.restart().await;
    }
    world.fate.revive();
    world.take(&Step::Suspend(false)).await;
    world.take(&Step::Mood(Mood::Willing)).await;
    world.take(&Step::Limit(2)).await;
    let deadline = world.clock.now().after(SETTLING);
    let mut rounds = 0;
    while open(world) > 0 || !world.outside.lock().unwrap().exits.is_empty() {
        rounds += 1;
        assert!(rounds < 3000, "it goes round and round: {}", state(world));
        assert!(world.clock.now() < deadline, "nothing moves any more: {}", state(world));
        world.tell_exits().await;
        world.tick(usize::MAX).await;
        for id in world.live() {
            let connected =
                world.outside.lock().unwrap().live.get(&id).map(|shim| shim.connection.is_some());
            if connected == Some(false) {
                world.connect(id).await;
            }
            world.take(&Step::Ask(Ask::Answer(0, 0))).await;
            world.work(id, 0, Work::End(Outcome::Completed));
            world.send(id, 0, 3).await;
            world.take(&Step::Heartbeat(0)).await;
        }
        world.clock.advance(Duration::from_millis(500));
    }
    truth(world);
    let left = world.table.ledger(|ledger| ledger.dues.len());
    let runs = world.table.ledger(|ledger| ledger.seen.len());
    let sessions = world.table.ledger(|ledger| ledger.told.len());
    assert!(left <= 2 * runs + 2 * sessions + 60, "errands pile up: {}", state(world));
}

/// A run that completed says all that its agent said, in order, once.
fn truth(world: &World) {
    let outside = world.outside.lock().unwrap();
    let mut said = BTreeMap::new();
    for shim in outside.live.values().chain(&outside.dead) {
        for journal in shim.journals.values() {
            for thing in &journal.said {
                match thing {
                    Said::Started(run) => drop(said.insert(*run, (Vec::new(), None))),
                    Said::Asked(..) | Said::Answered(..) => {}
                    Said::Update(run, mark) => said.get_mut(run).unwrap().0.push(*mark),
                    Said::Ended(run, how) => said.entry(*run).or_default().1 = Some(*how),
                }
            }
        }
    }
    world.table.ledger(|ledger| {
        for (id, run) in &ledger.seen {
            assert!(run.state.is_terminal(), "{run:?}");
            let told = ledger.told[&run.session].iter().filter(|event| event.run_id == Some(*id));
            let told = told.filter(|event| event.kind == "tool_call");
            let marks: Vec<u64> = told
                .map(|event| {
                    let data: serde_json::Value = serde_json::from_str(event.data.get()).unwrap();
                    data["mark"].as_u64().unwrap()
                })
                .collect();
            let (all, how) = said.get(id).cloned().unwrap_or_default();
            assert_eq!(marks, all[..marks.len()], "what {id} said, in order, once");
            if run.state == RunState::Completed {
                assert_eq!((how, marks.len()), (Some(Outcome::Completed), all.len()), "{run:?}");
            }
        }
    });
}

/// Everything is deleted: then nothing is left of it, on the platform or in the table.
pub(super) async fn vanish(world: &World) {
    for which in 0..3 {
        world.take(&Step::Ask(Ask::Delete(which))).await;
    }
    let deadline = world.clock.now().after(SETTLING);
    while !world.agents().is_empty() {
        assert!(world.clock.now() < deadline, "an agent stays: {}", state(world));
        world.tick(usize::MAX).await;
        world.tell_exits().await;
        world.clock.advance(Duration::from_millis(500));
    }
    // Every timer that is still set.
    for _ in 0..40 {
        world.clock.advance(Duration::from_hours(24));
        world.tick(usize::MAX).await;
    }
    let outside = world.outside.lock().unwrap();
    assert!(outside.live.is_empty() && outside.disks.is_empty(), "{outside:?}");
    let (model, ledger) = &*world.table.kept.lock().unwrap();
    assert!(ledger.dues.is_empty(), "{:?}", ledger.dues.values());
    // What was planned is kept, like what was done.
    let kinds = ["#AUD", "#PLN", "REALM", "KEY"];
    for (key, row) in model.0.iter().filter(|(key, _)| key.sk.starts_with("COUNT#")) {
        assert_eq!(row.item.count, 0, "{key:?} when nothing is left");
    }
    let now = world.clock.now();
    let left = model.0.keys().filter(|key| {
        model.find(key, now).is_some()
            && !kinds.iter().any(|kind| key.pk.ends_with(kind) || key.sk.ends_with(kind))
            && !key.sk.starts_with("COUNT#")
    });
    assert_eq!(left.collect::<Vec<_>>(), Vec::<&store::Key>::new());
}

fn open(world: &World) -> usize {
    world.table.ledger(|ledger| {
        let runs = ledger.runs.values().filter(|run| !run.state.is_terminal()).count();
        let errands = ledger.dues.values().filter(|due| {
            matches!(due.errand, Errand::Stop { .. } | Errand::Dismantle { .. } | Errand::Quell)
        });
        runs + errands.count()
    })
}

fn state(world: &World) -> String {
    let outside = world.outside.lock().unwrap();
    world.table.ledger(|ledger| {
        format!(
            "{:#?}\n{:#?}\n{:#?}\n{:#?}",
            ledger.containers.values(),
            ledger.sessions.values(),
            ledger.dues.values(),
            outside.live.values()
        )
    })
}
