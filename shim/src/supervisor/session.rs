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
use domain::run::Usage;
use domain::{AgentId, SessionId};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout};
use wire::shim::{Ended, Outcome, PromptCommand, failure};

use super::failure::{Failure, cancelled};
use super::instance::{Busy, Capabilities, Instance};
use super::stream::Stream;
use super::{Shared, setup};
use crate::acp::message::{AUTH_REQUIRED, NOT_FOUND};
use crate::acp::peer::CallError;
use crate::report::cut;
use crate::time::reach;

/// The longest session id of an agent.
const ACP_SESSION: usize = 1024;

/// The event that says that the agent has forgotten the conversation and begins another.
const LOST: &str = "conversation_lost";

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
    shared: Rc<Shared>,
    stream: Rc<Stream>,
    /// The agent's own id for the conversation, and the instance that has it open.
    acp: Option<String>,
    bound: Option<Rc<Instance>>,
    busy: Option<Busy>,
}

/// Why a run is being stopped.
#[derive(Clone, Copy)]
enum Stopping {
    Cancelled,
    TimedOut,
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
                    None => return,
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
            if self.shared.stopping.get() {
                self.stream.flush();
                return;
            }
            self.stream.end(run, ended);
            self.shared.runs.borrow_mut().end(run);
            self.shared.tidy();
        }
    }

    async fn turn(&mut self, job: &mut Job) -> Ended {
        let prompt = &*job.prompt;
        let opened = tokio::select! {
            biased;
            () = asked(&mut job.cancelled) => return cancelled(),
            opened = self.open(prompt) => opened,
        };
        let (instance, acp) = match opened {
            Ok(opened) => opened,
            Err(failure) => return failure.into_ended(),
        };
        let timing = self.shared.timing;
        let acp_id = AcpSessionId::new(acp.as_str());
        let request = PromptRequest::new(acp_id.clone(), vec![prompt.prompt.as_str().into()]);
        let sent = timeout(timing.start, instance.peer.start("session/prompt", &request)).await;
        let mut call = match sent {
            Ok(Ok(call)) => call,
            Ok(Err(_)) => return instance.reason().into_ended(),
            Err(_) => return silent("session/prompt").into_ended(),
        };
        self.stream.started(&acp);
        let limit = Duration::from_secs(u64::from(prompt.agent.limits.timeout_seconds));
        let mut deadline = Instant::now() + limit;
        let mut stopping = None;
        loop {
            let why = tokio::select! {
                answer = call.answer() => {
                    return self.ended(&instance, prompt.agent.driver, answer, stopping);
                }
                () = asked(&mut job.cancelled), if stopping.is_none() => Stopping::Cancelled,
                () = reach(Some(deadline)) => match stopping {
                    None => Stopping::TimedOut,
                    Some(why) => {
                        instance.kill(Failure::new(
                            failure::AGENT_EXITED,
                            "the agent was ended because a run in it could not be stopped",
                        )).await;
                        return stopped(why);
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

    /// The instance and the agent's id of this conversation, started and opened where needed.
    async fn open(&mut self, prompt: &PromptCommand) -> Result<(Rc<Instance>, String), Failure> {
        let instance = self.shared.instance(prompt.agent_id, &prompt.agent)?;
        self.busy = Some(instance.hold());
        if let (Some(bound), Some(acp)) = (&self.bound, &self.acp)
            && Rc::ptr_eq(bound, &instance)
        {
            return Ok((instance, acp.clone()));
        }
        self.shared.tidy();
        let can = instance.ready().await?;
        let known = self.acp.clone().or_else(|| prompt.acp_session.clone());
        let reopened = match &known {
            Some(acp) => self.reopen(&instance, acp, &can, prompt).await,
            None => false,
        };
        let acp = match known {
            Some(acp) if reopened => acp,
            lost => {
                let acp = self.create(&instance, &can, prompt).await?;
                if let Some(lost) = lost {
                    self.stream.tell(LOST, &json!({ "lost": lost, "now": acp }));
                }
                acp
            }
        };
        self.acp = Some(acp.clone());
        self.bound = Some(Rc::clone(&instance));
        Ok((instance, acp))
    }

    /// Takes a conversation up again, in the way the agent can. A loaded one is told once more: what is
    /// history already is dropped.
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
        if can.resume {
            let id = AcpSessionId::new(acp);
            let request = ResumeSessionRequest::new(id, &place).mcp_servers(servers.clone());
            let deadline = Instant::now() + self.shared.timing.start;
            opened = instance.peer.call("session/resume", &request, deadline).await.ok();
        }
        if opened.is_none() && can.load {
            self.stream.mute(true);
            let request =
                LoadSessionRequest::new(AcpSessionId::new(acp), &place).mcp_servers(servers);
            let deadline = Instant::now() + self.shared.timing.start;
            opened = instance.peer.call("session/load", &request, deadline).await.ok();
            self.stream.mute(false);
        }
        match &opened {
            Some(result) => self.stream.offers(result),
            None => instance.ignore(acp),
        }
        opened.is_some()
    }

    /// Begins a conversation. An agent that wants to be logged in, and can do so by itself, is asked to.
    async fn create(
        &self,
        instance: &Rc<Instance>,
        can: &Capabilities,
        prompt: &PromptCommand,
    ) -> Result<String, Failure> {
        let mut answer = self.ask_new(instance, prompt).await;
        if let (Err(CallError::Fault(fault)), Some(method)) = (&answer, &can.log_in)
            && fault.code == AUTH_REQUIRED
        {
            let deadline = Instant::now() + self.shared.timing.start;
            let request = AuthenticateRequest::new(method.clone());
            if instance.peer.call("authenticate", &request, deadline).await.is_ok() {
                answer = self.ask_new(instance, prompt).await;
            }
        }
        let result = match answer {
            Ok(result) => result,
            Err(CallError::Fault(fault)) => return Err(Failure::from_fault(&fault)),
            Err(CallError::Closed) => return Err(instance.reason()),
            Err(CallError::Late) => {
                let reason = silent("session/new");
                instance.kill(reason.clone()).await;
                return Err(reason);
            }
        };
        let created = serde_json::from_str::<Created>(result.get())
            .ok()
            .filter(|created| created.session_id.len() <= ACP_SESSION)
            .ok_or_else(|| {
                Failure::new(failure::AGENT_PROTOCOL, "session/new was answered without an id")
            })?;
        self.stream.offers(&result);
        instance.listen(&created.session_id, &self.stream).await;
        Ok(created.session_id)
    }

    async fn ask_new(
        &self,
        instance: &Rc<Instance>,
        prompt: &PromptCommand,
    ) -> Result<Box<RawValue>, CallError> {
        let deadline = Instant::now() + self.shared.timing.start;
        let request = NewSessionRequest::new(setup::place(instance, prompt))
            .mcp_servers(setup::servers(prompt));
        instance.peer.call("session/new", &request, deadline).await
    }

    fn ended(
        &mut self,
        instance: &Instance,
        driver: Driver,
        answer: Result<Box<RawValue>, CallError>,
        stopping: Option<Stopping>,
    ) -> Ended {
        match (answer, stopping) {
            (Ok(result), why) => match (turn_end(&result, driver), why) {
                (Some(mut ended), Some(Stopping::TimedOut)) => {
                    let usage = ended.usage.take();
                    Ended { usage, ..stopped(Stopping::TimedOut) }
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
                if fault.code == NOT_FOUND {
                    // The agent has forgotten the conversation: the next prompt opens it again.
                    self.bound = None;
                }
                Failure::from_fault(&fault).into_ended()
            }
            (Err(CallError::Closed | CallError::Late), None) => instance.reason().into_ended(),
        }
    }
}

fn silent(method: &str) -> Failure {
    Failure::new(failure::AGENT_SILENT, format!("no answer to {method} in time"))
}

fn stopped(why: Stopping) -> Ended {
    match why {
        Stopping::Cancelled => cancelled(),
        Stopping::TimedOut => {
            Failure::new(failure::TIMEOUT, "the run took longer than its limit").into_ended()
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
    }
    let answer: Answer = serde_json::from_str(result.get()).ok()?;
    let count = |name: &str| answer.usage[name].as_u64();
    let usage = match (count("inputTokens"), count("outputTokens")) {
        (None, None) => None,
        (input, output) => Some(Usage {
            input_tokens: input.unwrap_or_default(),
            output_tokens: output.unwrap_or_default(),
        }),
    };
    let (outcome, code, detail) = match (driver, answer.stop_reason.as_str()) {
        (_, "cancelled") => (Outcome::Cancelled, None, None),
        // Our own loop stops for no other reason than the limits of the run.
        (Driver::Vanilla, "max_turn_requests") => {
            (Outcome::Failed, Some(failure::TURN_LIMIT), Some("the run used up its model calls"))
        }
        (Driver::Vanilla, "max_tokens") => {
            (Outcome::Failed, Some(failure::TOKEN_LIMIT), Some("the run used up its tokens"))
        }
        (Driver::Acp | Driver::Vanilla, _) => (Outcome::Completed, None, None),
    };
    Some(Ended {
        outcome,
        stop_reason: Some(cut::line(&answer.stop_reason, 64)),
        code: code.map(str::to_owned),
        detail: detail.map(str::to_owned),
        usage,
    })
}
