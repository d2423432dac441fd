//! One agent's process: started from a plan, spoken to, ended with everything it started.
//!
//! What holds here: an instance ends once, for one reason, and whoever waits for anything from it
//! learns that reason. When it has ended, no process of it is left.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::rc::{Rc, Weak};
use std::time::Duration;

use agent_client_protocol_schema::ProtocolVersion;
use agent_client_protocol_schema::v1::{
    AuthenticateRequest, CloseSessionRequest, DeleteSessionRequest, Implementation,
    InitializeRequest, SessionId as AcpSessionId,
};
use domain::AgentId;
use domain::limits::Limits;
use domain::plan::AgentPlan;
use domain::walls::{Standing, Wall};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::io::{AsyncRead, AsyncReadExt, BufReader};
use tokio::process::Child;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use wire::shim::{MAX_EVENT, ProcessState, failure};

use super::elicitation;
use super::failure::Failure;
use super::hello::{self, Capabilities};
use super::stream::Stream;
use super::{Shared, bundle, spawn};
use crate::acp::line::{Lines, Stop};
use crate::acp::message::{self, Fault, Incoming, METHOD_NOT_FOUND};
use crate::acp::peer::{CallError, Peer};
use crate::process::crowd::Crowd;
use crate::process::limits::{self, Watch};
use crate::process::memory::Killed;
use crate::process::tree::Kin;
use crate::process::walls::{self, Place, Scratch, Witness};

/// Lines that are no message which an agent may write before it is given up.
const NOISE: u32 = 1000;
/// What is kept of what an agent writes that is no message.
const SAID: usize = 4096;
/// How many bytes of it, at most, a failure ends with.
const LAST_BYTES: usize = 800;
/// Updates of sessions that are not known yet, and their bytes: an agent may be faster than its own
/// answer.
const EARLY: usize = 64;
const EARLY_BYTES: usize = 256 * 1024;
/// Updates that may come while no run is in flight.
const ASIDE: u32 = 1000;
/// How long output may still come once the process is gone.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// How long an agent may take to go once its input is closed.
const RETIRE: Duration = Duration::from_secs(8);

type Ready = Option<Result<Capabilities, Failure>>;

#[derive(Debug)]
pub(super) struct Instance {
    pub(super) agent: AgentId,
    pub(super) plan: AgentPlan,
    /// Its workspace, as it sees it.
    pub(super) workspace: PathBuf,
    pub(super) peer: Rc<Peer>,
    /// The names of what is in its environment.
    variables: BTreeSet<OsString>,
    kin: Kin,
    witness: Witness,
    limits: Limits,
    /// What it writes to that other agents of its container write to as well.
    shared: Option<limits::Shared>,
    killed: Killed,
    ready: watch::Sender<Ready>,
    ended: watch::Sender<bool>,
    reason: RefCell<Option<Failure>>,
    left: Cell<bool>,
    streams: RefCell<BTreeMap<String, Rc<Stream>>>,
    early: RefCell<VecDeque<(String, Box<RawValue>)>>,
    busy: Cell<usize>,
    noise: Cell<u32>,
    aside: Cell<u32>,
    /// The end of what it wrote that is no message.
    said: RefCell<VecDeque<u8>>,
    /// What its program is of, while it lives.
    _bundle: Option<File>,
}

/// Somebody needs the instance: it is not replaced.
#[derive(Debug)]
pub(super) struct Busy(Rc<Instance>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy.set(self.0.busy.get() - 1);
    }
}

