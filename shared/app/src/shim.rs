//! What the control plane does with what a shim says.
//!
//! A shim is believed about its own start of its own container and nothing else: its token names
//! both and is signed. What it reports is numbered, and counts once.

use std::collections::{BTreeMap, BTreeSet};

use domain::agent::Agent;
use domain::container::{Container, ContainerEvent, ContainerState, Word};
use domain::due::Errand;
use domain::elicitation::{Elicitation, MAX_ELICITATIONS};
use domain::event::{self, Draft};
use domain::id::Ulid;
use domain::instance::{InstanceEvent, Wish};
use domain::output::{Contract, Output};
use domain::plan::AgentPlan;
use domain::run::{End, PermissionRequest, Run, RunEvent, RunState};
use domain::session::{Admission, Session, SessionState};
use domain::workspace::History;
use domain::{AgentId, ContainerId, RealmId, RunId};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use store::container::Bounds;
use store::document::{self, Loaded};
use store::{Scope, keys};
use subtle::ConstantTimeEq;
use wire::shim::{
    Command, Ended, Hello, Live, MAX_OPTIONS, MAX_REQUESTS, Outcome, PROTOCOL, Process,
    ProcessCommand, ProcessState, PromptCommand, Report, What, failure,
};

use crate::commit::retry_conflict;
use crate::ports::LiveEvent;
use crate::turn::{Turn, load_run};
use crate::{App, Error};

/// A shim that has proved which start of which container it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShimCaller {
    scope: Scope,
    container: ContainerId,
    generation: u32,
}

impl ShimCaller {
    /// Who was found out before, when the connection was opened.
    pub(crate) const fn known(scope: Scope, container: ContainerId, generation: u32) -> Self {
        Self { scope, container, generation }
    }

    /// The realm of the container.
    pub(crate) const fn scope(&self) -> Scope {
        self.scope
    }

    /// Which start of the container it is in.
    pub const fn generation(&self) -> u32 {
        self.generation
    }

    /// The realm it works for.
    pub const fn realm(&self) -> RealmId {
        self.scope.realm()
    }

    /// The container it is in.
    pub const fn container(&self) -> ContainerId {
        self.container
    }
}

/// Why a shim is told to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Dismissed {
    /// Its start is over.
    #[error("stale")]
    Stale,
    /// It speaks another version.
    #[error("protocol")]
    Protocol,
}

/// What to answer to a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Receipt {
    /// Events before this number are durable.
    Next(u64),
    /// The session does not listen to this start any more: forget what is not acknowledged.
    Stale,
}

impl App {
    /// Finds out which shim presents `bearer`. No read: the token is signed.
    pub fn authenticate_shim(&self, bearer: Option<&str>) -> Result<ShimCaller, Error> {
        let refused = || Error::Unauthenticated("the shim's token is missing or not ours");
        let token = bearer.ok_or_else(refused)?;
        let (claim, signature) = token.rsplit_once('_').ok_or_else(refused)?;
        let genuine = self.sign(claim)?.as_bytes().ct_eq(signature.as_bytes());
        if !bool::from(genuine) {
            return Err(refused());
        }
        let mut parts = claim.strip_prefix("st_").ok_or_else(refused)?.splitn(3, '_');
        let mut ulid = || parts.next().and_then(|part| Ulid::from_string(part).ok());
        let (realm, container) = (ulid().ok_or_else(refused)?, ulid().ok_or_else(refused)?);
        let generation = parts.next().and_then(|part| part.parse().ok()).ok_or_else(refused)?;
        #[expect(clippy::disallowed_methods, reason = "this is authentication")]
        let scope = Scope::grant(RealmId::new(realm));
        Ok(ShimCaller { scope, container: ContainerId::new(container), generation })
    }

