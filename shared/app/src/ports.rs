//! What the use cases need of the platform beside the table. Each port has one conformance suite in
//! `tests`, which every implementation passes.

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use domain::event::Event;
use domain::id::Ulid;
use domain::plan::ContainerPlan;
use domain::text::Slug;
use domain::{AgentId, ContainerId, RealmId, RunId, SessionId, Timestamp};
use futures::stream::BoxStream;
use serde_json::value::RawValue;
use store::Scope;
use wire::event::LiveView;

pub use crate::blob_id::BlobId;
pub use crate::outside::{
    Bundles, Fetch, FetchError, FetchRequest, Fetched, Kept as KeptContent, MakeError, NoBundles,
    NoFetch,
};
pub use crate::secrets::SecretValue;
pub use crate::uploads::{NoUploads, UploadError, Uploads};
pub use crate::workspaces::{
    Elsewhere, Found, Kind, Opened, Part, Pieces, Put, Walk, WorkspaceError, Workspaces,
};

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
    /// What is to be stopped has been told to and is on its way out: ask again in a while.
    #[error("what runs has been told to stop and has not yet")]
    Leaving,
}

/// What the platform says of one container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
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
    /// Returns when nothing is left, or, where that takes a while, at once with
    /// [`ComputeError::Leaving`]: who asks again learns when it is done. Idempotent; an unknown container
    /// is a stopped one.
    async fn stop(&self, container: ContainerId) -> Result<(), ComputeError>;

    /// The same for one start, and for no later one that may have taken its place; where the end takes a
    /// while it is not waited for. A platform that does several things at once overrides this: between
    /// look and stop another start may have come.
    async fn remove(&self, start: Observed) -> Result<(), ComputeError> {
        if self.describe(start.container).await? == Some(start) {
            return match self.stop(start.container).await {
                Err(ComputeError::Leaving) => Ok(()),
                stopped => stopped,
            };
        }
        Ok(())
    }

    /// What runs under this id, if anything does.
    async fn describe(&self, container: ContainerId) -> Result<Option<Observed>, ComputeError>;

    /// Everything that runs: what the reconciler compares with the table. Where several starts of one
    /// container do, each of them.
    async fn list(&self) -> Result<Vec<Observed>, ComputeError>;

    /// How long a start may run before [`describe`](Self::describe) and [`list`](Self::list) show it.
    fn lag(&self) -> Duration {
        Duration::ZERO
    }

    /// Removes the agent's workspace and home for good. Idempotent.
    async fn forget(&self, agent: AgentId) -> Result<(), ComputeError>;

    /// Removes the workspace and home of an agent that is in a container which others are in, too, and
    /// of which no process runs any more. Idempotent. Nothing where those go with the container.
    async fn evict(&self, _container: ContainerId, _agent: AgentId) -> Result<(), ComputeError> {
        Ok(())
    }

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
    async fn wait(&self, time: Duration);
}

/// Makes ids and secrets, so that tests can.
pub trait Ids: Send + Sync + fmt::Debug {
    /// A fresh ULID at `now`, larger than every one this process made before.
    fn ulid(&self, now: Timestamp) -> Ulid;

    /// 32 random bytes from the operating system.
    fn secret(&self) -> [u8; 32];
}

/// Why a vault did not do it. Says nothing of a value, ever.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// A secret of this name is there already.
    #[error("a secret of this name is there already")]
    Exists,
    /// There is no secret of this name.
    #[error("there is no secret of this name")]
    Missing,
    /// The secret has been changed since the caller looked.
    #[error("the secret has another version by now")]
    Stale,
    /// It cannot be done as asked. The text says why and is fit for the caller.
    #[error("{0}")]
    Refused(String),
    /// It did not work this time.
    #[error("the vault could not do it")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// A secret as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Which value this is. A later value has a larger version, and no two values of a realm ever
    /// have the same, not even of a name that was deleted and put again.
    pub version: u64,
    /// The value.
    pub value: SecretValue,
}

/// A secret in a listing: everything but its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// Its name.
    pub name: Slug,
    /// Which value it has.
    pub version: u64,
}

