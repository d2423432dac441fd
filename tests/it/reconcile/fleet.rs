//! What a sweep costs, counted: calls of the table and of the platform, of which nothing runs really.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use app::containers::Reconciled;
use app::errands::Outcome;
use app::ports::{Clock, Compute, ComputeError, Ids, Observed};
use app::{App, Ports, Settings};
use async_trait::async_trait;
use domain::container::{Container, ContainerState};
use domain::due::{Due, Errand};
use domain::plan::ContainerPlan;
use domain::{AgentId, ContainerId, DueId, RealmId};
use embedded::feed::LocalFeed;
use embedded::push::LocalPush;
use embedded::sqlite::SqliteTable;
use host::OsIds;
use store::live::Mark;
use store::realm::{Counter, count};
use store::{Commit, Expect, Scope, Table, document, keys};
use tempfile::TempDir;
use tests::clock::Hand;

use crate::in_process::Counting;

/// A platform that says what runs, and counts how often it is asked.
#[derive(Debug, Default)]
struct Fleet {
    runs: Mutex<BTreeSet<Observed>>,
    lag: Duration,
    lists: AtomicUsize,
    looks: AtomicUsize,
    stops: AtomicUsize,
    /// Whether what is stopped takes a while.
    slow: AtomicBool,
}

#[async_trait]
impl Compute for Fleet {
    async fn provision(&self, _: &ContainerPlan) -> Result<(), ComputeError> {
        Ok(())
    }

    async fn stop(&self, container: ContainerId) -> Result<(), ComputeError> {
        self.stops.fetch_add(1, Ordering::Relaxed);
        let mut runs = self.runs.lock().unwrap();
        let before = runs.len();
        runs.retain(|start| start.container != container);
        let leaves = runs.len() < before && self.slow.load(Ordering::Relaxed);
        if leaves { Err(ComputeError::Leaving) } else { Ok(()) }
    }

    async fn remove(&self, start: Observed) -> Result<(), ComputeError> {
        self.stops.fetch_add(1, Ordering::Relaxed);
        self.runs.lock().unwrap().remove(&start);
        Ok(())
    }

    async fn describe(&self, container: ContainerId) -> Result<Option<Observed>, ComputeError> {
        self.looks.fetch_add(1, Ordering::Relaxed);
        let runs = self.runs.lock().unwrap();
        Ok(runs.iter().rfind(|start| start.container == container).copied())
    }

    async fn list(&self) -> Result<Vec<Observed>, ComputeError> {
        self.lists.fetch_add(1, Ordering::Relaxed);
        Ok(self.runs.lock().unwrap().iter().copied().collect())
    }

    fn lag(&self) -> Duration {
        self.lag
    }

    async fn forget(&self, _: AgentId) -> Result<(), ComputeError> {
        Ok(())
    }

    async fn ready(&self) -> Result<(), ComputeError> {
        Ok(())
    }
}

/// An installation with so many idle containers, each of which runs.
struct World {
    app: App,
    table: Arc<Counting>,
    fleet: Arc<Fleet>,
    starts: Vec<Observed>,
    clock: Arc<Hand>,
    _dir: TempDir,
}

/// What a sweep found, and the calls it took: reads and commits of the table, and lists, looks and stops of
/// the platform.
type Cost = (Reconciled, [usize; 5]);

