//! Publishing and subscribing, step by step in every order that chance finds: invocations that stand
//! still in the middle, die, and come again; an index that lags; clients that vanish and come back.
//!
//! Nothing here runs by itself: the test polls one invocation after the other, and each takes one step
//! outside itself at a time. What chance decides is decided by a number, so each order can be had again.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use app::ports::{Clock, Gone, Ids, Push};
use app::stream::{Change, Delivery};
use app::{App, Ports, Settings};
use async_trait::async_trait;
use domain::agent::{Agent, AgentSpec, AgentState, Driver};
use domain::event::{Draft, Event};
use domain::id::Ulid;
use domain::key::PresentedKey;
use domain::session::{Session, SessionState};
use domain::text::Name;
use domain::{AgentId, KeyId, RealmId, SessionId, Timestamp, Topic};
use embedded::feed::LocalFeed;
use futures::task::noop_waker;
use serde_json::Value;
use store::{Commit, Error, Expect, Item, Key, Page, Query, Scope, Table, Write, document};
use tests::nowhere::Nowhere;

use crate::table::model::Model;

/// How many orders are tried.
const ORDERS: u64 = 400;

/// How many batches of events each writes.
const BATCHES: u64 = 24;

/// How long the index may lag.
const LAG: Duration = Duration::from_secs(50);

/// Chance, from a number.
#[derive(Debug)]
struct Dice(AtomicU64);

impl Dice {
    fn below(&self, end: u64) -> u64 {
        let mixed = self.0.load(Ordering::Relaxed).wrapping_mul(6_364_136_223_846_793_005);
        let mixed = mixed.wrapping_add(1_442_695_040_888_963_407);
        self.0.store(mixed, Ordering::Relaxed);
        (mixed >> 33) % end
    }
}

#[derive(Debug)]
struct Hand(AtomicU64);

#[async_trait]
impl Clock for Hand {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::Relaxed))
    }

    async fn wait(&self, _: Duration) {
        step().await;
    }
}

#[derive(Debug, Default)]
struct Count(AtomicU64);

impl Ids for Count {
    fn ulid(&self, now: Timestamp) -> Ulid {
        Ulid::from_parts(now.as_millis(), self.0.fetch_add(1, Ordering::Relaxed).into())
    }

    fn secret(&self) -> [u8; 32] {
        [7; 32]
    }
}

