//! What a route may touch, and the decorators that hold it to that.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use domain::Digest;
use domain::bundle::{Content, Pinned};
use domain::plan::ContainerPlan;
use domain::upload::Upload;
use domain::workspace::WorkspacePath;
use domain::{AgentId, ContainerId, RealmId, SessionId};
use futures::stream::{self, BoxStream, StreamExt};
use store::{Commit, Error, Item, Key, Page, Query, Table};

use crate::Ports;
use crate::files::Incoming;
use crate::ports::{
    BlobError, BlobId, Blobs, Bundles, Compute, ComputeError, Feed, Fetch, FetchError,
    FetchRequest, Fetched, Gone, KeptContent, LiveEvent, MakeError, Observed, Opened, Part, Push,
    Put, Seen, Shelf, Shelved, UploadError, Uploads, Walk, WorkspaceError, Workspaces,
};

/// One thing a route may touch. In the cloud each becomes a statement of the function's policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grant {
    /// Reads of the table, beyond those that authentication makes.
    TableRead,
    /// Commits to the table.
    TableWrite,
    /// Starting containers; what is left of an older start ends first, which takes
    /// [`ComputeStop`](Self::ComputeStop) as well.
    ComputeStart,
    /// Looking at containers that run, and ending them.
    ComputeStop,
    /// Frames to connections.
    Push,
    /// What happens in sessions, as it happens.
    Feed,
    /// Reads of blobs.
    BlobRead,
    /// Keeping and removing blobs.
    BlobWrite,
    /// Looking at the files of agents.
    WorkspaceRead,
    /// Changing the files of agents.
    WorkspaceWrite,
    /// Servers outside, and bundles made of what they have.
    Outside,
    /// Answering with more than the platform passes on at once. One machine passes on anything; in the
    /// cloud the answer is left where who asked is sent to.
    Outgoing,
    /// Saying where uploads are put.
    UploadOpen,
    /// What has been put there.
    UploadTake,
}

#[derive(Debug)]
struct Granted<P> {
    inner: P,
    grants: &'static [Grant],
}

impl<P> Granted<P> {
    fn allows(&self, grant: Grant) -> bool {
        let allowed = self.grants.contains(&grant);
        if !allowed {
            tracing::error!(?grant, "a route touches what it did not declare");
        }
        allowed
    }
}

const UNDECLARED: &str = "the route did not declare what it touches";

pub(crate) fn narrow(ports: &Ports, grants: &'static [Grant]) -> Ports {
    Ports {
        table: Arc::new(Granted { inner: Arc::clone(&ports.table), grants }),
        compute: Arc::new(Granted { inner: Arc::clone(&ports.compute), grants }),
        push: Arc::new(Granted { inner: Arc::clone(&ports.push), grants }),
        feed: Arc::new(Granted { inner: Arc::clone(&ports.feed), grants }),
        blobs: Arc::new(Granted { inner: Arc::clone(&ports.blobs), grants }),
        uploads: Arc::new(Granted { inner: Arc::clone(&ports.uploads), grants }),
        workspaces: Arc::new(Granted { inner: Arc::clone(&ports.workspaces), grants }),
        fetch: Arc::new(Granted { inner: Arc::clone(&ports.fetch), grants }),
        bundles: Arc::new(Granted { inner: Arc::clone(&ports.bundles), grants }),
        clock: Arc::clone(&ports.clock),
        ids: Arc::clone(&ports.ids),
    }
}

#[async_trait::async_trait]
impl Table for Granted<Arc<dyn Table>> {
    async fn get(&self, key: &Key) -> Result<Option<Item>, Error> {
        if self.allows(Grant::TableRead) {
            self.inner.get(key).await
        } else {
            Err(Error::Invalid(UNDECLARED))
        }
    }

    async fn batch_get(&self, keys: &[Key]) -> Result<Vec<Option<Item>>, Error> {
        if self.allows(Grant::TableRead) {
            self.inner.batch_get(keys).await
        } else {
            Err(Error::Invalid(UNDECLARED))
        }
    }

    async fn query(&self, query: Query) -> Result<Page, Error> {
        if self.allows(Grant::TableRead) {
            self.inner.query(query).await
        } else {
            Err(Error::Invalid(UNDECLARED))
        }
    }

