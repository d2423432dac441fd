//! One session: its prompts, one after the other.
//!
//! What holds here: a run that was admitted ends exactly once, and nothing of it follows. The
//! exception is the end of the shim, which the control plane sees and judges.

use std::rc::Rc;
use std::time::Duration;

use agent_client_protocol_schema::v1::{
    AuthenticateRequest, CancelNotification, LoadSessionRequest, NewSessionRequest, PromptRequest,
    ResumeSessionRequest, SessionId as AcpSessionId,
};
use domain::agent::Driver;
use domain::event;
use domain::run::Usage;
use domain::{AgentId, SessionId};
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout};
use wire::shim::{Ended, Outcome, PromptCommand, failure};

use super::effort::Level;
use super::exchange::{self, Exchange, Verdict};
use super::failure::{Failure, cancelled};
use super::hello::Capabilities;
use super::instance::{Busy, Instance};
use super::stream::Stream;
use super::{Shared, settings, setup};
use crate::acp::message::{AUTH_REQUIRED, Fault, INVALID_PARAMS, NOT_FOUND};
use crate::acp::peer::CallError;
use crate::report::cut;
use crate::time::reach;

/// The longest session id of an agent.
const ACP_SESSION: usize = 1024;

/// How long it may take to keep what a run has left.
const KEEPING: Duration = Duration::from_mins(10);

/// The answer to `session/new`, as far as it is needed.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Created {
    session_id: String,
}

/// A prompt to be worked on.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) prompt: Box<PromptCommand>,
    /// Becomes true when the run is to be cancelled.
    pub(super) cancelled: watch::Receiver<bool>,
}

#[derive(Debug)]
pub(super) struct Session {
    pub(super) shared: Rc<Shared>,
    pub(super) stream: Rc<Stream>,
    /// The agent's own id for the conversation, and the instance that has it open.
    acp: Option<String>,
    bound: Option<Rc<Instance>>,
    /// How much the agent would think by itself, where it was told otherwise.
    own_effort: Option<String>,
    busy: Option<Busy>,
}

/// Why a run is being stopped.
#[derive(Clone, Copy)]
enum Stopping {
    Cancelled,
    TimedOut,
    Spent,
}

impl Session {
    pub(super) fn new(shared: &Rc<Shared>, agent: AgentId, id: SessionId) -> Self {
        Self {
            shared: Rc::clone(shared),
            stream: Stream::new(
                Rc::clone(&shared.outbox),
                agent,
                id,
                Duration::from_millis(shared.boot.live_millis),
            ),
            acp: None,
            bound: None,
            own_effort: None,
            busy: None,
        }
    }

    /// What its agent says goes through here.
    pub(super) fn stream(&self) -> Rc<Stream> {
        Rc::clone(&self.stream)
    }

    /// Works on jobs until there can be none.
    pub(super) async fn work(mut self, mut jobs: mpsc::UnboundedReceiver<Job>) {
        loop {
            let mut job = tokio::select! {
                job = jobs.recv() => match job {
                    Some(job) => job,
                    None => return self.part().await,
                },
                () = self.stream.due() => {
                    self.stream.tick();
                    continue;
                }
            };
            let run = job.prompt.run;
            self.stream.begin(run);
            let ended = self.turn(&mut job).await;
            self.busy = None;
            self.keep(&job.prompt).await;
            if self.shared.stopping.get() {
                self.stream.flush();
                return;
            }
            self.stream.end(run, ended);
            self.shared.runs.borrow_mut().end(run);
            self.shared.tidy();
        }
    }

    /// Lets go of the conversation, and of all that is known of it here.
    async fn part(&self) {
        let session = self.stream.session();
        self.stream.flush();
        if let (Some(instance), Some(acp)) = (&self.bound, &self.acp) {
            instance.part(acp, self.shared.timing.start).await;
        }
        self.shared.drop_copy(session);
        self.shared.outbox.told(session).await;
        self.shared.outbox.forget(session);
    }