    /// A shim connected, or connected again, on `connection`. One read, one commit.
    ///
    /// The first word of a start is what `container_start_duration_seconds` counts to: from the
    /// commit that asked for the container, or for a later start of it from its beginning.
    pub async fn shim_connected(
        &self,
        shim: ShimCaller,
        hello: &Hello,
        connection: &str,
    ) -> Result<Result<(), Dismissed>, Error> {
        if hello.protocol != PROTOCOL {
            return Ok(Err(Dismissed::Protocol));
        }
        if hello.container != shim.container || hello.generation != shim.generation {
            return Ok(Err(Dismissed::Stale));
        }
        retry_conflict(self, || async {
            let Some(before) = self.start_of(shim).await? else { return Ok(Err(Dismissed::Stale)) };
            let now = self.now();
            let Ok(mut container) = before.value.apply(ContainerEvent::Connected, now) else {
                return Ok(Err(Dismissed::Stale));
            };
            if !container.busy.is_empty() && container.state.is_connected() {
                container = container.apply(ContainerEvent::Occupied, now)?;
            }
            container.connection = Some(connection.to_owned());
            container.heard_of = container.generation;
            container.walls = hello.walls;
            container.seen_at = now;
            let mut writes = vec![document::put(&container, before.expect())];
            if container.is_idle() {
                // Nobody needs it any more, but somebody may wait for its room.
                let errand = self.due(shim.scope.realm(), Errand::Admit, now);
                writes.push(store::due::put(&errand));
            }
            self.commit_own("container.connected", writes).await?;
            if !before.value.state.is_connected() {
                let begun = match before.value.generation {
                    1 => before.value.created_at,
                    _ => before.value.seen_at,
                };
                let taken = self.now().since(begun);
                metrics::histogram!("container_start_duration_seconds").record(taken);
            }
            Ok(Ok(()))
        })
        .await
    }

    /// A shim is still there, on `connection`. Written down at most every ten seconds, unless another
    /// connection was thought to be the present one: of two greetings, the older may come last.
    pub async fn shim_heartbeat(&self, shim: ShimCaller, connection: &str) -> Result<(), Error> {
        let Some(before) = self.start_of(shim).await? else { return Ok(()) };
        let now = self.now();
        let known = before.value.connection.as_deref() == Some(connection);
        if known && now.since(before.value.seen_at) < self.settings.silence / 2 {
            return Ok(());
        }
        let connection = Some(connection.to_owned());
        let container = Container { seen_at: now, connection, ..before.value.clone() };
        let writes = vec![document::put(&container, before.expect())];
        match self.commit_own("container.seen", writes).await {
            // Whoever was faster knows the container to be there, too.
            Err(Error::Conflict) => Ok(()),
            done => done,
        }
    }

    /// A shim's connection has ended. Where it was the present one, somebody looks whether its container
    /// is still there. One read and, where it was, one commit.
    pub async fn shim_disconnected(&self, shim: ShimCaller, connection: &str) -> Result<(), Error> {
        retry_conflict(self, || async {
            let Some(before) = self.start_of(shim).await? else { return Ok(()) };
            if before.value.connection.as_deref() != Some(connection) {
                return Ok(());
            }
            let container = Container { connection: None, ..before.value.clone() };
            let (container_id, generation) = (shim.container, shim.generation);
            let look = Errand::Look { container: container_id, generation };
            let errand = self.due(shim.scope.realm(), look, self.now());
            let writes = vec![document::put(&container, before.expect()), store::due::put(&errand)];
            self.commit_own("container.disconnected", writes).await
        })
        .await
    }

    /// All that is pending for a container: derived from the state of its sessions, so it can be
    /// asked for and sent any number of times. Reads the container, its sessions, their runs and the
    /// agent: four round trips, however many sessions, and one for each session that is copied for others;
    /// on one machine another, for whose workspace is being rolled back.
    pub async fn pending(&self, shim: ShimCaller) -> Result<Vec<Command>, Error> {
        match self.start_of(shim).await? {
            Some(container) => self.commands(shim.scope, &container.value).await,
            None => Ok(vec![Command::Stop]),
        }
    }