/// Keeps secrets: names of a realm, each with a value that nobody sees who does not ask for it by
/// name.
///
/// A value is text of 1 to [`MAX_SECRET`](crate::secrets::MAX_SECRET) bytes. What all secrets of a
/// realm may have together is limited, too, by
/// [`MAX_SECRETS`](crate::secrets::MAX_SECRETS): more is refused, and says so. Values are at rest
/// only encrypted, and are in no listing, no error and no `Debug`.
///
/// A change is durable when it is answered, and is there whole or not at all, whatever is killed
/// when. Changes of one realm happen one after the other, whoever makes them: none is lost to
/// another that was made at the same time.
#[async_trait::async_trait]
pub trait Vault: Send + Sync + fmt::Debug {
    /// Keeps a new secret. Answers with its version. [`VaultError::Exists`] where there is one.
    async fn put(&self, scope: Scope, name: &Slug, value: &SecretValue) -> Result<u64, VaultError>;

    /// The secret, if there is one.
    async fn get(&self, scope: Scope, name: &Slug) -> Result<Option<Kept>, VaultError>;

    /// Gives a secret another value, where it still has `version`. Answers with the new version. The
    /// old value is gone.
    async fn rotate(
        &self,
        scope: Scope,
        name: &Slug,
        version: u64,
        value: &SecretValue,
    ) -> Result<u64, VaultError>;

    /// Removes a secret. Idempotent.
    async fn delete(&self, scope: Scope, name: &Slug) -> Result<(), VaultError>;

    /// Up to `limit` names behind `after`, in order. Fewer than `limit` are the last.
    async fn list(
        &self,
        scope: Scope,
        after: Option<&Slug>,
        limit: usize,
    ) -> Result<Vec<Named>, VaultError>;
}

/// The most bytes a blob may have. What is larger is cut into several by who stores it.
pub const MAX_BLOB: usize = 32 * 1024 * 1024;

/// Why a blob store did not do it.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// More than [`MAX_BLOB`].
    #[error("a blob has at most {MAX_BLOB} bytes")]
    TooLarge,
    /// What is stored under this name is not what the name says.
    #[error("the blob {0} is damaged")]
    Damaged(BlobId),
    /// It did not work this time.
    #[error("the blobs could not be reached")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Where blobs are kept: each agent has a place of its own, and no blob is in two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shelf {
    scope: Scope,
    agent: AgentId,
}

impl Shelf {
    /// The shelf of an agent.
    pub const fn of(scope: Scope, agent: AgentId) -> Self {
        Self { scope, agent }
    }

    /// The realm it is in.
    pub const fn realm(&self) -> RealmId {
        self.scope.realm()
    }

    /// Whose it is.
    pub const fn agent(&self) -> AgentId {
        self.agent
    }
}

/// A blob in a listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shelved {
    /// Its name.
    pub id: BlobId,
    /// When it was put. Who has put it again since may have left no trace.
    pub put_at: Timestamp,
}

/// Keeps bytes under the SHA-256 of what they are: on a shelf, the same bytes are kept once.
///
/// What was put is durable when it is answered, and is there whole or not at all. There is no way to
/// change a blob. Who deletes one sees to it that nobody needs it, and that nobody who puts the same
/// at that moment counts on it: a put that finds the bytes there writes nothing.
#[async_trait::async_trait]
pub trait Blobs: Send + Sync + fmt::Debug {
    /// Keeps `bytes`, at most [`MAX_BLOB`]. Idempotent.
    async fn put(&self, whose: Shelf, bytes: Vec<u8>) -> Result<BlobId, BlobError>;

    /// The bytes, compared with their name, if they are there.
    async fn get(&self, whose: Shelf, id: BlobId) -> Result<Option<Vec<u8>>, BlobError>;

    /// The bytes of `range`, as far as the blob has them, if it is there. Only the whole can be
    /// compared with its name: a part is what the platform has stored.
    async fn get_part(
        &self,
        whose: Shelf,
        id: BlobId,
        range: Range<u64>,
    ) -> Result<Option<Vec<u8>>, BlobError>;

    /// How many bytes it has, if it is there.
    async fn size(&self, whose: Shelf, id: BlobId) -> Result<Option<u64>, BlobError>;

    /// Removes it. Idempotent.
    async fn delete(&self, whose: Shelf, id: BlobId) -> Result<(), BlobError>;

    /// Up to `limit` blobs of a shelf behind `after`, by name. Fewer than `limit`, at most 1000, are the
    /// last. Costs what is on the shelf.
    async fn list(
        &self,
        whose: Shelf,
        after: Option<BlobId>,
        limit: usize,
    ) -> Result<Vec<Shelved>, BlobError>;
}