    /// Has kept what the run has left: who knows of its end finds it.
    async fn keep(&self, prompt: &PromptCommand) {
        if self.shared.stopping.get() {
            return;
        }
        let keeping = self.shared.keeper.keep(&self.shared.boot, prompt.agent_id, prompt.run);
        let why = match timeout(KEEPING, keeping).await {
            Ok(Ok(())) => return,
            Ok(Err(why)) => why.to_string(),
            Err(_) => "it took too long".to_owned(),
        };
        self.stream.tell(event::WORKSPACE_NOT_KEPT, &json!({ "reason": why }));
    }

    async fn turn(&mut self, job: &mut Job) -> Ended {
        let mut exchange = match Exchange::new(&job.prompt) {
            Ok(exchange) => exchange,
            Err(failure) => return failure.into_ended(),
        };
        if exchange.judges() {
            self.stream.keep_answer();
        }
        loop {
            let ended = match self.attempt(job, &mut exchange).await {
                // Nothing has come of it: once more, in the conversation that is opened again.
                Err(Undone(_)) => self.attempt(job, &mut exchange).await,
                ended => ended,
            };
            let ended = ended.unwrap_or_else(|Undone(why)| why.into_ended());
            let ours = job.prompt.agent.driver == Driver::Vanilla;
            let calls = ours.then(|| self.stream.counted());
            match exchange.judge(ended, &self.stream.answer(), calls, &job.prompt) {
                Verdict::Over(ended) => return *ended,
                Verdict::Again { round, wrong } => {
                    self.stream.tell(event::OUTPUT_CORRECTION, &exchange::told(round, &wrong));
                }
            }
        }
    }

    async fn attempt(&mut self, job: &mut Job, exchange: &mut Exchange) -> Result<Ended, Undone> {
        let prompt = &*job.prompt;
        let before = self.bound.clone();
        let opened = tokio::select! {
            biased;
            () = asked(&mut job.cancelled) => return Ok(cancelled()),
            opened = self.prepare(prompt) => opened,
        };
        let (instance, acp) = match opened {
            Ok(opened) => opened,
            Err(failure) => return Ok(failure.into_ended()),
        };
        let used = before.is_some_and(|before| Rc::ptr_eq(&before, &instance));
        let timing = self.shared.timing;
        let can_fork = instance.can().fork;
        let acp_id = AcpSessionId::new(acp.as_str());
        let mut request = PromptRequest::new(acp_id.clone(), vec![exchange.text.as_str().into()]);
        if prompt.agent.driver != Driver::Acp {
            request.meta =
                Some([("reeve".to_owned(), exchange.told(prompt))].into_iter().collect());
        }
        let sent = timeout(timing.start, instance.peer.start("session/prompt", &request)).await;
        let mut call = match sent {
            Ok(Ok(call)) => call,
            Ok(Err(_)) if used && instance.left() => return Err(Undone(instance.reason())),
            Ok(Err(_)) => return Ok(instance.reason().into_ended()),
            Err(_) => return Ok(silent(&instance, "session/prompt").into_ended()),
        };
        self.stream.started(&acp, &exchange.text, can_fork);
        let mut deadline = exchange.deadline(prompt);
        // Our own loop counts for itself, and ends at the step that is too much.
        let counts = prompt.agent.driver != Driver::Vanilla;
        let budget = prompt.agent.limits.max_tokens;
        let mut stopping = None;
        loop {
            let why = tokio::select! {
                answer = call.answer() => {
                    let undone = self.undone(&instance, used, &answer);
                    if let Some(undone) = undone.filter(|_| stopping.is_none()) {
                        return Err(undone);
                    }
                    return Ok(ended(&instance, prompt.agent.driver, answer, stopping));
                }
                () = asked(&mut job.cancelled), if stopping.is_none() => Stopping::Cancelled,
                () = self.stream.spent(budget), if counts && stopping.is_none() => Stopping::Spent,
                () = reach(Some(deadline)) => match stopping {
                    None => Stopping::TimedOut,
                    Some(why) => {
                        instance.kill(Failure::new(
                            failure::AGENT_EXITED,
                            "the agent was ended because a run in it could not be stopped",
                        )).await;
                        return Ok(stopped(why));
                    }
                },
                () = self.stream.due() => {
                    self.stream.tick();
                    continue;
                }
            };
            stopping = Some(why);
            deadline = Instant::now() + timing.cancel;
            self.stream.cancel();
            let notice = CancelNotification::new(acp_id.clone());
            // An agent that does not even take it is killed at the deadline.
            drop(timeout(timing.cancel, instance.peer.notify("session/cancel", &notice)).await);
        }
    }