    async fn commit(&self, commit: Commit) -> Result<(), Error> {
        if self.allows(Grant::TableWrite) {
            self.inner.commit(commit).await
        } else {
            Err(Error::Invalid(UNDECLARED))
        }
    }
}

impl Granted<Arc<dyn Compute>> {
    fn compute(&self, grant: Grant) -> Result<&dyn Compute, ComputeError> {
        if self.allows(grant) {
            Ok(&*self.inner)
        } else {
            Err(ComputeError::Unavailable(UNDECLARED.into()))
        }
    }
}

#[async_trait::async_trait]
impl Compute for Granted<Arc<dyn Compute>> {
    async fn provision(&self, plan: &ContainerPlan) -> Result<(), ComputeError> {
        self.compute(Grant::ComputeStart)?.provision(plan).await
    }

    async fn stop(&self, container: ContainerId) -> Result<(), ComputeError> {
        self.compute(Grant::ComputeStop)?.stop(container).await
    }

    async fn remove(&self, start: Observed) -> Result<(), ComputeError> {
        self.compute(Grant::ComputeStop)?.remove(start).await
    }

    async fn describe(&self, container: ContainerId) -> Result<Option<Observed>, ComputeError> {
        self.compute(Grant::ComputeStop)?.describe(container).await
    }

    async fn list(&self) -> Result<Vec<Observed>, ComputeError> {
        self.compute(Grant::ComputeStop)?.list().await
    }

    fn lag(&self) -> std::time::Duration {
        self.inner.lag()
    }

    async fn forget(&self, agent: AgentId) -> Result<(), ComputeError> {
        self.compute(Grant::ComputeStop)?.forget(agent).await
    }

    async fn evict(&self, container: ContainerId, agent: AgentId) -> Result<(), ComputeError> {
        self.compute(Grant::ComputeStop)?.evict(container, agent).await
    }

    async fn ready(&self) -> Result<(), ComputeError> {
        self.compute(Grant::ComputeStop)?.ready().await
    }
}

#[async_trait::async_trait]
impl Push for Granted<Arc<dyn Push>> {
    async fn deliver(&self, connection: &str, frame: String) -> Result<(), Gone> {
        if self.allows(Grant::Push) {
            self.inner.deliver(connection, frame).await
        } else {
            Err(Gone)
        }
    }

    async fn close(&self, connection: &str) {
        if self.allows(Grant::Push) {
            self.inner.close(connection).await;
        }
    }

    async fn relaxed(&self, connection: &str) -> Result<(), Gone> {
        if self.allows(Grant::Push) { self.inner.relaxed(connection).await } else { Err(Gone) }
    }

    fn deserted(&self) -> bool {
        self.inner.deserted()
    }
}

impl Feed for Granted<Arc<dyn Feed>> {
    fn publish_live(&self, realm: RealmId, session: SessionId, live: LiveEvent) {
        if self.allows(Grant::Feed) {
            self.inner.publish_live(realm, session, live);
        }
    }

    fn subscribe(&self, realm: RealmId, session: SessionId) -> BoxStream<'static, Seen> {
        if self.allows(Grant::Feed) {
            self.inner.subscribe(realm, session)
        } else {
            stream::empty().boxed()
        }
    }
}

impl Granted<Arc<dyn Blobs>> {
    fn blobs(&self, grant: Grant) -> Result<&dyn Blobs, BlobError> {
        if self.allows(grant) {
            Ok(&*self.inner)
        } else {
            Err(BlobError::Unavailable(UNDECLARED.into()))
        }
    }
}

#[async_trait::async_trait]
impl Blobs for Granted<Arc<dyn Blobs>> {
    async fn put(&self, whose: Shelf, bytes: Vec<u8>) -> Result<BlobId, BlobError> {
        self.blobs(Grant::BlobWrite)?.put(whose, bytes).await
    }

    async fn get(&self, whose: Shelf, id: BlobId) -> Result<Option<Vec<u8>>, BlobError> {
        self.blobs(Grant::BlobRead)?.get(whose, id).await
    }

    async fn get_part(
        &self,
        whose: Shelf,
        id: BlobId,
        range: Range<u64>,
    ) -> Result<Option<Vec<u8>>, BlobError> {
        self.blobs(Grant::BlobRead)?.get_part(whose, id, range).await
    }