    pub(crate) async fn commands(
        &self,
        scope: Scope,
        container: &Container,
    ) -> Result<Vec<Command>, Error> {
        if matches!(container.state, ContainerState::Hibernating | ContainerState::Deleting) {
            return Ok(vec![Command::Stop]);
        }
        let wished = container.agents.iter().filter(|(_, one)| one.wish.is_some());
        let wished: Vec<_> = wished.collect();
        if container.busy.is_empty() && wished.is_empty() {
            return Ok(Vec::new());
        }
        let ids: Vec<_> = container.busy.keys().map(|&id| keys::session(scope, id)).collect();
        let sessions = self.read_all::<Session>(&ids).await?;
        let active: Vec<_> =
            sessions.iter().filter_map(|s| s.active).map(|id| keys::run(scope, id)).collect();
        let runs = self.read_all::<Run>(&active).await?;
        let mut forks = BTreeMap::new();
        for session in sessions.iter().filter(|session| !session.forks.is_empty()) {
            forks.insert(session.id, self.awaited(scope, session.id, &session.forks).await?);
        }
        let needed: BTreeSet<AgentId> =
            container.busy.values().copied().chain(wished.iter().map(|(id, _)| **id)).collect();
        let ids: Vec<_> = needed.into_iter().map(|id| keys::agent(scope, id)).collect();
        let agents = self.read_all::<Agent>(&ids).await?;
        // A workspace that is being rolled back is nobody's to work in. Who prompted before it began
        // would have kept it from beginning; who did later is seen with it.
        let mut restoring = BTreeSet::new();
        if self.ports.workspaces.are_here() {
            let ids: Vec<_> = agents.iter().map(|agent| keys::history(scope, agent.id)).collect();
            let histories = self.read_all::<History>(&ids).await?;
            let held = histories.iter().filter(|history| history.restoring.is_some());
            restoring.extend(held.map(|history| history.agent));
        }
        let mut plans: BTreeMap<AgentId, AgentPlan> =
            agents.iter().map(|agent| (agent.id, plan(agent, container))).collect();
        for agent in agents.iter().filter(|agent| agent.spec.registry_agent.is_some()) {
            // Its program is in its bundle: the plan says where.
            let own = runs.iter().find(|run| run.agent == agent.id && run.plan.is_some());
            let process = self.plans().process(scope, agent, own.and_then(|run| run.plan)).await?;
            match (process, plans.get_mut(&agent.id)) {
                (Some(AgentPlan { command, env, .. }), Some(plan)) => {
                    plan.command = command;
                    plan.env.extend(env);
                }
                _ => drop(plans.remove(&agent.id)),
            }
        }
        let mut commands = Vec::new();
        for (&agent, instance) in wished {
            let Some(wish) = instance.wish else { continue };
            let start = plans.get(&agent).filter(|_| wish != Wish::Stop).cloned();
            let end = wish != Wish::Start;
            let command = ProcessCommand { agent, asked: instance.asked, end, start };
            commands.push(Command::Process(Box::new(command)));
        }
        for run in runs {
            let Some(plan) = plans.get(&run.agent) else { continue };
            let Some(session) = sessions.iter().find(|s| s.id == run.session) else { continue };
            let heard = session.reports.is_some_and(|r| {
                r.container == container.id && r.generation == container.generation
            });
            if !heard || run.state.is_terminal() {
                continue;
            }
            if session.state == SessionState::Cancelling {
                commands.push(Command::Cancel { session: session.id, run: run.id });
            } else if run.state == RunState::Dispatching && !restoring.contains(&run.agent) {
                commands.push(Command::Prompt(Box::new(PromptCommand {
                    session: session.id,
                    run: run.id,
                    prompt: run.prompt.as_str().to_owned(),
                    schema: run.output.schema().cloned(),
                    effort: run.effort,
                    agent_id: run.agent,
                    agent: in_session(plan, session),
                    working_dir: session.setup.working_dir.as_ref().map(ToString::to_string),
                    mcp_servers: session.setup.mcp_servers.clone(),
                    settings: session.setup.settings.clone(),
                    acp_session: session.acp_session.clone(),
                    forked_from: session.forked_from,
                    fork: session.fork.clone(),
                    forks: forks.remove(&session.id).unwrap_or_default(),
                })));
            }
            commands.extend(answers(&run));
        }
        Ok(commands)
    }

    pub(crate) async fn read_all<T: store::document::Document>(
        &self,
        keys: &[store::Key],
    ) -> Result<Vec<T>, Error> {
        let mut found = Vec::with_capacity(keys.len());
        for some in keys.chunks(100) {
            for item in self.table().batch_get(some).await?.iter().flatten() {
                found.push(document::read::<T>(item)?.value);
            }
        }
        Ok(found)
    }

    /// Writes down what a shim reports of a session. Two reads, one after the other, and one commit, of
    /// the events alone where they move nothing; where a run moves it is read besides, and where one
    /// ends, the container and the next run.
    pub async fn shim_reported(&self, shim: ShimCaller, report: &Report) -> Result<Receipt, Error> {
        retry_conflict(self, || self.try_report(shim, report)).await
    }