impl Instance {
    /// Starts a process of `agent` by `plan` and greets it.
    pub(super) fn start(
        shared: &Rc<Shared>,
        agent: AgentId,
        plan: AgentPlan,
        number: u32,
    ) -> Result<Rc<Self>, Failure> {
        // The same number in another generation names nothing that still lives.
        let mark = format!("{}.{number}", shared.boot.container);
        let unavailable =
            |why: &dyn std::fmt::Display| Failure::new(failure::AGENT_UNAVAILABLE, why.to_string());
        let place = Place::of(&shared.boot, agent).map_err(|why| unavailable(&why))?;
        let scratch =
            Scratch::make(&shared.boot, &place, number).map_err(|why| unavailable(&why))?;
        let bundle = bundle::hold(&plan);
        let mut command = spawn::command(&shared.boot, &plan, &mark, &place, scratch.as_ref());
        let mut child = command.spawn().map_err(|why| unavailable(&why))?;
        let variables = command.as_std().get_envs().map(|(name, _)| name.to_owned()).collect();
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).unwrap_or_default();
        shared.children.claim(pid, place.uid);
        let (Some(stdin), Some(stdout), Some(stderr)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(unavailable(&"its streams could not be opened"));
        };
        let contained = shared.boot.walls.around.has(Wall::MountNamespace);
        let instance = Rc::new(Self {
            agent,
            plan,
            workspace: walls::seen(&place, scratch.as_ref()),
            peer: Peer::new(stdin),
            variables,
            kin: Kin { root: pid, mark, uid: place.uid, children: shared.children.clone() },
            witness: Witness::new(&place, scratch.as_ref()),
            limits: place.limits,
            shared: (scratch.is_none() && contained)
                .then(|| limits::Shared::new(&["/tmp", "/dev/shm"], place.uid)),
            killed: shared.killed.clone(),
            ready: watch::Sender::new(None),
            ended: watch::Sender::new(false),
            reason: RefCell::default(),
            left: Cell::new(false),
            streams: RefCell::default(),
            early: RefCell::default(),
            busy: Cell::new(0),
            noise: Cell::new(0),
            aside: Cell::new(0),
            said: RefCell::default(),
            _bundle: bundle,
        });
        tokio::task::spawn_local(Rc::clone(&instance).drain(stderr));
        let reading = tokio::task::spawn_local(Rc::clone(&instance).read(stdout));
        tokio::task::spawn_local(Rc::clone(&instance).outlive(child, reading));
        let crowd = Crowd::new(&place, &instance.kin, &shared.refused);
        let watch = Watch::new(&place, instance.shared.clone(), shared.killed.clone(), crowd);
        tokio::task::spawn_local(Rc::clone(&instance).guard(watch, scratch));
        tokio::task::spawn_local(Rc::clone(&instance).greet(shared.timing.start));
        tokio::task::spawn_local(Rc::clone(&instance).told(Rc::downgrade(shared)));
        Ok(instance)
    }

    /// Whether it can still be used.
    pub(super) fn lives(&self) -> bool {
        self.reason.borrow().is_none() && !*self.ended.borrow()
    }

    /// Whether nothing of it is left.
    pub(super) fn has_ended(&self) -> bool {
        *self.ended.borrow()
    }

    /// Whether it has gone by itself, and nothing was wrong.
    pub(super) fn left(&self) -> bool {
        self.left.get()
    }

    pub(super) fn idle(&self) -> bool {
        self.busy.get() == 0
    }

    /// What stands around its processes now.
    pub(super) fn walls(&self) -> Standing {
        self.witness.found(self.kin.root, &self.kin.family())
    }

    /// Holds it.
    pub(super) fn hold(self: &Rc<Self>) -> Busy {
        if self.idle() {
            self.noise.set(0);
            self.aside.set(0);
        }
        self.busy.set(self.busy.get() + 1);
        Busy(Rc::clone(self))
    }

    /// Why it ended.
    pub(super) fn reason(&self) -> Failure {
        let known = self.reason.borrow().clone();
        known.unwrap_or_else(|| Failure::new(failure::AGENT_EXITED, "the agent closed its streams"))
    }

    /// What it can do, as far as it has said.
    pub(super) fn can(&self) -> Capabilities {
        match &*self.ready.borrow() {
            Some(Ok(can)) => can.clone(),
            Some(Err(_)) | None => Capabilities::default(),
        }
    }

    /// Waits until it has been greeted.
    pub(super) async fn ready(&self) -> Result<Capabilities, Failure> {
        let mut ready = self.ready.subscribe();
        match ready.wait_for(Option::is_some).await.map(|ready| ready.clone()) {
            Ok(Some(ready)) => ready,
            Ok(None) | Err(_) => Err(self.reason()),
        }
    }

    /// Lets `stream` hear what is said in `acp_session`, also what has been said already.
    pub(super) async fn listen(&self, acp_session: &str, stream: &Rc<Stream>) {
        self.streams.borrow_mut().insert(acp_session.to_owned(), Rc::clone(stream));
        let early: VecDeque<_> = {
            let mut all = self.early.borrow_mut();
            let (mine, others): (VecDeque<_>, VecDeque<_>) =
                all.drain(..).partition(|(session, _)| session == acp_session);
            *all = others;
            mine
        };
        for (_, update) in early {
            stream.update(&update).await;
        }
    }

    /// Who hears what is said in `acp_session`.
    pub(super) fn stream(&self, acp_session: &str) -> Option<Rc<Stream>> {
        self.streams.borrow().get(acp_session).cloned()
    }

    /// All who hear what it says.
    pub(super) fn all_streams(&self) -> Vec<Rc<Stream>> {
        self.streams.borrow().values().cloned().collect()
    }

    /// Stops listening.
    pub(super) fn ignore(&self, acp_session: &str) {
        self.streams.borrow_mut().remove(acp_session);
    }

    /// Has the agent let go of a conversation, where it can.
    pub(super) async fn part(&self, acp_session: &str, patience: Duration) {
        if self.lives() && self.can().close {
            let request = CloseSessionRequest::new(AcpSessionId::new(acp_session));
            // Who does not answer keeps it as long as its process lives.
            drop(self.peer.call("session/close", &request, Instant::now() + patience).await);
        }
        self.ignore(acp_session);
        self.early.borrow_mut().retain(|(session, _)| session != acp_session);
    }

    /// Has the agent keep nothing of a conversation, where it can. One that it does not know is forgotten.
    pub(super) async fn forget(&self, acp_session: &str, patience: Duration) {
        let request = DeleteSessionRequest::new(AcpSessionId::new(acp_session));
        // Who does not answer may keep it: nobody asks for it again.
        drop(self.peer.call("session/delete", &request, Instant::now() + patience).await);
    }

    /// Ends it and everything it started, for `reason`.
    pub(super) async fn kill(&self, reason: Failure) {
        self.reason.borrow_mut().get_or_insert(reason);
        self.kin.kill().await;
        drop(self.ended.subscribe().wait_for(|ended| *ended).await);
    }

    /// Ends it because everything ends.
    pub(super) async fn end(&self) {
        self.kill(Failure::new(failure::INTERRUPTED, "the shim was stopped")).await;
    }

    /// Lets it go by itself, for a while.
    pub(super) async fn retire(&self) {
        // Its sessions go on elsewhere: what it still says belongs to none of their runs.
        self.streams.borrow_mut().clear();
        self.peer.close();
        let gone = timeout(RETIRE, self.ended.subscribe().wait_for(|ended| *ended)).await.is_ok();
        if !gone {
            self.kill(Failure::new(failure::INTERRUPTED, "the agent was replaced")).await;
        }
    }

    /// Ends it when it comes to a limit, and lets go of what was made for it when it has ended.
    async fn guard(self: Rc<Self>, watch: Watch, scratch: Option<Scratch>) {
        let mut ended = self.ended.subscribe();
        let reached = tokio::select! {
            _ = ended.wait_for(|ended| *ended) => return,
            reached = watch.reached(scratch.as_ref(), &self.kin) => reached,
        };
        let reason = Failure::new(limits::code(reached.limit()), reached.to_string());
        self.reason.borrow_mut().get_or_insert(reason);
        self.kin.kill_at_once().await;
        drop(ended.wait_for(|ended| *ended).await);
    }

    async fn greet(self: Rc<Self>, patience: Duration) {
        let hello = InitializeRequest::new(ProtocolVersion::V1)
            .client_info(Implementation::new("reeve", env!("CARGO_PKG_VERSION")))
            .client_capabilities(elicitation::offered(self.plan.elicitations));
        let answer = self.peer.call("initialize", &hello, Instant::now() + patience).await;
        let mut ready = match answer {
            Ok(result) => hello::read(&result, |name| self.variables.contains(OsStr::new(name)))
                .map_err(|why| self.broken(why.code, &why.detail)),
            Err(error) => Err(self.failed("initialize", error, patience)),
        };
        if let (Ok(can), Some(method)) = (&mut ready, &self.plan.auth_method) {
            can.ways_in = vec![method.clone()];
            let login = AuthenticateRequest::new(method.clone());
            let answer = self.peer.call("authenticate", &login, Instant::now() + patience).await;
            if let Err(error) = answer {
                let why = match error {
                    // Whatever its code, it is not logged in.
                    CallError::Fault(fault) => {
                        Failure::new(failure::AUTH_REQUIRED, fault.told()).offering(&can.log_ins)
                    }
                    error @ (CallError::Closed | CallError::Late) => {
                        self.failed("authenticate", error, patience)
                    }
                };
                ready = Err(why);
            }
        }
        let failed = ready.as_ref().err().cloned();
        self.ready.send_replace(Some(ready));
        if let Some(reason) = failed {
            self.kill(reason).await;
        }
    }

    fn failed(&self, method: &str, error: CallError, patience: Duration) -> Failure {
        match error {
            CallError::Fault(fault) => Failure::from_fault(&fault),
            CallError::Closed => self.reason(),
            CallError::Late => {
                let seconds = patience.as_secs_f32();
                self.broken(failure::AGENT_SILENT, &format!("no answer to {method} in {seconds} s"))
            }
        }
    }

    /// A failure that is its doing, with the end of what it has said beside its messages.
    pub(super) fn broken(&self, code: &'static str, why: &str) -> Failure {
        let said = self.last_words();
        let separator = if said.is_empty() { "" } else { ": " };
        Failure::new(code, format!("{why}{separator}{said}"))
    }

    /// The end of what it has written to its standard error, and of what was no message on its standard
    /// output. Its end tells more than its beginning, and a detail has a limit.
    fn last_words(&self) -> String {
        let said = self.said.borrow().iter().copied().collect::<Vec<u8>>();
        let said = String::from_utf8_lossy(&said).trim().to_owned();
        let from = said.ceil_char_boundary(said.len().saturating_sub(LAST_BYTES));
        said[from..].to_owned()
    }

    /// Tells when it is ready, and when it has ended.
    async fn told(self: Rc<Self>, shared: Weak<Shared>) {
        if self.ready().await.is_ok()
            && let Some(shared) = shared.upgrade()
        {
            shared.tell(self.agent, ProcessState::Ready, None);
        }
        drop(self.ended.subscribe().wait_for(|ended| *ended).await);
        if let Some(shared) = shared.upgrade() {
            shared.tell_end(self.agent, &self.reason());
        }
    }

    /// Waits for the process, and ends what it leaves behind.
    async fn outlive(self: Rc<Self>, mut child: Child, mut reading: tokio::task::JoinHandle<()>) {
        let status = child.wait().await;
        self.kin.children.release(self.kin.root);
        // A grandchild may hold the stream open for ever.
        if timeout(LAST_WORDS, &mut reading).await.is_err() {
            reading.abort();
        }
        let status = status.ok();
        self.left.set(self.lives() && status.is_some_and(|how| how.success()));
        let exited = self.exited(status);
        self.reason.borrow_mut().get_or_insert(exited);
        self.kin.kill().await;
        self.clear_up().await;
        self.streams.borrow_mut().clear();
        self.ended.send_replace(true);
        self.peer.close();
    }

    /// Removes what it left where others write, too, unless another instance of the agent lives.
    async fn clear_up(&self) {
        let Kin { root, uid, children, .. } = &self.kin;
        let last = uid.map_or_else(|| children.only(*root), |uid| children.only_of(*root, uid));
        if let Some(shared) = self.shared.clone().filter(|_| last) {
            let cleared = tokio::task::spawn_blocking(move || shared.clear()).await;
            // It fails only where it has panicked: what is left goes with the container.
            cleared.unwrap_or_default();
        }
    }

    fn exited(&self, status: Option<ExitStatus>) -> Failure {
        let how = status.map_or_else(|| "exit status unknown".to_owned(), |how| how.to_string());
        if status.and_then(|status| status.code()) == Some(walls::UNAVAILABLE) {
            return Failure::new(failure::AGENT_UNAVAILABLE, self.last_words());
        }
        // A stage says it by its code.
        let killed = status.is_some_and(|how| how.signal() == Some(9) || how.code() == Some(137));
        if killed && self.killed.more() {
            self.killed.told();
            let passed = limits::out_of_memory(&self.limits);
            return Failure::new(limits::code(passed.limit), passed.to_string());
        }
        self.broken(failure::AGENT_EXITED, &how)
    }

    async fn drain(self: Rc<Self>, mut stderr: impl AsyncRead + Unpin) {
        let mut piece = [0; 1024];
        while let Ok(length @ 1..) = stderr.read(&mut piece).await {
            self.keep(&piece[..length]);
        }
    }

    fn keep(&self, said: &[u8]) {
        let mut kept = self.said.borrow_mut();
        kept.extend(said);
        let surplus = kept.len().saturating_sub(SAID);
        kept.drain(..surplus);
    }

    async fn read(self: Rc<Self>, stdout: impl AsyncRead + Unpin) {
        let mut lines = Lines::new(BufReader::with_capacity(16 * 1024, stdout));
        loop {
            match lines.next().await {
                Ok(line) => match message::read(line) {
                    Some(message) => self.take(message).await,
                    None if line.iter().all(u8::is_ascii_whitespace) => {}
                    None => {
                        let line = line[..line.len().min(400)].to_owned();
                        self.noise(&line);
                    }
                },
                Err(Stop::Closed) => return,
                Err(Stop::TooLong) => {
                    self.give_up("a line of the agent was longer than 8 MiB");
                    return;
                }
            }
        }
    }

    fn noise(self: &Rc<Self>, line: &[u8]) {
        self.noise.set(self.noise.get() + 1);
        for stream in self.streams.borrow().values() {
            stream.notice_noise(line);
        }
        // Where it ends over it, that is why.
        self.keep(line);
        self.keep(b"\n");
        if self.noise.get() == NOISE + 1 {
            self.give_up("the agent wrote more than 1000 lines that are no messages");
        }
    }

    fn give_up(self: &Rc<Self>, why: &str) {
        let instance = Rc::clone(self);
        let reason = self.broken(failure::AGENT_PROTOCOL, why);
        tokio::task::spawn_local(async move { instance.kill(reason).await });
    }

    async fn take(self: &Rc<Self>, message: Incoming) {
        match message {
            // An answer nobody waits for may be late; what matters is who waits in vain.
            Incoming::Answer { id, result } => {
                self.peer.resolve(&id, result);
                // Who waited for it goes on before more is heard, which may be of no run.
                tokio::task::yield_now().await;
            }
            Incoming::Notification { method, params } if method == "session/update" => {
                self.update(&params).await;
            }
            Incoming::Notification { method, params } if method == "elicitation/complete" => {
                self.visited(&params);
            }
            Incoming::Notification { .. } => {}
            Incoming::Request { id, method, params } => {
                let answered = match method.as_str() {
                    // Some ask for what is to be told.
                    "session/update" => {
                        self.update(&params).await;
                        self.peer.answer(&id, Ok(Value::Null)).await
                    }
                    "session/request_permission" => self.permit(&id, &params).await,
                    "elicitation/create" => self.elicit(&id, &params).await,
                    _ => {
                        let why = format!("no such method: {method}");
                        self.peer.answer(&id, Err(Fault::new(METHOD_NOT_FOUND, why))).await
                    }
                };
                // Who closed its input does not want to know.
                drop(answered);
            }
        }
    }

    async fn update(self: &Rc<Self>, params: &RawValue) {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Update<'a> {
            session_id: String,
            #[serde(borrow)]
            update: &'a RawValue,
        }
        if self.idle() {
            self.aside.set(self.aside.get().saturating_add(1));
            if self.aside.get() == ASIDE + 1 {
                self.give_up("the agent told more than 1000 things while no run was in flight");
            }
            if self.aside.get() > ASIDE {
                return;
            }
        }
        let Ok(params) = serde_json::from_str::<Update<'_>>(params.get()) else { return };
        let stream = self.streams.borrow().get(&params.session_id).cloned();
        if let Some(stream) = stream {
            return stream.update(params.update).await;
        }
        if params.update.get().len() > MAX_EVENT {
            return;
        }
        let mut early = self.early.borrow_mut();
        early.push_back((params.session_id, params.update.to_owned()));
        let bytes = |early: &VecDeque<(String, Box<RawValue>)>| -> usize {
            early.iter().map(|(session, update)| session.len() + update.get().len()).sum()
        };
        while early.len() > EARLY || bytes(&early) > EARLY_BYTES {
            early.pop_front();
        }
    }
}