    /// Opens the conversation, and tells the agent how much to think.
    async fn prepare(&mut self, prompt: &PromptCommand) -> Result<(Rc<Instance>, String), Failure> {
        let (instance, acp) = self.open(prompt).await?;
        self.copy_for_others(&instance, prompt).await?;
        // Our own are told with each prompt.
        if prompt.agent.driver == Driver::Acp {
            let patience = self.shared.timing.start;
            settings::apply(&instance, &self.stream, &acp, &prompt.settings, patience).await;
            self.set_effort(&instance, &acp, prompt).await;
        }
        Ok((instance, acp))
    }

    async fn set_effort(&mut self, instance: &Instance, acp: &str, prompt: &PromptCommand) {
        let effort = exchange::effort(prompt);
        if effort.is_none() && self.own_effort.is_none() {
            return;
        }
        let options = self.stream.options();
        let level = Level::among(&options);
        let value = match (&level, effort) {
            (Some(level), Some(effort)) => level.value(effort),
            (Some(_), None) => self.own_effort.as_deref(),
            (None, _) => None,
        };
        let mut why = "the agent offers no such level";
        if let (Some(level), Some(value)) = (&level, value) {
            if level.now == value {
                return;
            }
            let request = level.set(acp, value);
            let deadline = Instant::now() + self.shared.timing.start;
            let answer = instance.peer.call("session/set_config_option", &request, deadline).await;
            if let Ok(result) = answer {
                self.own_effort =
                    effort.map(|_| self.own_effort.take().unwrap_or_else(|| level.now.to_owned()));
                self.stream.offers(&result);
                return;
            }
            why = "the agent did not take the level";
        }
        if let Some(effort) = effort {
            self.stream.tell(event::EFFORT_IGNORED, &json!({ "effort": effort, "reason": why }));
        }
    }

    /// The instance and the agent's id of this conversation, started and opened where needed.
    async fn open(&mut self, prompt: &PromptCommand) -> Result<(Rc<Instance>, String), Failure> {
        self.shared.fetch(prompt.agent_id).await?;
        let instance = self.shared.instance(prompt.agent_id, &prompt.agent)?;
        self.busy = Some(instance.hold());
        if let (Some(bound), Some(acp)) = (&self.bound, &self.acp)
            && Rc::ptr_eq(bound, &instance)
        {
            return Ok((instance, acp.clone()));
        }
        self.shared.tidy();
        let can = instance.ready().await?;
        self.stream.opens();
        let mut known = self.acp.clone().or_else(|| prompt.acp_session.clone());
        if known.is_none()
            && let Some(fork) = &prompt.fork
        {
            known = Some(self.begin_as_copy(&instance, &can, prompt, fork).await?);
        }
        let reopened = match &known {
            Some(acp) if self.take_copy(&instance, prompt.session, acp).await => true,
            Some(acp) => self.reopen(&instance, acp, &can, prompt).await,
            None => false,
        };
        let acp = match known {
            Some(acp) if reopened => acp,
            lost => {
                let acp = self.create(&instance, &can, prompt).await?;
                if let Some(lost) = lost {
                    self.stream
                        .tell(event::CONVERSATION_LOST, &json!({ "lost": lost, "now": acp }));
                }
                acp
            }
        };
        self.acp = Some(acp.clone());
        self.bound = Some(Rc::clone(&instance));
        Ok((instance, acp))
    }

