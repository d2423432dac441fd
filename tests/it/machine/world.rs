//! One installation in memory, and what can happen to it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use app::ports::{Clock as _, Ids};
use app::{App, Caller, Error, Ports, Settings};
use domain::due::Due;
use domain::key::PresentedKey;
use domain::{AgentId, ContainerId, KeyId, RealmId, RunId, SessionId};
use embedded::feed::LocalFeed;
use futures::future::join_all;
use serde_json::json;
use sockets::shim::Answer;
use wire::shim::{Hello, Outcome, PROTOCOL, Up};

use super::Step;
use super::fate::{Count, Fate, Hand};
use super::outside::{Outside, Platform, Said, Shim};
use super::watched::Watched;

pub(super) struct World {
    pub(super) app: App,
    pub(super) table: Arc<Watched>,
    pub(super) clock: Arc<Hand>,
    pub(super) fate: Arc<Fate>,
    pub(super) outside: Arc<Mutex<Outside>>,
    operator: String,
    key: String,
    pub(super) realm: RealmId,
    /// Errands that a scheduler holds and has not come to.
    stalled: Mutex<Vec<Due>>,
    connections: Mutex<u64>,
    accepted: Mutex<usize>,
}

fn pick<T: Clone>(all: &[T], which: u8) -> Option<T> {
    (!all.is_empty()).then(|| all[usize::from(which) % all.len()].clone())
}

impl World {
    pub(super) async fn new() -> Self {
        let (clock, fate) = (Arc::new(Hand::default()), Arc::new(Fate::default()));
        let table = Arc::new(Watched::new(Arc::clone(&clock), Arc::clone(&fate)));
        let outside = Arc::new(Mutex::new(Outside::default()));
        let ids = Arc::new(Count::default());
        let platform = Platform { outside: Arc::clone(&outside), fate: Arc::clone(&fate) };
        let ports = Ports {
            table: Arc::clone(&table) as _,
            compute: Arc::new(platform.clone()),
            push: Arc::new(platform),
            feed: Arc::new(LocalFeed::default()),
            clock: Arc::clone(&clock) as _,
            ids: Arc::clone(&ids) as _,
        };
        let app = App::new(ports, Settings::new([9; 32]));
        let operator = PresentedKey::spell(KeyId::new(ids.ulid(clock.now())), &"s".repeat(32));
        app.realms().bootstrap(&operator.parse().unwrap()).await.unwrap();
        let caller = app.authenticate(Some(&operator)).await.unwrap();
        let limits = json!({ "maxQueuedRuns": 3, "maxAgents": 3, "idleSeconds": 30 });
        let new = serde_json::from_value(json!({ "name": "theirs", "limits": limits })).unwrap();
        let made = app.realms().create(&caller, new).await.unwrap();
        Self {
            app,
            table,
            clock,
            fate,
            outside,
            operator,
            key: made.api_key,
            realm: made.realm.id,
            stalled: Mutex::default(),
            connections: Mutex::default(),
            accepted: Mutex::new(1),
        }
    }

    pub(super) fn agents(&self) -> Vec<AgentId> {
        self.table.ledger(|ledger| ledger.agents.values().map(|agent| agent.id).collect())
    }

    pub(super) fn sessions(&self) -> Vec<SessionId> {
        self.table.ledger(|ledger| ledger.sessions.values().map(|session| session.id).collect())
    }

    pub(super) fn live(&self) -> Vec<ContainerId> {
        self.outside.lock().unwrap().live.keys().copied().collect()
    }

    async fn caller(&self) -> Result<Caller, Error> {
        self.app.authenticate(Some(&self.key)).await
    }