    async fn try_report(&self, shim: ShimCaller, report: &Report) -> Result<Receipt, Error> {
        let mut turn = match Turn::continuing(self, shim.scope, report.session).await {
            Err(Error::NotFound(_)) => return Ok(Receipt::Stale),
            turn => turn?,
        };
        let count = report.events.len();
        let skip = match turn.session.admit(shim.container, shim.generation, report.first, count) {
            Admission::Take { skip } => skip,
            Admission::Known | Admission::Gap => {
                return Ok(Receipt::Next(turn.session.reports.map_or(0, |reports| reports.next)));
            }
            Admission::Stale => return Ok(Receipt::Stale),
        };
        // A closed session reads as before.
        if turn.session.state == SessionState::Completed {
            return Ok(Receipt::Stale);
        }
        // Of a run whose turn comes within this report, nobody can know anything yet.
        let active = turn.session.active;
        let next = report.first + count as u64;
        if let Some(reports) = &mut turn.session.reports {
            reports.next = next;
        }
        let mut flight = Flight { active, run: None };
        for event in &report.events[skip..] {
            match (&event.what, event.run) {
                (What::Update { kind, data }, run) => {
                    // What belongs to a run that is not in flight any more comes too late.
                    if run.is_none() || run == turn.session.active {
                        turn.session.offers.hear(kind, data.get());
                        if kind == event::SETTING_REFUSED {
                            turn.session.setup.settings.give_up(data.get());
                        }
                        turn.draft(Draft { kind: kind.clone(), run, data: data.clone() });
                    }
                }
                (What::Forked { session, acp_session }, _) => {
                    turn.forked(self, *session, Ok(acp_session)).await?;
                }
                (What::ForkLost { session, why }, _) => {
                    turn.forked(self, *session, Err(why)).await?;
                }
                (What::Started { acp_session, can_fork }, Some(id)) => {
                    turn.session.begun(acp_session);
                    turn.session.offers.fork = *can_fork;
                    if let Some(run) = flight.take(self, &turn, id).await? {
                        flight.run = Some(if run.value.state == RunState::Dispatching {
                            turn.step(run, RunEvent::Start, None)?
                        } else {
                            run
                        });
                    }
                }
                (What::Asked(request), Some(id)) => {
                    if let Some(run) = flight.take(self, &turn, id).await? {
                        flight.run = Some(ask(&mut turn, run, request)?);
                    }
                }
                (What::Elicited(request), Some(id)) => {
                    if let Some(run) = flight.take(self, &turn, id).await? {
                        flight.run = Some(elicit(&mut turn, run, request)?);
                    }
                }
                (What::Replied { request, action }, Some(id)) => {
                    if let Some(run) = flight.take(self, &turn, id).await? {
                        flight.run = Some(take_reply(&mut turn, run, request, action)?);
                    }
                }
                (What::Answered { request, outcome }, Some(id)) => {
                    if let Some(run) = flight.take(self, &turn, id).await? {
                        flight.run = Some(take_answer(&mut turn, run, request, outcome)?);
                    }
                }
                (What::Ended(ended), Some(id)) => {
                    if let Some(run) = flight.take(self, &turn, id).await? {
                        let (event, end) = ending(ended, &run.value.output, turn.session.state);
                        turn.finish(self, run, event, end, ended.usage).await?;
                        turn.offers_login(&ended.auth_methods);
                        turn.is_well();
                    }
                }
                (
                    What::Started { .. }
                    | What::Asked(_)
                    | What::Elicited(_)
                    | What::Answered { .. }
                    | What::Replied { .. }
                    | What::Ended(_),
                    None,
                ) => {}
            }
        }
        if let Some(run) = flight.run {
            let expect = run.expect();
            turn.keep(run.value, expect);
        }
        self.commit_own("session.report", turn.into_writes(self).await?).await?;
        Ok(Receipt::Next(next))
    }

    /// Passes on what is being said right now. Reads who follows it, unless nobody can.
    pub async fn shim_said(&self, shim: ShimCaller, live: Live) {
        let Live { agent, session, run, kind, offset, data } = live;
        let event = LiveEvent { kind, run, time: self.now(), offset, data };
        if let Err(error) = self.stream().say(shim.scope, agent, session, &event).await {
            tracing::warn!(%shim, %error, "what is being said reaches no stream");
        }
        self.ports.feed.publish_live(shim.scope.realm(), session, event);
    }

