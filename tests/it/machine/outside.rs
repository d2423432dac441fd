//! What the control plane acts on: a platform that holds containers, and a shim in each.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use app::ports::{Compute, ComputeError, Gone, Observed, Push};
use async_trait::async_trait;
use domain::plan::ContainerPlan;
use domain::run::PermissionOption;
use domain::{AgentId, ContainerId, RunId, SessionId};
use serde_json::value::to_raw_value;
use wire::shim::{Command, Down, Ended, Outcome, PermissionRequest, Report, ReportEvent, What};

use super::fate::Fate;

/// What a shim has said of a session, from the beginning of its start.
#[derive(Clone, Debug)]
pub(super) enum Said {
    Started(RunId),
    Update(RunId, u64),
    Asked(RunId, u64),
    Answered(RunId, u64),
    Ended(RunId, Outcome),
}

impl Said {
    fn event(&self) -> ReportEvent {
        match self {
            Self::Started(run) => ReportEvent {
                run: Some(*run),
                what: What::Started { acp_session: "acp".into(), can_fork: false },
            },
            Self::Update(run, mark) => {
                let data = to_raw_value(&serde_json::json!({ "mark": mark })).unwrap();
                ReportEvent {
                    run: Some(*run),
                    what: What::Update { kind: "tool_call".into(), data },
                }
            }
            Self::Asked(run, mark) => {
                let option = |id: &str| PermissionOption {
                    option_id: id.to_owned(),
                    name: id.to_owned(),
                    kind: "allow_once".to_owned(),
                };
                let request = PermissionRequest {
                    request: mark.to_string(),
                    tool_call: to_raw_value(&serde_json::json!({ "title": "may I?" })).unwrap(),
                    options: vec![option("y"), option("n")],
                };
                ReportEvent { run: Some(*run), what: What::Asked(request) }
            }
            Self::Answered(run, mark) => {
                let outcome = to_raw_value(&serde_json::json!({ "outcome": "selected" })).unwrap();
                let what = What::Answered { request: mark.to_string(), outcome };
                ReportEvent { run: Some(*run), what }
            }
            Self::Ended(run, outcome) => {
                let code = (*outcome == Outcome::Failed).then(|| "agent_error".to_owned());
                let (stop_reason, detail, usage) = (None, None, None);
                let ended = Ended {
                    outcome: *outcome,
                    stop_reason,
                    code,
                    detail,
                    usage,
                    structured: None,
                    auth_methods: Vec::new(),
                };
                ReportEvent { run: Some(*run), what: What::Ended(ended) }
            }
        }
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct Journal {
    pub(super) said: Vec<Said>,
    pub(super) acked: u64,
}

#[derive(Clone, Debug)]
pub(super) struct Shim {
    pub(super) observed: Observed,
    pub(super) agent: AgentId,
    pub(super) token: String,
    pub(super) connection: Option<String>,
    pub(super) flying: BTreeMap<RunId, (SessionId, bool)>,
    pub(super) known: BTreeSet<RunId>,
    /// What agents wait to be allowed.
    pub(super) asking: BTreeMap<RunId, u64>,
    pub(super) journals: BTreeMap<SessionId, Journal>,
}

impl Shim {
    pub(super) fn say(&mut self, session: SessionId, said: Said) {
        self.journals.entry(session).or_default().said.push(said);
    }

    /// A frame that says up to `count` things of a session, from `from` on.
    pub(super) fn report(&self, session: SessionId, from: u64, count: usize) -> Option<Report> {
        let said = &self.journals.get(&session)?.said;
        let rest = said.get(usize::try_from(from).unwrap()..)?;
        let events: Vec<_> = rest.iter().take(count).map(Said::event).collect();
        (!events.is_empty()).then_some(Report { session, first: from, events })
    }

    /// Whether the last command ends it.
    fn obey(&mut self, command: Command, given: &mut BTreeMap<RunId, u32>) -> bool {
        match command {
            Command::Stop => return true,
            // Its processes, and what it remembers, are no part of this.
            Command::Process(_) | Command::Close { .. } => {}
            Command::Prompt(prompt) => {
                if self.known.insert(prompt.run) {
                    *given.entry(prompt.run).or_default() += 1;
                    self.flying.insert(prompt.run, (prompt.session, false));
                    self.say(prompt.session, Said::Started(prompt.run));
                }
            }
            Command::Cancel { session, run } => {
                if let Some((_, cancelled)) = self.flying.get_mut(&run) {
                    *cancelled = true;
                } else if self.known.insert(run) {
                    self.say(session, Said::Ended(run, Outcome::Cancelled));
                }
            }
            Command::Answer { session, run, request, .. }
            | Command::Reply { session, run, request, .. } => {
                let waits = self.asking.get(&run).is_some_and(|mark| mark.to_string() == request);
                if waits && let Some(mark) = self.asking.remove(&run) {
                    self.say(session, Said::Answered(run, mark));
                }
            }
        }
        false
    }
}

/// What the platform does when it is asked for a start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Mood {
    #[default]
    Willing,
    Refuses,
    Fails,
}

#[derive(Debug, Default)]
pub(super) struct Outside {
    pub(super) mood: Mood,
    pub(super) live: BTreeMap<ContainerId, Shim>,
    /// What has ended, whose frames may still be on their way.
    pub(super) dead: Vec<Shim>,
    /// Ends of which the control plane has not been told.
    pub(super) exits: Vec<Observed>,
    /// Agents with something on disk.
    pub(super) disks: BTreeSet<AgentId>,
    /// How often an agent got a prompt.
    pub(super) given: BTreeMap<RunId, u32>,
    pub(super) marks: u64,
}

impl Outside {
    /// The container ends by itself.
    pub(super) fn exit(&mut self, id: ContainerId) {
        if let Some(shim) = self.live.remove(&id) {
            self.exits.push(shim.observed);
            self.dead.push(shim);
        }
    }