    /// Takes a conversation up again, in the way the agent can. A loaded one is told once more, and by
    /// some agents a resumed one, too: what is history already is dropped.
    async fn reopen(
        &self,
        instance: &Instance,
        acp: &str,
        can: &Capabilities,
        prompt: &PromptCommand,
    ) -> bool {
        let (place, servers) = (setup::place(instance, prompt), setup::servers(prompt));
        instance.listen(acp, &self.stream).await;
        let mut opened = None;
        self.stream.mute(true);
        if can.resume {
            let id = AcpSessionId::new(acp);
            let request = ResumeSessionRequest::new(id, &place).mcp_servers(servers.clone());
            opened = self.ask(instance, can, "session/resume", &request).await.ok();
        }
        let loads = opened.is_none() && can.load;
        if loads {
            let request =
                LoadSessionRequest::new(AcpSessionId::new(acp), &place).mcp_servers(servers);
            opened = self.ask(instance, can, "session/load", &request).await.ok();
        }
        if opened.is_some() && (loads || self.stream.tells_history()) {
            self.stream.settled().await;
        }
        self.stream.mute(false);
        match &opened {
            Some(result) => self.stream.offers(result),
            None => instance.ignore(acp),
        }
        opened.is_some()
    }

    /// Begins a conversation.
    async fn create(
        &self,
        instance: &Rc<Instance>,
        can: &Capabilities,
        prompt: &PromptCommand,
    ) -> Result<String, Failure> {
        let request = NewSessionRequest::new(setup::place(instance, prompt))
            .mcp_servers(setup::servers(prompt));
        let refused = Failure::from_fault;
        let (acp, opened) = self.made(instance, can, "session/new", &request, refused).await?;
        self.stream.offers(&opened);
        instance.listen(&acp, &self.stream).await;
        Ok(acp)
    }

    /// Asks for another conversation: the agent's id for it, and the whole answer.
    pub(super) async fn made(
        &self,
        instance: &Instance,
        can: &Capabilities,
        method: &str,
        request: &impl Serialize,
        refused: impl Fn(&Fault) -> Failure,
    ) -> Result<(String, Box<RawValue>), Failure> {
        let result = match self.ask(instance, can, method, request).await {
            Ok(result) => result,
            Err(CallError::Fault(fault)) => return Err(refused(&fault).offering(&can.log_ins)),
            Err(CallError::Closed) => return Err(instance.reason()),
            Err(CallError::Late) => {
                let reason = silent(instance, method);
                instance.kill(reason.clone()).await;
                return Err(reason);
            }
        };
        let created = serde_json::from_str::<Created>(result.get())
            .ok()
            .filter(|created| created.session_id.len() <= ACP_SESSION)
            .ok_or_else(|| {
                let why = format!("{method} was answered without an id");
                instance.broken(failure::AGENT_PROTOCOL, &why)
            })?;
        Ok((created.session_id, result))
    }

    /// Asks what opens a conversation. An agent that wants to be logged in first is told to do so, in
    /// each of the ways that ask nobody until one has helped.
    async fn ask(
        &self,
        instance: &Instance,
        can: &Capabilities,
        method: &str,
        request: &impl Serialize,
    ) -> Result<Box<RawValue>, CallError> {
        let deadline = || Instant::now() + self.shared.timing.start;
        let mut answer = instance.peer.call(method, request, deadline()).await;
        for way in &can.ways_in {
            if !matches!(&answer, Err(CallError::Fault(fault)) if fault.code == AUTH_REQUIRED) {
                break;
            }
            let login = AuthenticateRequest::new(way.clone());
            match instance.peer.call("authenticate", &login, deadline()).await {
                Ok(_) => answer = instance.peer.call(method, request, deadline()).await,
                Err(CallError::Fault(_)) => {}
                Err(CallError::Late | CallError::Closed) => break,
            }
        }
        answer
    }

    /// Whether nothing has come of a prompt: the agent says that it does not know the conversation, which
    /// agents say in two ways, or one that was `used` before has gone, as some do once they were
    /// cancelled. Then the next prompt opens the conversation again. What came after an answer of its own
    /// means something else.
    fn undone(
        &mut self,
        instance: &Instance,
        used: bool,
        answer: &Result<Box<RawValue>, CallError>,
    ) -> Option<Undone> {
        let why = match answer {
            Err(CallError::Fault(fault)) if matches!(fault.code, NOT_FOUND | INVALID_PARAMS) => {
                self.bound = None;
                Failure::from_fault(fault)
            }
            Err(CallError::Closed) if used && instance.left() => instance.reason(),
            Ok(_) | Err(_) => return None,
        };
        (!self.stream.answering()).then_some(Undone(why))
    }
}