    /// Does what somebody asks for, and books that it was accepted. What is refused changes nothing.
    #[expect(clippy::wildcard_enum_match_arm, reason = "the rest is not for callers to ask")]
    async fn ask(&self, step: &Step) -> Result<(), Error> {
        let caller = self.caller().await?;
        let (agents, sessions) = (self.agents(), self.sessions());
        let app = &self.app;
        match *step {
            Step::CreateAgent => {
                let new = json!({ "name": "a", "driver": "acp" });
                let new = serde_json::from_value(new).unwrap();
                app.agents().create(&caller, new).await.map(drop)?;
            }
            Step::CreateSession(which) => {
                let Some(agent) = pick(&agents, which) else { return Ok(()) };
                let new = serde_json::from_value(json!({ "agentId": agent })).unwrap();
                app.sessions().create(&caller, new).await.map(drop)?;
            }
            Step::Prompt(which) => {
                let Some(session) = pick(&sessions, which) else { return Ok(()) };
                let new = serde_json::from_value(json!({ "prompt": "hello" })).unwrap();
                app.sessions().prompt(&caller, session, new).await.map(drop)?;
            }
            Step::Cancel(which, run) => {
                let Some(session) = pick(&sessions, which) else { return Ok(()) };
                let runs: Vec<RunId> = self.table.ledger(|ledger| {
                    ledger.runs.values().filter(|r| r.session == session).map(|r| r.id).collect()
                });
                let run = if run == 0 { None } else { pick(&runs, run) };
                app.sessions().cancel(&caller, session, run).await.map(drop)?;
            }
            Step::Close(which) => {
                let Some(session) = pick(&sessions, which) else { return Ok(()) };
                app.sessions().close(&caller, session).await.map(drop)?;
            }
            Step::Pause(which, force) => {
                let Some(agent) = pick(&agents, which) else { return Ok(()) };
                app.agents().pause(&caller, agent, force).await.map(drop)?;
            }
            Step::Resume(which) => {
                let Some(agent) = pick(&agents, which) else { return Ok(()) };
                app.agents().resume(&caller, agent).await.map(drop)?;
            }
            Step::Delete(which) => {
                let Some(agent) = pick(&agents, which) else { return Ok(()) };
                app.agents().delete(&caller, agent, None).await?;
            }
            _ => return Ok(()),
        }
        *self.accepted.lock().unwrap() += 1;
        Ok(())
    }