    async fn size(&self, whose: Shelf, id: BlobId) -> Result<Option<u64>, BlobError> {
        self.blobs(Grant::BlobRead)?.size(whose, id).await
    }

    async fn delete(&self, whose: Shelf, id: BlobId) -> Result<(), BlobError> {
        self.blobs(Grant::BlobWrite)?.delete(whose, id).await
    }

    async fn list(
        &self,
        whose: Shelf,
        after: Option<BlobId>,
        limit: usize,
    ) -> Result<Vec<Shelved>, BlobError> {
        self.blobs(Grant::BlobRead)?.list(whose, after, limit).await
    }
}

impl Granted<Arc<dyn Uploads>> {
    fn uploads(&self, grant: Grant) -> Result<&dyn Uploads, UploadError> {
        if self.allows(grant) { Ok(&*self.inner) } else { Err(UploadError(UNDECLARED.into())) }
    }
}

#[async_trait::async_trait]
impl Uploads for Granted<Arc<dyn Uploads>> {
    async fn address(&self, upload: &Upload) -> Result<String, UploadError> {
        self.uploads(Grant::UploadOpen)?.address(upload).await
    }

    async fn content(&self, upload: &Upload) -> Result<Option<Incoming>, UploadError> {
        self.uploads(Grant::UploadTake)?.content(upload).await
    }

    async fn forget(&self, upload: &Upload) -> Result<(), UploadError> {
        self.uploads(Grant::UploadTake)?.forget(upload).await
    }
}

impl Granted<Arc<dyn Workspaces>> {
    fn workspaces(&self, grant: Grant) -> Result<&dyn Workspaces, WorkspaceError> {
        if self.allows(grant) {
            Ok(&*self.inner)
        } else {
            Err(WorkspaceError::Unavailable(io::Error::other(UNDECLARED)))
        }
    }
}

#[async_trait::async_trait]
impl Workspaces for Granted<Arc<dyn Workspaces>> {
    fn are_here(&self) -> bool {
        self.inner.are_here()
    }

    async fn walk(&self, agent: AgentId, part: Part) -> Result<Walk, WorkspaceError> {
        self.workspaces(Grant::WorkspaceRead)?.walk(agent, part).await
    }

    async fn open(
        &self,
        agent: AgentId,
        path: &WorkspacePath,
    ) -> Result<Option<Opened>, WorkspaceError> {
        self.workspaces(Grant::WorkspaceRead)?.open(agent, path).await
    }

    async fn put(
        &self,
        agent: AgentId,
        path: &WorkspacePath,
        what: Put,
    ) -> Result<(), WorkspaceError> {
        self.workspaces(Grant::WorkspaceWrite)?.put(agent, path, what).await
    }

    async fn remove(&self, agent: AgentId, path: &WorkspacePath) -> Result<bool, WorkspaceError> {
        self.workspaces(Grant::WorkspaceWrite)?.remove(agent, path).await
    }

    async fn turn(&self, agent: AgentId) -> Box<dyn Send> {
        self.inner.turn(agent).await
    }
}

#[async_trait::async_trait]
impl Fetch for Granted<Arc<dyn Fetch>> {
    async fn fetch(
        &self,
        request: &FetchRequest,
        into: &mut (dyn io::Write + Send),
    ) -> Result<Fetched, FetchError> {
        if self.allows(Grant::Outside) {
            self.inner.fetch(request, into).await
        } else {
            Err(FetchError::Forbidden(UNDECLARED.to_owned()))
        }
    }
}

#[async_trait::async_trait]
impl Bundles for Granted<Arc<dyn Bundles>> {
    async fn make(&self, pinned: &Pinned) -> Result<Content, MakeError> {
        if self.allows(Grant::Outside) {
            self.inner.make(pinned).await
        } else {
            Err(MakeError::Passing(UNDECLARED.to_owned()))
        }
    }

    async fn check(&self, content: Digest) -> Result<KeptContent, MakeError> {
        if self.allows(Grant::Outside) {
            self.inner.check(content).await
        } else {
            Err(MakeError::Passing(UNDECLARED.to_owned()))
        }
    }
}