impl World {
    async fn with(many: usize, age: Duration, lag: Duration) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(Hand::default());
        let inner = SqliteTable::open(dir.path().join("reeve.db"), clock.clone()).unwrap();
        let (reads, commits) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let table = Arc::new(Counting { inner, reads, commits });
        let fleet = Arc::new(Fleet { lag, ..Fleet::default() });
        let ids = Arc::new(OsIds::default());
        let ports = Ports {
            table: table.clone(),
            compute: fleet.clone(),
            push: Arc::new(LocalPush::default()),
            feed: Arc::new(LocalFeed::default()),
            blobs: Arc::<tests::blobs::Memory>::default(),
            workspaces: Arc::new(app::ports::Elsewhere),
            fetch: Arc::new(app::ports::NoFetch),
            bundles: Arc::new(app::ports::NoBundles),
            uploads: Arc::new(app::ports::NoUploads),
            clock: clock.clone(),
            ids: ids.clone(),
        };
        let now = clock.now();
        let begun = domain::Timestamp::from_millis(
            now.as_millis() - u64::try_from(age.as_millis()).unwrap(),
        );
        let mut starts = Vec::with_capacity(many);
        let mut writes = Vec::with_capacity(2 * many + 7);
        for n in 0..many {
            // Of several realms: a sweep is about all of them.
            let realm = RealmId::new(domain::id::Ulid::from_parts(1, (n % 7) as u128));
            let mut row = Container::requested(ContainerId::new(ids.ulid(now)), realm, begun);
            (row.state, row.generation, row.heard_of) = (ContainerState::Idle, 3, 3);
            (row.room, row.idle_at, row.begun_at) = (true, Some(begun), Some(begun));
            let start = Observed { realm, container: row.id, generation: row.generation };
            let mark = Mark { realm, container: row.id, generation: row.generation, since: begun };
            writes.push(document::put(&row, Expect::Absent));
            writes.push(document::put(&mark, Expect::Absent));
            fleet.runs.lock().unwrap().insert(start);
            starts.push(start);
        }
        for realm in starts.iter().map(|start| start.realm).collect::<BTreeSet<_>>() {
            let room = starts.iter().filter(|start| start.realm == realm).count();
            #[expect(clippy::disallowed_methods, reason = "the test names what it has made")]
            let scope = Scope::grant(realm);
            let room = i64::try_from(room).unwrap();
            writes.push(count(scope, Counter::Running, room, i64::MAX));
        }
        for some in writes.chunks(100) {
            let commit = Commit { name: "test.fill", writes: some.to_vec() };
            table.inner.commit(commit).await.unwrap();
        }
        let app = App::new(ports, Settings::new(Some([7; 32])));
        Self { app, table, fleet, starts, clock, _dir: dir }
    }

    fn calls(&self) -> [usize; 5] {
        let Fleet { lists, looks, stops, .. } = &*self.fleet;
        [&self.table.reads, &self.table.commits, lists, looks, stops]
            .map(|count| count.load(Ordering::Relaxed))
    }

    async fn sweep(&self) -> Cost {
        let before = self.calls();
        let found = self.app.containers().reconcile().await.unwrap();
        let after = self.calls();
        (found, std::array::from_fn(|n| after[n] - before[n]))
    }

    fn dies(&self, which: usize) {
        self.fleet.runs.lock().unwrap().remove(&self.starts[which]);
    }

    #[expect(clippy::disallowed_methods, reason = "the test names what it has made")]
    async fn row(&self, which: usize) -> Container {
        let Observed { realm, container, .. } = self.starts[which];
        let key = keys::container(Scope::grant(realm), container);
        document::get::<Container>(&self.table.inner, &key).await.unwrap().unwrap().value
    }
}

const OLD: Duration = Duration::from_mins(5);

#[tokio::test]
async fn a_thousand_that_are_as_they_should_be_cost_two_calls() {
    let world = World::with(1000, OLD, Duration::ZERO).await;
    let began = Instant::now();
    let (found, [reads, commits, lists, looks, stops]) = world.sweep().await;
    let taken = began.elapsed();
    assert_eq!(found, Reconciled { kept: 1000, ..Reconciled::default() });
    assert!(reads <= 2, "{reads} reads: a page holds a thousand");
    assert_eq!((commits, lists, looks, stops), (0, 1, 0, 0));
    assert!(taken < Duration::from_secs(1), "{taken:?}");
}

