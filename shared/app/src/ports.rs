//! What the use cases need of the platform beside the table. Each port has one conformance suite in
//! `tests`, which every implementation passes.

use std::fmt;

use domain::event::Event;
use domain::id::Ulid;
use domain::plan::ContainerPlan;
use domain::{AgentId, ContainerId, RealmId, RunId, SessionId, Timestamp};
use futures::stream::BoxStream;
use serde_json::value::RawValue;
use wire::event::LiveView;

/// Why the platform did not do it.
#[derive(Debug, thiserror::Error)]
pub enum ComputeError {
    /// It cannot be done as asked, now or later: the plan names what the platform does not have, or
    /// the machine forbids it. The text says what to change and is fit for the caller.
    #[error("{0}")]
    Refused(String),
    /// It did not work this time.
    #[error("the platform could not do it")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// What the platform says of one container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Observed {
    /// The realm it was started for.
    pub realm: RealmId,
    /// The container.
    pub container: ContainerId,
    /// Which start of it.
    pub generation: u32,
}

/// Where containers run.
#[async_trait::async_trait]
pub trait Compute: Send + Sync + fmt::Debug {
    /// Starts the container of `plan` and returns once the platform has it. Idempotent by container
    /// and generation: while that start lives, asking again changes nothing. An older generation
    /// that still lives is stopped first.
    async fn provision(&self, plan: &ContainerPlan) -> Result<(), ComputeError>;

    /// Ends every process of the container and removes what it held, but for workspace and home.
    /// Returns when nothing is left. Idempotent; an unknown container is a stopped one.
    async fn stop(&self, container: ContainerId) -> Result<(), ComputeError>;

    /// What runs under this id, if anything does.
    async fn describe(&self, container: ContainerId) -> Result<Option<Observed>, ComputeError>;

    /// Everything that runs: what the reconciler compares with the table.
    async fn list(&self) -> Result<Vec<Observed>, ComputeError>;

    /// Removes the agent's workspace and home for good. Idempotent.
    async fn forget(&self, agent: AgentId) -> Result<(), ComputeError>;

    /// Whether containers can be started here; the reason where they cannot.
    async fn ready(&self) -> Result<(), ComputeError>;
}

/// The connection is gone: nothing will be delivered on it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the connection is gone")]
pub struct Gone;

/// Delivers frames to connections that somebody else opened.
#[async_trait::async_trait]
pub trait Push: Send + Sync + fmt::Debug {
    /// Hands `frame` to the connection. A frame that was handed over may still be lost with the
    /// connection: what matters is repeated from the table.
    async fn deliver(&self, connection: &str, frame: String) -> Result<(), Gone>;

    /// Ends the connection, after what was handed over. Idempotent; an unknown one has ended already.
    async fn close(&self, connection: &str);

    /// Returns once the connection can take many frames at once, for who has many and can wait. A
    /// connection that does not take what it was given is gone.
    async fn relaxed(&self, _connection: &str) -> Result<(), Gone> {
        Ok(())
    }

    /// Whether it is certain that no client is connected: then nobody has to be looked for.
    fn deserted(&self) -> bool {
        false
    }
}

/// One thing a subscriber of a session sees.
#[derive(Clone, Debug)]
pub enum Seen {
    /// A durable event.
    Event(std::sync::Arc<Event>),
    /// A piece of what is being said right now. Not durable, not numbered.
    Live(std::sync::Arc<LiveEvent>),
    /// More was published than the subscriber took: read the durable past again.
    Lagged,
}

/// A piece of what is being said right now.
#[derive(Clone, Debug)]
pub struct LiveEvent {
    /// `agent_message_delta` or `agent_thought_delta`.
    pub kind: String,
    /// The run.
    pub run: RunId,
    /// When the control plane passed it on.
    pub time: Timestamp,
    /// How many characters of its message came before this piece.
    pub offset: u64,
    /// `{"messageId","text"}`.
    pub data: Box<RawValue>,
}

impl LiveEvent {
    /// As streams show it.
    pub fn view(&self) -> LiveView<'_> {
        let Self { kind, run, time, offset, data } = self;
        LiveView { kind, run_id: *run, time: *time, offset: *offset, data }
    }
}

/// What happens in sessions, as it happens. The platform publishes each durable event after its
/// commit, in order; the use cases publish what is live only.
pub trait Feed: Send + Sync + fmt::Debug {
    /// Publishes a piece of what is being said right now.
    fn publish_live(&self, realm: RealmId, session: SessionId, live: LiveEvent);

    /// What is published from now on. Never slows a publisher: a slow subscriber sees
    /// [`Seen::Lagged`].
    fn subscribe(&self, realm: RealmId, session: SessionId) -> BoxStream<'static, Seen>;
}

/// Tells the time, so that tests can.
#[async_trait::async_trait]
pub trait Clock: Send + Sync + fmt::Debug {
    /// Now.
    fn now(&self) -> Timestamp;

    /// Returns when `time` has passed.
    async fn wait(&self, time: std::time::Duration);
}

/// Makes ids and secrets, so that tests can.
pub trait Ids: Send + Sync + fmt::Debug {
    /// A fresh ULID at `now`, larger than every one this process made before.
    fn ulid(&self, now: Timestamp) -> Ulid;

    /// 32 random bytes from the operating system.
    fn secret(&self) -> [u8; 32];
}