/// Why the agent has done nothing for a prompt.
struct Undone(Failure);

fn ended(
    instance: &Instance,
    driver: Driver,
    answer: Result<Box<RawValue>, CallError>,
    stopping: Option<Stopping>,
) -> Ended {
    match (answer, stopping) {
        (Ok(result), why) => match (turn_end(&result, driver), why) {
            (Some(ended), Some(why @ (Stopping::TimedOut | Stopping::Spent))) => {
                Ended { usage: ended.usage, ..stopped(why) }
            }
            (Some(ended), _) => ended,
            (None, Some(why)) => stopped(why),
            (None, None) => {
                Failure::new(failure::AGENT_PROTOCOL, "a prompt was answered without a reason")
                    .into_ended()
            }
        },
        (Err(_), Some(why)) => stopped(why),
        (Err(CallError::Fault(fault)), None) => {
            Failure::from_fault(&fault).offering(&instance.can().log_ins).into_ended()
        }
        (Err(CallError::Closed | CallError::Late), None) => instance.reason().into_ended(),
    }
}

fn silent(instance: &Instance, method: &str) -> Failure {
    instance.broken(failure::AGENT_SILENT, &format!("no answer to {method} in time"))
}

fn stopped(why: Stopping) -> Ended {
    match why {
        Stopping::Cancelled => cancelled(),
        Stopping::TimedOut => {
            Failure::new(failure::TIMEOUT, "the run took longer than its limit").into_ended()
        }
        Stopping::Spent => {
            Failure::new(failure::TOKEN_LIMIT, "the run used up its tokens").into_ended()
        }
    }
}

async fn asked(cancelled: &mut watch::Receiver<bool>) {
    if cancelled.wait_for(|asked| *asked).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// What the answer to a prompt says; none where it says nothing.
fn turn_end(result: &RawValue, driver: Driver) -> Option<Ended> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Answer {
        stop_reason: String,
        #[serde(default)]
        usage: serde_json::Value,
        #[serde(default, rename = "_meta")]
        meta: serde_json::Value,
    }
    let answer: Answer = serde_json::from_str(result.get()).ok()?;
    let usage = tokens(&answer.usage).or_else(|| tokens(&answer.meta["quota"]["token_count"]));
    let (outcome, code, detail) = match (driver, answer.stop_reason.as_str()) {
        (_, "cancelled") => (Outcome::Cancelled, None, None),
        // Our own loop stops for no other reason than the limits of the run.
        (Driver::Vanilla, "max_turn_requests") => {
            (Outcome::Failed, Some(failure::TURN_LIMIT), Some("the run used up its model calls"))
        }
        (Driver::Vanilla, "max_tokens") => {
            (Outcome::Failed, Some(failure::TOKEN_LIMIT), Some("the run used up its tokens"))
        }
        (Driver::Acp | Driver::Vanilla | Driver::Process | Driver::Http, _) => {
            (Outcome::Completed, None, None)
        }
    };
    Some(Ended {
        outcome,
        stop_reason: Some(cut::line(&answer.stop_reason, 64)),
        code: code.map(str::to_owned),
        detail: detail.map(str::to_owned),
        usage,
        structured: None,
        auth_methods: Vec::new(),
    })
}

/// What was used, in one of the spellings that agents have.
fn tokens(said: &serde_json::Value) -> Option<Usage> {
    let count = |one: &str, other: &str| said[one].as_u64().or_else(|| said[other].as_u64());
    match (count("inputTokens", "input_tokens"), count("outputTokens", "output_tokens")) {
        (None, None) => None,
        (input, output) => Some(Usage {
            input_tokens: input.unwrap_or_default(),
            output_tokens: output.unwrap_or_default(),
        }),
    }
}
