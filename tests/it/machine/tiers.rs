//! How an agent that nobody needs comes to rest, further and further, and how it comes back.

use std::time::Duration;

use app::Error;
use domain::agent::{Agent, AgentState};
use domain::container::ContainerState;
use domain::due::Errand;
use wire::shim::Up;

use super::asked::Ask;
use super::world::World;
use super::{Step, rest, runtime};

const HOUR: Duration = Duration::from_hours(1);

fn agent(world: &World) -> Agent {
    world.table.ledger(|ledger| ledger.agents.values().next().unwrap().clone())
}

fn stopped(world: &World) -> bool {
    world.table.ledger(|ledger| {
        ledger.containers.values().all(|container| container.state == ContainerState::Stopped)
    })
}

/// Timers that archive, and timers that reclaim.
fn timers(world: &World) -> (usize, usize) {
    world.table.ledger(|ledger| {
        let count =
            |is: fn(&Errand) -> bool| ledger.dues.values().filter(|due| is(&due.errand)).count();
        (
            count(|errand| matches!(errand, Errand::Archive { .. })),
            count(|errand| matches!(errand, Errand::Reclaim { .. })),
        )
    })
}

/// Gives the agent a run, and lets it be idle until its container has stopped.
async fn work_and_rest(world: &World) {
    world.take(&Step::Ask(Ask::Prompt(0))).await;
    rest::settle(world).await;
    for _ in 0..60 {
        if stopped(world) {
            return;
        }
        world.clock.advance(Duration::from_secs(2));
        for id in world.live() {
            world.frame(id, &Up::Heartbeat).await;
        }
        world.tick(usize::MAX).await;
        world.tell_exits().await;
    }
    panic!("its container does not stop");
}

async fn pass(world: &World, time: Duration) {
    world.clock.advance(time);
    for _ in 0..3 {
        world.tick(usize::MAX).await;
    }
}

#[test]
fn an_agent_that_nobody_needs_is_archived_and_then_reclaimed() {
    runtime().block_on(async {
        let world = World::new().await;
        for step in [Ask::CreateAgent, Ask::CreateSession(0)] {
            world.take(&Step::Ask(step)).await;
        }
        for _ in 0..3 {
            work_and_rest(&world).await;
            assert_eq!(
                timers(&world),
                (2, 0),
                "its own and its container's, however often it rests"
            );
        }
        pass(&world, 71 * HOUR).await;
        assert_eq!(agent(&world).state, AgentState::Active);
        pass(&world, HOUR).await;
        // Who was slower comes again, and finds it done.
        pass(&world, HOUR).await;
        assert_eq!((agent(&world).state, timers(&world)), (AgentState::Archived, (0, 1)));

        work_and_rest(&world).await;
        assert_eq!((agent(&world).state, timers(&world)), (AgentState::Active, (2, 0)));
        pass(&world, 73 * HOUR).await;
        pass(&world, 29 * 24 * HOUR).await;
        assert_eq!(agent(&world).reclaimed_at, None);
        assert_eq!(world.outside.lock().unwrap().disks.len(), 1, "its files are there");

        pass(&world, 2 * 24 * HOUR).await;
        let reclaimed = agent(&world);
        assert!(reclaimed.reclaimed_at.is_some() && reclaimed.state == AgentState::Archived);
        assert!(world.outside.lock().unwrap().disks.is_empty(), "they are gone");
        assert!(world.table.ledger(|ledger| ledger.containers.is_empty()));
        for refused in [Ask::Prompt(0), Ask::CreateSession(0), Ask::Restore(0)] {
            assert!(matches!(world.ask(refused).await, Err(Error::Reclaimed(_))), "{refused:?}");
        }
        rest::vanish(&world).await;
    });
}

#[test]
fn an_agent_that_never_ran_or_was_only_restored_is_archived_as_well() {
    runtime().block_on(async {
        let world = World::new().await;
        world.take(&Step::Ask(Ask::CreateAgent)).await;
        pass(&world, 71 * HOUR).await;
        assert_eq!(agent(&world).state, AgentState::Active);
        pass(&world, 2 * HOUR).await;
        assert_eq!((agent(&world).state, timers(&world)), (AgentState::Archived, (0, 1)));

        world.take(&Step::Ask(Ask::Restore(0))).await;
        assert_eq!((agent(&world).state, timers(&world)), (AgentState::Active, (1, 0)));
        pass(&world, 73 * HOUR).await;
        assert_eq!((agent(&world).state, timers(&world)), (AgentState::Archived, (0, 1)));

        world.take(&Step::Ask(Ask::CreateSession(0))).await;
        assert_eq!((agent(&world).state, timers(&world)), (AgentState::Active, (1, 0)));
    });
}
