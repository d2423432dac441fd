//! What is wanted of agents' processes beside prompts, and what is told of them.
//!
//! What holds here: what somebody wants is done once, in order, however often it is repeated; what
//! becomes of a process is told with the number of what was done before, so an old word about it is
//! known to be old.

use std::rc::Rc;

use domain::AgentId;
use domain::walls::Standing;
use wire::shim::{Process, ProcessCommand, ProcessState, failure};

use super::Shared;
use super::failure::Failure;

impl Shared {
    /// Carries out what is wanted of an agent's process, unless it has been.
    pub(super) fn obey(self: &Rc<Self>, command: ProcessCommand) {
        let ProcessCommand { agent, asked, end, start } = command;
        if self.asked.borrow().get(&agent).is_some_and(|&done| done >= asked) {
            return;
        }
        self.asked.borrow_mut().insert(agent, asked);
        let shared = Rc::clone(self);
        tokio::task::spawn_local(async move {
            if end {
                shared.end_all_of(agent).await;
            }
            // Somebody may want something else by now.
            if shared.asked.borrow().get(&agent) != Some(&asked) {
                return;
            }
            let fetched = match &start {
                Some(_) => shared.fetch(agent).await,
                None => Ok(()),
            };
            match start.map(|plan| fetched.and_then(|()| shared.instance(agent, &plan))) {
                // It tells when it has been greeted; one that has been tells again.
                Some(Ok(instance)) => match instance.ready().await {
                    Ok(_) => shared.tell(agent, ProcessState::Ready, None),
                    Err(why) => shared.tell_end(agent, &why),
                },
                Some(Err(why)) => shared.tell_end(agent, &why),
                None => shared.tell(agent, ProcessState::Exited, None),
            }
        });
    }

    /// Has an agent that lives and can forget a conversation do so.
    pub(super) fn forget(self: &Rc<Self>, agent: AgentId, conversation: String) {
        let able =
            |one: &&Rc<super::Instance>| one.agent == agent && one.lives() && one.can().delete;
        let Some(instance) = self.instances.borrow().iter().find(able).cloned() else { return };
        let patience = self.timing.start;
        tokio::task::spawn_local(async move {
            let _busy = instance.hold();
            instance.forget(&conversation, patience).await;
        });
    }

    async fn end_all_of(&self, agent: AgentId) {
        let of = |instance: &&Rc<_>| -> bool {
            let instance: &Rc<super::Instance> = instance;
            instance.agent == agent
        };
        let instances: Vec<_> = self.instances.borrow().iter().filter(of).cloned().collect();
        let why = || Failure::new(failure::AGENT_EXITED, "somebody stopped the agent");
        futures::future::join_all(instances.iter().map(|instance| instance.kill(why()))).await;
        self.tidy();
    }

    /// Tells what an agent's process is now.
    pub(super) fn tell(&self, agent: AgentId, state: ProcessState, why: Option<&Failure>) {
        let asked = self.asked.borrow().get(&agent).copied().unwrap_or_default();
        let walls = match state {
            ProcessState::Ready => self.walls(agent),
            ProcessState::AuthRequired | ProcessState::Exited | ProcessState::Failed => {
                Standing::NONE
            }
        };
        let detail = why.map(|why| why.detail.clone());
        let auth_methods = why.map(|why| why.log_ins.clone()).unwrap_or_default();
        self.outbox.process(Process { agent, asked, state, detail, auth_methods, walls });
    }

    /// What stands around the processes of an agent that has some.
    fn walls(&self, agent: AgentId) -> Standing {
        let instances = self.instances.borrow();
        let of = instances.iter().filter(|instance| instance.agent == agent && instance.lives());
        of.map(|instance| instance.walls()).reduce(Standing::and).unwrap_or_default()
    }

    /// Tells that an agent's process ended, or never was, because of `why`. One that has another by now
    /// is not at its end.
    pub(super) fn tell_end(&self, agent: AgentId, why: &Failure) {
        let lives = |instance: &Rc<super::Instance>| instance.agent == agent && instance.lives();
        if self.instances.borrow().iter().any(lives) {
            return;
        }
        let state = match why.code {
            failure::AUTH_REQUIRED => ProcessState::AuthRequired,
            failure::AGENT_UNAVAILABLE => ProcessState::Failed,
            _ => ProcessState::Exited,
        };
        self.tell(agent, state, Some(why));
    }
}
