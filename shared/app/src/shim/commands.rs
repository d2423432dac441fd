//! What a shim is to do.

use std::collections::{BTreeMap, BTreeSet};

use domain::agent::Agent;
use domain::container::{Container, ContainerState};
use domain::instance::Wish;
use domain::realm::Realm;
use domain::run::{Run, RunState};
use domain::session::{Session, SessionState};
use domain::workspace::History;
use store::plan::Stored;
use store::{Scope, document, keys};
use wire::shim::{Command, ProcessCommand, PromptCommand};

use super::ShimCaller;
use crate::{App, Error};

impl App {
    /// All that is pending for a container: derived from the state of its sessions, so it can be
    /// asked for and sent any number of times. Reads the container, its sessions, their runs and
    /// the plans of those: four round trips, however many sessions, and one for each session that is copied for others;
    /// on one machine another, for whose workspace is being rolled back or imported into.
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
        let planned: BTreeSet<_> = runs.iter().filter_map(|run| run.plan).collect();
        let planned: Vec<_> = planned.into_iter().map(|hash| keys::plan(scope, hash)).collect();
        let planned = self.read_all::<Stored>(&planned).await?;
        let plans: BTreeMap<_, _> = planned.into_iter().map(|one| (one.hash, one.plan)).collect();
        // A workspace that is being rolled back or imported into is nobody's to work in. Who prompted
        // before it began would have kept it from beginning; who did later is seen with it.
        let mut restoring = BTreeSet::new();
        if self.ports.workspaces.are_here() {
            let busy: BTreeSet<_> = container.busy.values().collect();
            let ids: Vec<_> = busy.into_iter().map(|&id| keys::history(scope, id)).collect();
            let histories = self.read_all::<History>(&ids).await?;
            let held = histories.iter().filter(|history| history.restoring.is_some());
            restoring.extend(held.map(|history| history.agent));
        }
        let starts = wished.iter().filter(|(_, one)| one.wish != Some(Wish::Stop));
        let ids: Vec<_> = starts.map(|(id, _)| keys::agent(scope, **id)).collect();
        let mut starts = BTreeMap::new();
        if !ids.is_empty()
            && let Some(realm) = document::get::<Realm>(self.table(), &keys::realm(scope)).await?
        {
            for agent in self.read_all::<Agent>(&ids).await? {
                let profile = &container.profile;
                if let Some(process) =
                    self.plans().process(&realm.value, scope, &agent, profile).await?
                {
                    starts.insert(agent.id, process);
                }
            }
        }
        let mut commands = Vec::new();
        for (&agent, instance) in wished {
            let Some(wish) = instance.wish else { continue };
            let start = starts.remove(&agent);
            let end = wish != Wish::Start;
            let command = ProcessCommand { agent, asked: instance.asked, end, start };
            commands.push(Command::Process(Box::new(command)));
        }
        for run in runs {
            // One of the catalog has none until its bundle is ready.
            let Some(plan) = run.plan.and_then(|hash| plans.get(&hash)) else { continue };
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
                    agent: plan.process.clone(),
                    working_dir: plan.working_dir.clone(),
                    mcp_servers: plan.mcp_servers.clone(),
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