    /// A shim says what became of an agent's process. One read and, where it is news, one commit.
    pub async fn shim_process(&self, shim: ShimCaller, process: &Process) -> Result<(), Error> {
        retry_conflict(self, || async {
            let Some(before) = self.start_of(shim).await? else { return Ok(()) };
            let now = self.now();
            let event = match process.state {
                ProcessState::Ready => InstanceEvent::Ready,
                ProcessState::AuthRequired => InstanceEvent::AuthRequired,
                ProcessState::Exited => InstanceEvent::Exit,
                ProcessState::Failed => InstanceEvent::Fail,
            };
            let detail = process.detail.as_ref().map(|line| line.chars().take(500).collect());
            let auth_methods = process.auth_methods.clone();
            let word =
                Word { asked: process.asked, event, detail, auth_methods, walls: process.walls };
            let mut container = before.value.clone();
            if !container.heard(process.agent, word, now) {
                return Ok(());
            }
            let writes = store::container::write(Some(&before), &container, Bounds::NONE, now);
            self.commit_own("instance.heard", writes).await
        })
        .await
    }

    /// The container, if the shim's start is the present one.
    async fn start_of(&self, shim: ShimCaller) -> Result<Option<Loaded<Container>>, Error> {
        let container = self.containers().load(shim.scope, shim.container).await?;
        Ok(container.filter(|c| c.value.generation == shim.generation && c.value.state.may_run()))
    }
}

/// The run in flight, read once per report and only when the report moves it. Once it has ended,
/// nothing more is taken of it.
struct Flight {
    active: Option<RunId>,
    run: Option<Loaded<Run>>,
}

impl Flight {
    async fn take(
        &mut self,
        app: &App,
        turn: &Turn,
        id: RunId,
    ) -> Result<Option<Loaded<Run>>, Error> {
        if self.active != Some(id) || turn.session.active != Some(id) {
            return Ok(None);
        }
        match self.run.take() {
            Some(run) => Ok(Some(run)),
            None => load_run(app, turn.scope, id).await.map(Some),
        }
    }
}

/// How an agent is started in a container: its own environment is laid over the container's.
fn plan(agent: &Agent, container: &Container) -> AgentPlan {
    let mut plan = AgentPlan::compile(&agent.spec);
    for (name, value) in &container.profile.env {
        plan.env.entry(name.to_string()).or_insert_with(|| value.to_string());
    }
    plan
}

/// The same for a session: its environment is laid over the agent's.
fn in_session(plan: &AgentPlan, session: &Session) -> AgentPlan {
    let mut plan = plan.clone();
    let own = session.setup.env.iter();
    plan.env.extend(own.map(|(name, value)| (name.to_string(), value.to_string())));
    plan
}

/// The answers that an agent has not got yet.
fn answers(run: &Run) -> impl Iterator<Item = Command> {
    let allowed = run.permissions.iter().filter_map(|asked| {
        Some(Command::Answer {
            session: run.session,
            run: run.id,
            request: asked.id.clone(),
            answer: asked.answer.clone()?,
        })
    });
    let replied = run.elicitations.iter().filter_map(|asked| {
        Some(Command::Reply {
            session: run.session,
            run: run.id,
            request: asked.id.clone(),
            reply: asked.reply.clone()?,
        })
    });
    allowed.chain(replied)
}

/// The agent waits for permission.
fn ask(
    turn: &mut Turn,
    mut run: Loaded<Run>,
    request: &wire::shim::PermissionRequest,
) -> Result<Loaded<Run>, Error> {
    #[derive(Deserialize)]
    struct ToolCall {
        #[serde(default)]
        title: String,
    }
    let id = request.request.clone();
    if run.value.permissions.len() >= MAX_REQUESTS
        || !matches!(run.value.state, RunState::Streaming | RunState::AwaitingApproval)
    {
        return Ok(run);
    }
    let data = json!({
        "requestId": id, "toolCall": request.tool_call, "options": request.options,
    });
    turn.draft(draft(event::PERMISSION_REQUEST, run.value.id, &data)?);
    let tool_call = serde_json::from_str::<ToolCall>(request.tool_call.get());
    let title = tool_call.map(|call| call.title.chars().take(500).collect()).unwrap_or_default();
    let options = request.options.iter().take(MAX_OPTIONS).cloned().collect();
    run.value.permissions.push(PermissionRequest { id, title, options, answer: None });
    if run.value.state == RunState::Streaming {
        run = turn.step(run, RunEvent::Ask, None)?;
    }
    Ok(run)
}

