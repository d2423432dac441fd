//! Carries out what the control plane asks: one worker per session, one instance per agent and plan.
//!
//! What holds here: a command is carried out once, however often it is repeated; one prompt is in
//! flight per session; sessions do not wait for each other, whichever agents they are with. When [`run`] returns, no process of any
//! agent is left.
//!
//! Deliberately absent: queues of runs. The control plane has them.

mod bundle;
mod effort;
mod elicitation;
mod exchange;
mod failure;
mod fork;
mod hello;
mod instance;
mod permission;
mod process;
mod questions;
mod runs;
mod session;
mod settings;
mod setup;
mod spawn;
mod stream;
mod tools;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use domain::plan::AgentPlan;
use domain::{AgentId, RunId, SessionId};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::timeout;
use wire::shim::failure::{INTERRUPTED, WORKSPACE_UNAVAILABLE};
use wire::shim::{Boot, Command, Forgotten, What};

use crate::keep::Keeper;
use crate::link::{self, Over};
use crate::process::crowd::Refused;
use crate::process::memory::Killed;
use crate::process::{Children, reaper};
use crate::report::Outbox;
use instance::Instance;
use runs::Runs;
use session::{Job, Session};
use stream::Stream;

/// How long the last events may take to be acknowledged when the shim was asked to stop.
const FAREWELL: Duration = Duration::from_millis(500);

/// How long what became of directories may take to be kept then: less than platforms wait.
const PARTING: Duration = Duration::from_secs(20);

/// How long an agent may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timing {
    /// To answer anything before a prompt.
    pub(crate) start: Duration,
    /// To end a prompt once asked to.
    pub(crate) cancel: Duration,
}

impl Timing {
    /// What real agents need, unless `--start-timeout-ms` or `--cancel-timeout-ms` say otherwise.
    pub(crate) fn from_arguments(mut arguments: impl Iterator<Item = OsString>) -> Self {
        let mut timing = Self { start: Duration::from_secs(30), cancel: Duration::from_secs(5) };
        while let (Some(name), Some(value)) = (arguments.next(), arguments.next()) {
            let Some(value) = value.to_str().and_then(|value| value.parse().ok()) else {
                continue;
            };
            match name.to_str() {
                Some("--start-timeout-ms") => timing.start = Duration::from_millis(value),
                Some("--cancel-timeout-ms") => timing.cancel = Duration::from_millis(value),
                Some(_) | None => {}
            }
        }
        timing
    }
}

/// What all sessions share.
#[derive(Debug)]
struct Shared {
    boot: Boot,
    timing: Timing,
    outbox: Rc<Outbox>,
    keeper: Keeper,
    children: Children,
    killed: Killed,
    refused: Refused,
    runs: RefCell<Runs>,
    instances: RefCell<Vec<Rc<Instance>>>,
    /// Those that take no more prompts, until nothing of them is left.
    leaving: RefCell<Vec<Rc<Instance>>>,
    /// The plan of each agent's last prompt: an idle instance of another one is of no use any more.
    latest: RefCell<BTreeMap<AgentId, AgentPlan>>,
    /// The number of what was last wanted of each agent's process.
    asked: RefCell<BTreeMap<AgentId, u32>>,
    /// The copies of conversations that were made here.
    forks: fork::Forks,
    started: Cell<u32>,
    stopping: Cell<bool>,
}

impl Shared {
    /// The living instance of an agent by `plan`, started if there is none.
    fn instance(
        self: &Rc<Self>,
        agent: AgentId,
        plan: &AgentPlan,
    ) -> Result<Rc<Instance>, failure::Failure> {
        self.latest.borrow_mut().insert(agent, plan.clone());
        let found = self
            .instances
            .borrow()
            .iter()
            .find(|one| one.agent == agent && one.plan == *plan && one.lives())
            .cloned();
        if let Some(instance) = found {
            return Ok(instance);
        }
        if self.stopping.get() {
            return Err(failure::Failure::new(INTERRUPTED, "the shim is stopping"));
        }
        self.started.set(self.started.get() + 1);
        let instance = Instance::start(self, agent, plan.clone(), self.started.get())?;
        self.instances.borrow_mut().push(Rc::clone(&instance));
        Ok(instance)
    }

    /// Has the directories of an agent here.
    async fn fetch(&self, agent: AgentId) -> Result<(), failure::Failure> {
        let unavailable = |why: crate::keep::Unkept| {
            failure::Failure::new(WORKSPACE_UNAVAILABLE, why.to_string())
        };
        self.keeper.fetch(&self.boot, agent).await.map_err(unavailable)
    }

    /// Ends every instance, and those that are about to end.
    async fn end(&self) {
        let instances = [self.instances.borrow().clone(), self.leaving.borrow().clone()].concat();
        futures::future::join_all(instances.iter().map(|instance| instance.end())).await;
    }