/// Lets the test decide who goes on.
async fn step() {
    let mut stood = false;
    futures::future::poll_fn(|_| {
        if std::mem::replace(&mut stood, true) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// A table that tells its changes, and whose index lags.
#[derive(Debug)]
struct Between {
    clock: Arc<Hand>,
    dice: Arc<Dice>,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    table: Model,
    /// What the index shows, and what it does not show yet.
    shown: Model,
    late: VecDeque<(Timestamp, Vec<Write>)>,
    /// What nobody was told yet, by partition.
    changes: BTreeMap<String, VecDeque<Change>>,
}

impl Between {
    fn apply(&self, writes: &[Write]) -> Result<(), Error> {
        let (now, mut kept) = (self.clock.now(), self.kept.lock().unwrap());
        kept.table.commit(writes, now)?;
        kept.late.push_back((now, writes.to_vec()));
        for write in writes {
            if let Write::Put { key, body, .. } = write
                && Change::matters(&key.pk)
            {
                let change = Change::read(&key.pk, &key.sk, body).unwrap().unwrap();
                kept.changes.entry(key.pk.clone()).or_default().push_back(change);
            }
        }
        Ok(())
    }

    fn look<T>(&self, look: impl FnOnce(&Model, Timestamp) -> T) -> T {
        look(&self.kept.lock().unwrap().table, self.clock.now())
    }
}

#[async_trait]
impl Table for Between {
    async fn get(&self, key: &Key) -> Result<Option<Item>, Error> {
        step().await;
        Ok(self.look(|table, now| table.find(key, now).map(|row| row.item.clone())))
    }

    async fn batch_get(&self, keys: &[Key]) -> Result<Vec<Option<Item>>, Error> {
        step().await;
        let find = |table: &Model, key, now| table.find(key, now).map(|row| row.item.clone());
        Ok(self.look(|table, now| keys.iter().map(|key| find(table, key, now)).collect()))
    }

    async fn query(&self, query: Query) -> Result<Page, Error> {
        step().await;
        query.check()?;
        if !query.on_index {
            return Ok(self.look(|table, now| table.query(&query, now)));
        }
        let (now, mut kept) = (self.clock.now(), self.kept.lock().unwrap());
        let mut more = self.dice.below(kept.late.len() as u64 + 1);
        while let Some((time, writes)) = kept.late.pop_front() {
            if more == 0 && now.since(time) <= LAG {
                kept.late.push_front((time, writes));
                break;
            }
            more = more.saturating_sub(1);
            kept.shown.commit(&writes, time).unwrap();
        }
        Ok(kept.shown.query(&query, now))
    }

    async fn commit(&self, commit: Commit) -> Result<(), Error> {
        commit.check()?;
        step().await;
        let done = self.apply(&commit.writes);
        // Somebody may die before the answer comes.
        step().await;
        done
    }
}

/// The connections, with what they were sent and have not read.
#[derive(Debug, Default)]
struct Sockets(Mutex<BTreeMap<String, VecDeque<String>>>);

#[async_trait]
impl Push for Sockets {
    async fn deliver(&self, connection: &str, frame: String) -> Result<(), Gone> {
        step().await;
        let delivered = match self.0.lock().unwrap().get_mut(connection) {
            Some(frames) => {
                frames.push_back(frame);
                Ok(())
            }
            None => Err(Gone),
        };
        step().await;
        delivered
    }

    async fn close(&self, connection: &str) {
        step().await;
        self.0.lock().unwrap().remove(connection);
    }
}

type Invocation = Pin<Box<dyn Future<Output = Result<(), app::Error>>>>;

/// One client and all it has been told.
#[derive(Debug)]
struct Reader {
    topic: Topic,
    connection: String,
    cursor: u64,
    told: BTreeMap<String, u64>,
}

/// What runs.
enum What {
    /// The changes of a partition are published.
    Publish(String, Vec<Change>),
    /// The reader with this number subscribes.
    Subscribe(usize),
    /// A connection that was lost is forgotten.
    Disconnect,
}

struct World {
    app: App,
    table: Arc<Between>,
    sockets: Arc<Sockets>,
    clock: Arc<Hand>,
    dice: Arc<Dice>,
    key: String,
    realm: RealmId,
    agents: [AgentId; 2],
    sessions: Vec<(AgentId, SessionId, u64)>,
    readers: Vec<Reader>,
    running: Vec<(What, Invocation)>,
    connections: u64,
    deaths: u64,
}

/// Runs what nothing else runs beside.
fn alone<T>(future: impl Future<Output = T>) -> T {
    let mut future = Box::pin(future);
    let waker = noop_waker();
    loop {
        if let Poll::Ready(done) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return done;
        }
    }
}

impl World {
    fn new(seed: u64) -> Self {
        let dice = Arc::new(Dice(AtomicU64::new(seed)));
        let clock = Arc::new(Hand(AtomicU64::new(1_000_000_000)));
        let (sockets, ids) = (Arc::new(Sockets::default()), Arc::new(Count::default()));
        let kept = Mutex::default();
        let table = Arc::new(Between { clock: Arc::clone(&clock), dice: Arc::clone(&dice), kept });
        let ports = Ports {
            table: Arc::clone(&table) as _,
            compute: Arc::<Nowhere>::default(),
            push: Arc::clone(&sockets) as _,
            feed: Arc::new(LocalFeed::default()),
            blobs: Arc::<tests::blobs::Memory>::default(),
            workspaces: Arc::new(app::ports::Elsewhere),
            fetch: Arc::new(app::ports::NoFetch),
            bundles: Arc::new(app::ports::NoBundles),
            uploads: Arc::new(app::ports::NoUploads),
            clock: Arc::clone(&clock) as _,
            ids: Arc::clone(&ids) as _,
        };
        let app = App::new(ports, Settings::new(None));
        let key = PresentedKey::spell(KeyId::new(ids.ulid(clock.now())), &"s".repeat(32));
        let realm = alone(app.realms().bootstrap(&key.parse().unwrap())).unwrap();
        let agents = [1, 2].map(|n| AgentId::new(Ulid::from_parts(1, n)));
        let sessions = [(0, 3), (0, 4), (1, 5)];
        let sessions =
            sessions.map(|(of, n)| (agents[of], SessionId::new(Ulid::from_parts(1, n)), 0));
        let topics = [
            Topic::Session(sessions[0].1),
            Topic::Session(sessions[2].1),
            Topic::Agent(agents[0]),
            Topic::Agent(agents[1]),
            Topic::Realm,
            Topic::Realm,
        ];
        let reader =
            |topic| Reader { topic, connection: String::new(), cursor: 0, told: BTreeMap::new() };
        let world = Self {
            app,
            table,
            sockets,
            clock,
            dice,
            key,
            realm,
            agents,
            sessions: sessions.to_vec(),
            readers: topics.map(reader).into(),
            running: Vec::new(),
            connections: 0,
            deaths: 0,
        };
        world.fill();
        world
    }

    /// Makes the agents and sessions that topics are about.
    fn fill(&self) {
        let now = self.clock.now();
        let agent = |id| Agent {
            id,
            realm: self.realm,
            name: Name::new("agent").unwrap(),
            labels: BTreeMap::new(),
            spec: AgentSpec::of(Driver::Acp),
            template: None,
            state: AgentState::Active,
            container: None,
            plan: None,
            reclaim_at: None,
            reclaimed_at: None,
            created_at: now,
            updated_at: now,
        };
        let session = |(agent, id, _): &(AgentId, SessionId, u64)| Session {
            id: *id,
            realm: self.realm,
            agent: *agent,
            container: None,
            setup: domain::session::Setup::default(),
            offers: domain::conversation::Offers::default(),
            held: false,
            title: None,
            state: SessionState::Active,
            active: None,
            queue: VecDeque::new(),
            last_seq: 0,
            reports: None,
            acp_session: None,
            forked_from: None,
            fork: None,
            forks: Vec::new(),
            deleting: false,
            created_at: now,
            updated_at: now,
        };
        let mut writes: Vec<_> =
            self.agents.iter().map(|id| document::put(&agent(*id), Expect::Absent)).collect();
        writes.extend(self.sessions.iter().map(|s| document::put(&session(s), Expect::Absent)));
        self.table.apply(&writes).unwrap();
    }

    /// A batch of events is written.
    fn write(&mut self) {
        #[expect(clippy::disallowed_methods, reason = "stands for the shim's report")]
        let scope = Scope::grant(self.realm);
        let which = usize::try_from(self.dice.below(3)).unwrap();
        let count = 1 + self.dice.below(4);
        let time = self.clock.now();
        let (agent, session, last) = &mut self.sessions[which];
        let events: Vec<_> = (*last + 1..=*last + count)
            .map(|seq| {
                let Draft { kind, run, data } = Draft::session_state(SessionState::Active);
                Event { seq, kind, run_id: run, time, data }
            })
            .collect();
        *last += count;
        let write = store::event::append(scope, *agent, *session, &events, None).unwrap();
        self.table.apply(&[write]).unwrap();
    }

    /// Some partition's next changes are handed to an invocation, where none has them.
    fn publish(&mut self) {
        let busy = |pk: &str| {
            self.running.iter().any(|(what, _)| matches!(what, What::Publish(of, _) if of == pk))
        };
        let mut kept = self.table.kept.lock().unwrap();
        let waiting: Vec<_> = kept
            .changes
            .iter()
            .filter(|(pk, changes)| !changes.is_empty() && !busy(pk))
            .map(|(pk, _)| pk.clone())
            .collect();
        if waiting.is_empty() {
            return;
        }
        let pk = waiting[usize::try_from(self.dice.below(waiting.len() as u64)).unwrap()].clone();
        let queue = kept.changes.get_mut(&pk).unwrap();
        let some = usize::try_from(1 + self.dice.below(3)).unwrap().min(queue.len());
        let changes: Vec<_> = queue.drain(..some).collect();
        drop(kept);
        let (app, told) = (self.app.clone(), changes.clone());
        let invocation = async move {
            app.stream().sequence(&told).await?;
            app.stream().publish(told, Delivery::Again).await
        };
        self.running.push((What::Publish(pk, changes), Box::pin(invocation)));
    }

    /// Readers without a connection open one and go on where they were.
    fn connect(&mut self, which: usize) {
        let subscribing = |(what, _): &(What, Invocation)| matches!(what, What::Subscribe(reader) if *reader == which);
        if self.running.iter().any(subscribing) {
            return;
        }
        let reader = &mut self.readers[which];
        if self.sockets.0.lock().unwrap().contains_key(&reader.connection) {
            return;
        }
        self.connections += 1;
        reader.connection = format!("c{}", self.connections);
        let (connection, topic, after) = (reader.connection.clone(), reader.topic, reader.cursor);
        self.sockets.0.lock().unwrap().insert(connection.clone(), VecDeque::new());
        let (app, key) = (self.app.clone(), self.key.clone());
        let invocation = async move {
            let caller = app.authenticate(Some(&key)).await?;
            let ticket = app.stream().ticket(&caller).await?.ticket;
            sockets::client::connect(&app, &connection, Some(&ticket)).await?;
            app.stream().subscribe(&connection, topic, Some(after), false).await
        };
        self.running.push((What::Subscribe(which), Box::pin(invocation)));
    }

    /// Goes, with what it has not read. The gateway says so, or not.
    fn vanish(&mut self, which: usize) {
        let connection = self.readers[which].connection.clone();
        if self.sockets.0.lock().unwrap().remove(&connection).is_some() && self.dice.below(2) == 0 {
            let app = self.app.clone();
            let invocation = async move { sockets::client::disconnect(&app, &connection).await };
            self.running.push((What::Disconnect, Box::pin(invocation)));
        }
    }

    /// One invocation takes one step.
    fn poll(&mut self) {
        if self.running.is_empty() {
            return;
        }
        let at = usize::try_from(self.dice.below(self.running.len() as u64)).unwrap();
        let waker = noop_waker();
        let done = self.running[at].1.as_mut().poll(&mut Context::from_waker(&waker));
        if let Poll::Ready(done) = done {
            let (what, _) = self.running.swap_remove(at);
            match (what, done) {
                (_, Ok(())) => {}
                // It comes again.
                (What::Publish(pk, changes), Err(_)) => self.give_back(&pk, changes),
                (What::Subscribe(_) | What::Disconnect, Err(error)) => panic!("{error:?}"),
            }
        }
    }

    fn give_back(&self, pk: &str, changes: Vec<Change>) {
        let mut kept = self.table.kept.lock().unwrap();
        let queue = kept.changes.get_mut(pk).unwrap();
        changes.into_iter().rev().for_each(|change| queue.push_front(change));
    }

    /// One invocation dies where it stands.
    fn die(&mut self) {
        if self.running.is_empty() {
            return;
        }
        self.deaths += 1;
        let at = usize::try_from(self.dice.below(self.running.len() as u64)).unwrap();
        match self.running.swap_remove(at).0 {
            What::Publish(pk, changes) => self.give_back(&pk, changes),
            // The gateway tells the client that its frame came to nothing, and it comes back.
            What::Subscribe(reader) => self.vanish(reader),
            What::Disconnect => {}
        }
    }

    /// A reader reads some of what it was sent.
    fn read(&mut self, which: usize, most: u64) {
        let reader = &mut self.readers[which];
        for _ in 0..most {
            let mut sockets = self.sockets.0.lock().unwrap();
            let Some(frames) = sockets.get_mut(&reader.connection) else { return };
            let Some(frame) = frames.pop_front() else { return };
            let frame: Value = serde_json::from_str(&frame).unwrap();
            tests::asyncapi::check_told(&frame).unwrap();
            match frame["type"].as_str().unwrap() {
                "subscribed" => assert_eq!(frame["cursor"], reader.cursor),
                "events" => reader.take(&frame),
                // The past was too long for its time: it comes back.
                "unsubscribed" => drop(sockets.remove(&reader.connection)),
                _ => panic!("{frame:#}"),
            }
        }
    }

    fn expected(&self, topic: Topic) -> BTreeMap<String, u64> {
        let of_topic = |(agent, session, _): &&(AgentId, SessionId, u64)| match topic {
            Topic::Realm => true,
            Topic::Agent(id) => id == *agent,
            Topic::Session(id) => id == *session,
        };
        let sessions = self.sessions.iter().filter(of_topic).filter(|(_, _, last)| *last > 0);
        sessions.map(|(_, session, last)| (session.to_string(), *last)).collect()
    }

    /// Whether everybody has everything and nothing is left to do.
    fn settled(&self) -> bool {
        let kept = self.table.kept.lock().unwrap();
        self.running.is_empty()
            && kept.changes.values().all(VecDeque::is_empty)
            && self.readers.iter().all(|reader| reader.told == self.expected(reader.topic))
    }
}

impl Reader {
    fn take(&mut self, frame: &Value) {
        let session = frame["sessionId"].as_str().unwrap();
        let events = frame["events"].as_array().unwrap();
        let told = self.told.entry(session.to_owned()).or_default();
        for event in events {
            *told += 1;
            assert_eq!(event["seq"], *told, "no gap and no double in {}", self.topic);
        }
        let (cursor, count) = (frame["cursor"].as_u64().unwrap(), events.len() as u64);
        match self.topic {
            Topic::Agent(_) => assert!(cursor >= self.cursor + count),
            Topic::Realm | Topic::Session(_) => assert_eq!(cursor, self.cursor + count),
        }
        self.cursor = cursor;
    }
}

/// One order of everything; how often somebody died.
fn tell(seed: u64) -> (u64, u64) {
    let mut world = World::new(seed);
    let mut written = 0;
    while written < BATCHES {
        let which = usize::try_from(world.dice.below(world.readers.len() as u64)).unwrap();
        match world.dice.below(100) {
            0..70 => world.poll(),
            70..76 => {
                world.write();
                written += 1;
            }
            76..84 => world.publish(),
            84..90 => world.connect(which),
            90..96 => {
                let some = world.dice.below(4);
                world.read(which, some);
            }
            96 => world.vanish(which),
            97 => world.die(),
            _ => {
                let millis = world.dice.below(15_000);
                world.clock.0.fetch_add(millis, Ordering::Relaxed);
            }
        }
    }
    // From now on nobody dies, and everybody comes back until they have everything.
    for _ in 0..100_000 {
        if world.settled() {
            return (world.deaths, world.connections);
        }
        world.publish();
        world.poll();
        for which in 0..world.readers.len() {
            world.connect(which);
            world.read(which, u64::MAX);
        }
    }
    let told: Vec<_> =
        world.readers.iter().map(|r| (r.topic, &r.told, world.expected(r.topic))).collect();
    panic!("somebody never gets everything: {told:#?}");
}

#[test]
fn everybody_gets_everything_once_in_whatever_order_things_happen() {
    let (mut deaths, mut connections) = (0, 0);
    for seed in 0..ORDERS {
        let told = std::panic::catch_unwind(|| tell(seed));
        let Ok((died, opened)) = told else { panic!("in the order of seed {seed}") };
        deaths += died;
        connections += opened;
    }
    assert!(deaths > ORDERS && connections > 10 * ORDERS, "{deaths} {connections}");
}