/// The agent has an answer.
fn take_answer(
    turn: &mut Turn,
    mut run: Loaded<Run>,
    request: &str,
    outcome: &RawValue,
) -> Result<Loaded<Run>, Error> {
    let data = json!({ "requestId": request, "outcome": outcome });
    turn.draft(draft(event::PERMISSION_RESPONSE, run.value.id, &data)?);
    run.value.permissions.retain(|asked| asked.id != request);
    go_on(turn, run)
}

/// A run that waits for nobody any more goes on.
fn go_on(turn: &mut Turn, run: Loaded<Run>) -> Result<Loaded<Run>, Error> {
    if run.value.waits() || run.value.state != RunState::AwaitingApproval {
        return Ok(run);
    }
    turn.step(run, RunEvent::Answer, None)
}

/// The agent wants to know something from somebody.
fn elicit(
    turn: &mut Turn,
    mut run: Loaded<Run>,
    request: &wire::shim::ElicitationRequest,
) -> Result<Loaded<Run>, Error> {
    if run.value.elicitations.len() >= MAX_ELICITATIONS
        || !matches!(run.value.state, RunState::Streaming | RunState::AwaitingApproval)
    {
        return Ok(run);
    }
    let mut data = json!(request.inquiry);
    data["requestId"] = json!(request.request);
    data["message"] = json!(request.message);
    if let Some(call) = &request.tool_call {
        data["toolCallId"] = json!(call);
    }
    turn.draft(draft(event::ELICITATION_REQUEST, run.value.id, &data)?);
    run.value.elicitations.push(Elicitation {
        id: request.request.clone(),
        message: request.message.clone(),
        inquiry: request.inquiry.clone(),
        reply: None,
    });
    if run.value.state == RunState::Streaming {
        run = turn.step(run, RunEvent::Ask, None)?;
    }
    Ok(run)
}

/// The agent has an answer to what it wanted to know.
fn take_reply(
    turn: &mut Turn,
    mut run: Loaded<Run>,
    request: &str,
    action: &str,
) -> Result<Loaded<Run>, Error> {
    let data = json!({ "requestId": request, "action": action });
    turn.draft(draft(event::ELICITATION_RESPONSE, run.value.id, &data)?);
    run.value.elicitations.retain(|asked| asked.id != request);
    go_on(turn, run)
}

fn draft(kind: &str, run: RunId, data: &serde_json::Value) -> Result<Draft, Error> {
    let data =
        serde_json::value::to_raw_value(data).map_err(|_| Error::Bug("an event serialises"))?;
    Ok(Draft { kind: kind.to_owned(), run: Some(run), data })
}

/// How a run is taken to have ended. That an answer fits its schema is not believed but seen.
fn ending(ended: &Ended, output: &Output, session: SessionState) -> (RunEvent, End) {
    let end = End {
        stop_reason: ended.stop_reason.clone(),
        code: ended.code.clone(),
        detail: ended.detail.as_ref().map(|detail| detail.chars().take(2000).collect()),
        structured: None,
    };
    if ended.outcome == Outcome::Completed
        && let Some(schema) = output.schema()
    {
        let judged = Contract::new(schema).map_err(|why| why.to_string()).and_then(|contract| {
            let answer = ended.structured.as_ref().ok_or("there is no answer")?;
            contract.judge(answer).map(|()| answer.clone())
        });
        return match judged {
            Ok(structured) => (RunEvent::Complete, End { structured: Some(structured), ..end }),
            Err(why) => (RunEvent::Fail, End::failure(failure::OUTPUT_INVALID, why)),
        };
    }
    match (ended.outcome, session) {
        (Outcome::Completed, _) => (RunEvent::Complete, end),
        (Outcome::Cancelled, _) => (RunEvent::Cancel, end),
        // It was to be stopped, and it stopped: how it let go does not matter.
        (Outcome::Failed, SessionState::Cancelling) => (RunEvent::Cancel, end),
        (Outcome::Failed, _) => (RunEvent::Fail, end),
    }
}

impl std::fmt::Display for ShimCaller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} generation {}", self.container, self.generation)
    }
}