    /// Ends the idle instances of plans that are no longer used, and forgets the ended ones.
    fn tidy(&self) {
        let (latest, mut leaving) = (self.latest.borrow(), self.leaving.borrow_mut());
        let stale = |one: &Instance| latest.get(&one.agent) != Some(&one.plan) && one.idle();
        for instance in self.instances.borrow_mut().extract_if(.., |one| stale(one) || !one.lives())
        {
            if instance.lives() {
                let instance = Rc::clone(&instance);
                tokio::task::spawn_local(async move { instance.retire().await });
            }
            leaving.push(instance);
        }
        leaving.retain(|instance| !instance.has_ended());
    }
}

/// Supervises until the control plane, the platform or loneliness ends it.
pub(crate) async fn run(boot: Boot, timing: Timing) -> ExitCode {
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        return ExitCode::FAILURE;
    };
    let children = Children::default();
    let outbox =
        Outbox::new(boot.journal.clone().into(), Duration::from_millis(boot.report_millis));
    tokio::task::spawn_local(reaper::run(children.clone()));
    let killed = Killed::watch(&boot);
    let shared = Rc::new(Shared {
        killed,
        refused: Refused::default(),
        boot,
        timing,
        outbox,
        keeper: Keeper::default(),
        children,
        runs: RefCell::default(),
        instances: RefCell::default(),
        leaving: RefCell::default(),
        latest: RefCell::default(),
        asked: RefCell::default(),
        forks: fork::Forks::default(),
        started: Cell::new(0),
        stopping: Cell::new(false),
    });
    let (commands, mut asked) = mpsc::unbounded_channel();
    let mut sessions = BTreeMap::new();
    let asks = shared.keeper.asks();
    let said = (&shared.outbox, &*asks);
    let mut link = std::pin::pin!(link::run(&shared.boot, said, &commands));
    let over = loop {
        tokio::select! {
            over = &mut link => break Some(over),
            () = shared.outbox.broken() => break Some(Over::Mute),
            _ = terminate.recv() => break None,
            Some(all) = asked.recv() => {
                if all.into_iter().any(|command| carry_out(&shared, &mut sessions, command)) {
                    break None;
                }
            }
        }
    };
    shared.stopping.set(true);
    let ending = shared.end();
    if let Some(over) = over {
        ending.await;
        return ExitCode::from(match over {
            Over::Refused => 2,
            Over::Orphaned => 3,
            Over::Mute => 4,
        });
    }
    let farewell = async {
        ending.await;
        // The workers' last words: they run once their agents are gone.
        tokio::task::yield_now().await;
        timeout(PARTING, shared.keeper.send_all(&shared.boot)).await.unwrap_or_default();
        timeout(FAREWELL, shared.outbox.drained()).await.unwrap_or_default();
    };
    // The connection is kept for as long as there is somebody to tell.
    let parted = tokio::select! {
        () = farewell => false,
        _ = link => true,
    };
    if parted {
        shared.end().await;
    }
    ExitCode::SUCCESS
}

/// Who works on a session.
struct Worker {
    jobs: mpsc::UnboundedSender<Job>,
    stream: Rc<Stream>,
}

/// Carries `command` out. Says whether it is the last one.
fn carry_out(
    shared: &Rc<Shared>,
    sessions: &mut BTreeMap<SessionId, Worker>,
    command: Command,
) -> bool {
    match command {
        Command::Stop => return true,
        Command::Process(command) => shared.obey(*command),
        // A worker ends with its queue, and lets go of the conversation.
        Command::Close { session, forget } => {
            if sessions.remove(&session).is_none() {
                shared.drop_copy(session);
            }
            if let Some(Forgotten { agent, conversation }) = forget {
                shared.forget(agent, conversation);
            }
        }
        Command::Cancel { session, run } => cancel(shared, session, run),
        Command::Prompt(prompt) => {
            let admitted = shared.runs.borrow_mut().admit(prompt.run);
            if let Some(cancelled) = admitted {
                let (agent, session) = (prompt.agent_id, prompt.session);
                let worker = sessions.entry(session).or_insert_with(|| {
                    let (jobs, queue) = mpsc::unbounded_channel();
                    let session = Session::new(shared, agent, session);
                    let stream = session.stream();
                    tokio::task::spawn_local(session.work(queue));
                    Worker { jobs, stream }
                });
                drop(worker.jobs.send(Job { prompt, cancelled }));
            }
        }
        Command::Answer { session, run, request, answer } => {
            if let Some(worker) = sessions.get(&session) {
                worker.stream.give(run, &request, answer);
            }
        }
        Command::Reply { session, run, request, reply } => {
            if let Some(worker) = sessions.get(&session) {
                worker.stream.reply(run, &request, reply);
            }
        }
    }
    false
}

fn cancel(shared: &Shared, session: SessionId, run: RunId) {
    let unknown = shared.runs.borrow_mut().cancel(run);
    if unknown {
        shared.outbox.push(session, Some(run), What::Ended(failure::cancelled()));
    }
}
