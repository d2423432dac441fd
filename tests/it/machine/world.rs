//! One installation in memory, and what can happen to it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use app::errands::Standing;
use app::ports::{Clock as _, Ids};
use app::{App, Ports, Settings};
use domain::key::PresentedKey;
use domain::{AgentId, ContainerId, KeyId, RealmId, SessionId};
use embedded::feed::LocalFeed;
use futures::future::join_all;
use serde_json::json;
use tests::clock::Hand;
use wire::shim::Up;

use super::Step;
use super::fate::{Count, Fate};
use super::outside::{Outside, Platform};
use super::watched::Watched;

/// How many containers run at once, where nobody says otherwise: fewer than there are agents.
pub(super) const MOST: u32 = 2;

pub(super) struct World {
    pub(super) app: App,
    pub(super) table: Arc<Watched>,
    pub(super) clock: Arc<Hand>,
    pub(super) fate: Arc<Fate>,
    pub(super) outside: Arc<Mutex<Outside>>,
    operator: String,
    pub(super) key: String,
    pub(super) realm: RealmId,
    /// Errands that a scheduler holds and has not come to.
    stalled: Mutex<Vec<Standing>>,
    pub(super) connections: Mutex<u64>,
    /// Commands that were accepted.
    pub(super) accepted: Mutex<usize>,
}

/// One of them, if there is any.
pub(super) fn pick<T: Clone>(all: &[T], which: u8) -> Option<T> {
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
            blobs: Arc::<tests::blobs::Memory>::default(),
            workspaces: Arc::new(app::ports::Elsewhere),
            fetch: Arc::new(app::ports::NoFetch),
            bundles: Arc::new(app::ports::NoBundles),
            uploads: Arc::new(app::ports::NoUploads),
            clock: Arc::clone(&clock) as _,
            ids: Arc::clone(&ids) as _,
        };
        let app = App::new(ports, Settings::new(Some([9; 32])));
        let operator = PresentedKey::spell(KeyId::new(ids.ulid(clock.now())), &"s".repeat(32));
        app.realms().bootstrap(&operator.parse().unwrap()).await.unwrap();
        let caller = app.authenticate(Some(&operator)).await.unwrap();
        let limits = Self::limits(MOST);
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

    fn limits(running: u32) -> serde_json::Value {
        json!({
            "maxQueuedRuns": 3, "maxAgents": 3, "idleSeconds": 30,
            "maxRunningContainers": running, "maxWaiting": 1,
        })
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

    /// Takes one step. What is refused is no concern of this test: others say what is.
    pub(super) async fn take(&self, step: &Step) {
        if let Step::Together(first, second) = step {
            Box::pin(futures::future::join(self.single(first), self.single(second))).await;
        } else {
            Box::pin(self.single(step)).await;
        }
        if matches!(step, Step::Restart) || self.fate.is_dead() {
            self.restart().await;
        }
        self.check();
    }

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
            Step::Limit(running) => {
                let Ok(operator) = self.app.authenticate(Some(&self.operator)).await else {
                    return;
                };
                let patch = json!({ "limits": Self::limits(u32::from(*running)) });
                let patch = serde_json::from_value(patch).unwrap();
                let done = self.app.realms().update(&operator, self.realm, patch).await;
                *self.accepted.lock().unwrap() += usize::from(done.is_ok());
            }
            Step::Tick(most) => self.tick(usize::from(*most)).await,
            Step::Stall => self.stall().await,
            Step::Unstall => Box::pin(self.unstall()).await,
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
            Step::Disconnect(which, told) => {
                if let Some(id) = pick(&self.live(), *which) {
                    self.disconnect(id, *told).await;
                }
            }
            Step::Heartbeat(which) => {
                if let Some(id) = pick(&self.live(), *which) {
                    self.frame(id, &Up::Heartbeat).await;
                }
            }
            Step::Work(which, run, work) => {
                if let Some(id) = pick(&self.live(), *which) {
                    self.work(id, *run, *work);
                }
            }
            Step::Send(which, back, count) => {
                if let Some(id) = pick(&self.live(), *which) {
                    self.send(id, *back, usize::from(*count)).await;
                }
            }
            Step::SendLate(which, back) => self.send_late(*which, *back).await,
            // Refused, overtaken or dead: what was accepted is what counts.
            Step::Ask(what) => drop(self.ask(*what).await),
            // Seen to by who takes the step.
            Step::Restart | Step::Together(..) => {}
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
        self.app.listen_from_now();
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
}