    pub(super) fn hear(&mut self, id: ContainerId, down: Down) {
        let Some(shim) = self.live.get_mut(&id) else { return };
        let ends = match down {
            Down::Refused { .. } => true,
            // What its agents keep is no part of this.
            Down::Told(_) => false,
            Down::Part(part) => panic!("nothing said here is too long for a frame: {part:?}"),
            Down::Commands(all) => {
                let mut ends = false;
                for command in all {
                    ends |= shim.obey(command, &mut self.given);
                }
                ends
            }
            Down::Ack { session, next } => {
                let journal = shim.journals.entry(session).or_default();
                assert!(next <= journal.said.len() as u64, "what was not said is acknowledged");
                journal.acked = journal.acked.max(next);
                false
            }
        };
        if ends {
            self.exit(id);
        }
    }
}

/// The platform and the pushes, as the control plane sees them.
#[derive(Clone, Debug)]
pub(super) struct Platform {
    pub(super) outside: Arc<Mutex<Outside>>,
    pub(super) fate: Arc<Fate>,
}

impl Platform {
    async fn pass<T>(&self, step: impl FnOnce(&mut Outside) -> T) -> Result<T, ComputeError> {
        self.fate.pace().await;
        let done = self.fate.pass(|| step(&mut self.outside.lock().unwrap()));
        self.fate.pace().await;
        done.map_err(|dead| ComputeError::Unavailable(Box::new(dead)))
    }
}

#[async_trait]
impl Compute for Platform {
    async fn provision(&self, plan: &ContainerPlan) -> Result<(), ComputeError> {
        let started = self.pass(|outside| {
            match outside.mood {
                Mood::Willing => {}
                Mood::Refuses => return Err(ComputeError::Refused("no room".to_owned())),
                Mood::Fails => {
                    return Err(ComputeError::Unavailable(Box::new(std::fmt::Error)));
                }
            }
            let Observed { realm, container, generation } = Observed {
                realm: plan.realm,
                container: plan.container,
                generation: plan.generation,
            };
            match outside.live.get(&container).map(|shim| shim.observed.generation) {
                Some(runs) if runs == generation => return Ok(()),
                Some(runs) if runs > generation => {
                    return Err(ComputeError::Refused("over".to_owned()));
                }
                Some(_) => outside.dead.extend(outside.live.remove(&container)),
                None => {}
            }
            outside.disks.insert(plan.agent);
            let shim = Shim {
                observed: Observed { realm, container, generation },
                agent: plan.agent,
                token: plan.token.clone(),
                connection: None,
                flying: BTreeMap::new(),
                known: BTreeSet::new(),
                asking: BTreeMap::new(),
                journals: BTreeMap::new(),
            };
            outside.live.insert(container, shim);
            Ok(())
        });
        started.await?
    }

    async fn stop(&self, container: ContainerId) -> Result<(), ComputeError> {
        let stopped = self.pass(|outside| {
            let Some(shim) = outside.live.remove(&container) else { return Ok(()) };
            // Every other start takes a while to end: it is told to, and asked after.
            let slow = shim.observed.generation % 2 == 1;
            outside.dead.push(shim);
            if slow { Err(ComputeError::Leaving) } else { Ok(()) }
        });
        stopped.await?
    }

    async fn describe(&self, container: ContainerId) -> Result<Option<Observed>, ComputeError> {
        self.pass(|outside| outside.live.get(&container).map(|shim| shim.observed)).await
    }

    async fn list(&self) -> Result<Vec<Observed>, ComputeError> {
        self.pass(|outside| outside.live.values().map(|shim| shim.observed).collect()).await
    }

    async fn forget(&self, agent: AgentId) -> Result<(), ComputeError> {
        let forget = |outside: &mut Outside| {
            let gone: Vec<_> =
                outside.live.values().filter(|shim| shim.agent == agent).cloned().collect();
            for shim in gone {
                outside.dead.extend(outside.live.remove(&shim.observed.container));
            }
            outside.disks.remove(&agent);
        };
        self.pass(forget).await
    }

    async fn ready(&self) -> Result<(), ComputeError> {
        Ok(())
    }
}

#[async_trait]
impl Push for Platform {
    async fn deliver(&self, connection: &str, frame: String) -> Result<(), Gone> {
        let deliver = |outside: &mut Outside| {
            let here = |shim: &&Shim| shim.connection.as_deref() == Some(connection);
            let id =
                outside.live.values().find(here).map(|shim| shim.observed.container).ok_or(Gone)?;
            outside.hear(id, serde_json::from_str(&frame).unwrap());
            Ok(())
        };
        self.pass(deliver).await.map_err(|_| Gone)?
    }

    // No use case closes a shim's connection.
    async fn close(&self, _: &str) {}
}