    /// Takes one step. What is refused is no concern of this test: others say what is.
    pub(super) async fn take(&self, step: &Step) {
        if let Step::Together(first, second) = step {
            futures::future::join(self.single(first), self.single(second)).await;
        } else {
            self.single(step).await;
        }
        if matches!(step, Step::Restart) || self.fate.is_dead() {
            self.restart().await;
        }
        self.check();
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "the rest is what callers ask for")]
    async fn single(&self, step: &Step) {
        match step {
            Step::Suspend(suspended) => {
                let Ok(operator) = self.app.authenticate(Some(&self.operator)).await else {
                    return;
                };
                let realms = self.app.realms();
                let done = if *suspended {
                    realms.suspend(&operator, self.realm).await
                } else {
                    realms.resume(&operator, self.realm).await
                };
                *self.accepted.lock().unwrap() += usize::from(done.is_ok());
            }
            Step::Tick(most) => self.tick(usize::from(*most)).await,
            Step::Stall => self.stall().await,
            Step::Unstall => self.unstall().await,
            Step::Advance(millis) => self.clock.advance(Duration::from_millis(*millis)),
            Step::Mood(mood) => self.outside.lock().unwrap().mood = *mood,
            Step::Arm(steps, taken) => self.fate.arm(*steps, *taken),
            Step::Exit(which) => {
                if let Some(id) = pick(&self.live(), *which) {
                    self.outside.lock().unwrap().exit(id);
                }
            }
            Step::TellExits => self.tell_exits().await,
            Step::Connect(which) => {
                if let Some(id) = pick(&self.live(), *which) {
                    self.connect(id).await;
                }
            }
            Step::Disconnect(which) => {
                if let Some(id) = pick(&self.live(), *which) {
                    self.outside.lock().unwrap().live.get_mut(&id).unwrap().connection = None;
                }
            }
            Step::Heartbeat(which) => {
                if let Some(id) = pick(&self.live(), *which) {
                    self.frame(id, &Up::Heartbeat).await;
                }
            }
            Step::Work(which, run, outcome) => {
                if let Some(id) = pick(&self.live(), *which) {
                    self.work(id, *run, *outcome);
                }
            }
            Step::Send(which, back, count) => {
                if let Some(id) = pick(&self.live(), *which) {
                    self.send(id, *back, usize::from(*count)).await;
                }
            }
            Step::SendLate(which, back) => self.send_late(*which, *back).await,
            // Refused, overtaken or dead: what was accepted is what counts.
            asked => drop(self.ask(asked).await),
        }
    }

    /// The process dies, if it has not, and the next one begins.
    pub(super) async fn restart(&self) {
        self.stalled.lock().unwrap().clear();
        {
            let mut outside = self.outside.lock().unwrap();
            outside.exits.clear();
            outside.live.values_mut().for_each(|shim| shim.connection = None);
        }
        if self.fate.revive() {
            // What was accepted when it died was not always answered.
            let audited = self.table.ledger(|ledger| ledger.audited);
            let mut accepted = self.accepted.lock().unwrap();
            *accepted = audited.max(*accepted);
        }
        self.app.containers().reconcile().await.unwrap();
        self.app.errands().take_over().await.unwrap();
    }

    fn check(&self) {
        let accepted = *self.accepted.lock().unwrap();
        self.table.ledger(|ledger| assert_eq!(ledger.audited, accepted, "one entry per command"));
        for (run, times) in &self.outside.lock().unwrap().given {
            assert_eq!(*times, 1, "{run} was given to an agent twice");
        }
    }

    pub(super) async fn tick(&self, most: usize) {
        let Ok(tick) = self.app.errands().tick().await else { return };
        let carried = tick.due.iter().take(most).map(async |due| {
            if let Ok(Some(held)) = self.app.errands().claim(due).await {
                drop(self.app.errands().carry_out(&held).await);
            }
        });
        join_all(carried).await;
    }

    async fn stall(&self) {
        let Ok(tick) = self.app.errands().tick().await else { return };
        let Some(due) = tick.due.first() else { return };
        if let Ok(Some(held)) = self.app.errands().claim(due).await {
            self.stalled.lock().unwrap().push(held);
        }
    }

    async fn unstall(&self) {
        let held = self.stalled.lock().unwrap().pop();
        if let Some(held) = held {
            drop(self.app.errands().carry_out(&held).await);
        }
    }

    pub(super) async fn tell_exits(&self) {
        let exits = std::mem::take(&mut self.outside.lock().unwrap().exits);
        for observed in exits {
            drop(self.app.containers().exited(observed).await);
        }
    }

    fn shim(&self, id: ContainerId) -> Option<Shim> {
        self.outside.lock().unwrap().live.get(&id).cloned()
    }

    pub(super) async fn connect(&self, id: ContainerId) {
        let Some(shim) = self.shim(id) else { return };
        let number = {
            let mut connections = self.connections.lock().unwrap();
            *connections += 1;
            *connections
        };
        self.outside.lock().unwrap().live.get_mut(&id).unwrap().connection =
            Some(format!("c{number}"));
        let (container, generation) = (id, shim.observed.generation);
        let hello = Hello { protocol: PROTOCOL, container, generation, version: "1".to_owned() };
        if !self.frame(id, &Up::Hello(hello)).await
            && let Some(shim) = self.outside.lock().unwrap().live.get_mut(&id)
        {
            shim.connection = None;
        }
    }

    /// Says something on the shim's connection. Whether it is still there.
    async fn frame(&self, id: ContainerId, up: &Up) -> bool {
        let Some(shim) = self.shim(id) else { return false };
        let Some(connection) = &shim.connection else { return false };
        let caller = self.app.authenticate_shim(Some(&shim.token)).unwrap();
        let text = serde_json::to_string(up).unwrap();
        match sockets::shim::frame(&self.app, caller, connection, &text).await {
            Ok(Answer::Say(down) | Answer::Dismiss(down)) => {
                // Of a later start, nothing is heard here.
                let same = self.shim(id).is_some_and(|now| now.observed == shim.observed);
                if same && !self.fate.is_dead() {
                    self.outside.lock().unwrap().hear(id, down);
                }
                true
            }
            Ok(Answer::Quiet) => true,
            Ok(Answer::Close) | Err(_) => false,
        }
    }

    /// An agent says something, or ends its turn.
    pub(super) fn work(&self, id: ContainerId, run: u8, outcome: Option<Outcome>) {
        let mut outside = self.outside.lock().unwrap();
        outside.marks += 1;
        let mark = outside.marks;
        let Some(shim) = outside.live.get_mut(&id) else { return };
        let flying: Vec<_> = shim.flying.iter().map(|(run, at)| (*run, *at)).collect();
        let Some((run, (session, cancelled))) = pick(&flying, run) else { return };
        match outcome {
            None => shim.say(session, Said::Update(run, mark)),
            Some(outcome) => {
                let outcome = if cancelled { Outcome::Cancelled } else { outcome };
                shim.flying.remove(&run);
                shim.say(session, Said::Ended(run, outcome));
            }
        }
    }

    /// Reports of every session: what is next, or from further back, or from too far on.
    pub(super) async fn send(&self, id: ContainerId, back: i8, count: usize) {
        let Some(shim) = self.shim(id) else { return };
        for (session, journal) in &shim.journals {
            let from = journal.acked.saturating_add_signed(-i64::from(back));
            if let Some(report) = shim.report(*session, from, count) {
                self.frame(id, &Up::Report(report)).await;
            }
        }
    }

    /// What a shim had said before it was gone arrives.
    async fn send_late(&self, which: u8, back: i8) {
        let Some(shim) = pick(&self.outside.lock().unwrap().dead, which) else { return };
        let caller = self.app.authenticate_shim(Some(&shim.token)).unwrap();
        for (session, journal) in &shim.journals {
            let from = journal.acked.saturating_add_signed(-i64::from(back));
            if let Some(report) = shim.report(*session, from, 9) {
                drop(self.app.shim_reported(caller, &report).await);
            }
        }
    }
}
