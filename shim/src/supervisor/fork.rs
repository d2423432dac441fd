//! Conversations that begin as copies of others.
//!
//! What holds here: in one start of the container a copy is made once, by whoever comes first: the
//! session that begins with it, or the one that is copied, before its agent gets another prompt. The
//! latter goes on only when it is written down outside that the copy was made.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::{Rc, Weak};

use agent_client_protocol_schema::v1::{ForkSessionRequest, SessionId as AcpSessionId};
use domain::SessionId;
use domain::session::Fork;
use serde_json::value::RawValue;
use tokio::sync::OnceCell;
use wire::shim::{PromptCommand, What, failure};

use super::failure::Failure;
use super::hello::Capabilities;
use super::instance::Instance;
use super::session::Session;
use super::{Shared, setup};
use crate::acp::message::{AUTH_REQUIRED, Fault, METHOD_NOT_FOUND};

/// A copy that was made.
#[derive(Debug)]
struct Copy {
    /// The agent's own id for it.
    acp: String,
    /// Where it is open, and what was said when it was opened; taken by the session that begins so.
    open: RefCell<Option<(Weak<Instance>, Box<RawValue>)>>,
}

/// The copies, by the sessions that begin with them.
#[derive(Debug, Default)]
pub(super) struct Forks(RefCell<BTreeMap<SessionId, Rc<OnceCell<Copy>>>>);

impl Forks {
    fn of(&self, session: SessionId) -> Rc<OnceCell<Copy>> {
        Rc::clone(self.0.borrow_mut().entry(session).or_default())
    }
}

impl Shared {
    /// Lets go of the copy that a closed session was to begin with, and of what is known of it.
    pub(super) fn drop_copy(&self, session: SessionId) {
        let copy = self.forks.0.borrow_mut().remove(&session);
        let open = copy.and_then(|cell| {
            cell.get().and_then(|copy| Some((copy.acp.clone(), copy.open.take()?)))
        });
        if let Some((acp, (place, _))) = open
            && let Some(instance) = place.upgrade()
        {
            let patience = self.timing.start;
            tokio::task::spawn_local(async move { instance.part(&acp, patience).await });
        }
    }
}

impl Session {
    /// The conversation with which this session begins: a copy of another.
    pub(super) async fn begin_as_copy(
        &self,
        instance: &Rc<Instance>,
        can: &Capabilities,
        prompt: &PromptCommand,
        fork: &Fork,
    ) -> Result<String, Failure> {
        if let Some(why) = &fork.lost {
            return Err(Failure::new(failure::FORK_FAILED, why));
        }
        self.copy(instance, can, prompt, prompt.session, &fork.conversation).await
    }

    /// Has the agent copy the conversation for the sessions that begin so, before it goes on.
    pub(super) async fn copy_for_others(
        &self,
        instance: &Rc<Instance>,
        prompt: &PromptCommand,
    ) -> Result<(), Failure> {
        if prompt.forks.is_empty() {
            return Ok(());
        }
        let can = instance.can();
        for fork in &prompt.forks {
            let session = fork.session;
            let copied = self.copy(instance, &can, prompt, session, &fork.conversation).await;
            let what = match copied {
                Ok(acp_session) => What::Forked { session, acp_session },
                Err(why)
                    if [failure::FORK_FAILED, failure::FORK_UNSUPPORTED].contains(&why.code) =>
                {
                    What::ForkLost { session, why: why.detail }
                }
                Err(why) => return Err(why),
            };
            self.stream.push(Some(prompt.run), what);
        }
        self.shared.outbox.told(prompt.session).await;
        Ok(())
    }

    /// Listens to a copy that is open already. False where it is to be opened first.
    pub(super) async fn take_copy(
        &self,
        instance: &Rc<Instance>,
        session: SessionId,
        acp: &str,
    ) -> bool {
        let cell = self.shared.forks.of(session);
        let Some(copy) = cell.get().filter(|copy| copy.acp == acp) else { return false };
        let open = copy.open.take();
        let Some((_, opened)) =
            open.filter(|(place, _)| place.upgrade().is_some_and(|one| Rc::ptr_eq(&one, instance)))
        else {
            return false;
        };
        // Some agents tell what they copied: it is history.
        self.stream.mute(true);
        instance.listen(acp, &self.stream).await;
        self.stream.settled().await;
        self.stream.mute(false);
        self.stream.offers(&opened);
        true
    }

    /// The agent's id for the copy of `conversation` that `session` begins with, made where nobody has.
    async fn copy(
        &self,
        instance: &Rc<Instance>,
        can: &Capabilities,
        prompt: &PromptCommand,
        session: SessionId,
        conversation: &str,
    ) -> Result<String, Failure> {
        if !can.fork {
            return Err(unsupported());
        }
        let make = || async {
            let source = AcpSessionId::new(conversation);
            let request = ForkSessionRequest::new(source, setup::place(instance, prompt))
                .mcp_servers(setup::servers(prompt));
            let made = self.made(instance, can, "session/fork", &request, refused).await?;
            let (acp, opened) = made;
            Ok(Copy { acp, open: RefCell::new(Some((Rc::downgrade(instance), opened))) })
        };
        let cell = self.shared.forks.of(session);
        cell.get_or_try_init(make).await.map(|copy| copy.acp.clone())
    }
}

fn unsupported() -> Failure {
    Failure::new(failure::FORK_UNSUPPORTED, "the agent cannot fork a conversation")
}

fn refused(fault: &Fault) -> Failure {
    match fault.code {
        AUTH_REQUIRED => Failure::from_fault(fault),
        METHOD_NOT_FOUND => unsupported(),
        _ => Failure::new(failure::FORK_FAILED, Failure::from_fault(fault).detail),
    }
}