#[tokio::test]
async fn what_differs_costs_the_same_among_a_thousand_as_among_a_few() {
    let mut costs = Vec::new();
    for count in [20, 1000] {
        let world = World::with(count, OLD, Duration::ZERO).await;
        for which in 0..10 {
            world.dies(which);
        }
        for extra in 0..5 {
            // Some of another store, and one that is over.
            let mut start = world.starts[10 + extra];
            (start.generation, start.realm) = (2, start.realm);
            if extra > 0 {
                start.container = ContainerId::new(domain::id::Ulid::from_parts(9, extra as u128));
            }
            world.fleet.runs.lock().unwrap().insert(start);
        }
        let (found, calls) = world.sweep().await;
        assert_eq!(found, Reconciled { kept: count - 10, removed: 5, over: 10, left: 0 });
        let [reads, commits, lists, looks, stops] = calls;
        assert_eq!((commits, lists, looks, stops), (10, 1, 10, 15), "{reads} reads");
        assert_eq!(world.fleet.runs.lock().unwrap().len(), count - 10, "nobody else was touched");
        assert_eq!(world.row(0).await.state, ContainerState::Failed);
        assert_eq!(world.row(10).await.state, ContainerState::Idle);
        // All is as it should be now.
        let (again, [reads, commits, lists, looks, stops]) = world.sweep().await;
        assert_eq!(again, Reconciled { kept: count - 10, ..Reconciled::default() });
        assert!(reads <= 2);
        assert_eq!((commits, lists, looks, stops), (0, 1, 0, 0));
        costs.push(calls);
    }
    // A page more or less of what may run.
    let [few, many] = [costs[0], costs[1]];
    assert!(many[0] <= few[0] + 1, "{many:?} after {few:?}");
    assert_eq!(many[1..], few[1..]);
}

#[tokio::test]
async fn a_start_that_a_late_platform_does_not_show_yet_is_not_missed() {
    let lag = Duration::from_secs(30);
    for (age, over) in [(Duration::from_secs(3), 0), (OLD, 1)] {
        let world = World::with(3, age, lag).await;
        world.dies(1);
        let (found, _) = world.sweep().await;
        assert_eq!(found, Reconciled { kept: 2, over, ..Reconciled::default() }, "{age:?}");
        assert_eq!(world.row(1).await.state == ContainerState::Failed, over == 1);
    }
}

#[tokio::test]
async fn who_stops_all_waits_for_what_takes_a_while() {
    let world = World::with(20, OLD, Duration::ZERO).await;
    world.fleet.slow.store(true, Ordering::Relaxed);
    world.app.containers().stop_all().await.unwrap();
    assert_eq!(world.calls()[4], 40, "each is told, and asked after");
    assert!(world.fleet.runs.lock().unwrap().is_empty());
    for which in 0..20 {
        assert_eq!(world.row(which).await.state, ContainerState::Failed);
    }
}

#[tokio::test]
async fn a_scheduler_waits_for_nothing_that_takes_a_while() {
    let world = World::with(1, OLD, Duration::ZERO).await;
    world.fleet.slow.store(true, Ordering::Relaxed);
    let Observed { realm, container, .. } = world.starts[0];
    let wished = Container { state: ContainerState::Hibernating, ..world.row(0).await };
    let now = world.clock.now();
    let errand = Errand::Stop { container };
    let due = Due::new(DueId::new(OsIds::default().ulid(now)), realm, errand, now);
    let writes = vec![document::put(&wished, Expect::Version(1)), store::due::put(&due)];
    world.table.inner.commit(Commit { name: "test.stop", writes }).await.unwrap();
    let carry_out = async || {
        let tick = world.app.errands().tick().await.unwrap();
        let [due] = &tick.due[..] else { panic!("one is due: {tick:?}") };
        let held = world.app.errands().claim(due).await.unwrap().expect("nobody else has it");
        world.app.errands().carry_out(&held).await.unwrap()
    };
    let outcome = carry_out().await;
    let Outcome::Again(pause) = outcome else { panic!("{outcome:?}") };
    assert_eq!(world.row(0).await.state, ContainerState::Hibernating, "it has been told to");
    world.clock.advance(pause);
    assert_eq!(carry_out().await, Outcome::Done);
    assert_eq!(world.row(0).await.state, ContainerState::Stopped);
    assert_eq!(world.calls()[4], 2, "told once, and asked after once");
}
