//! What a route may touch, and the decorators that hold it to that.

use std::sync::Arc;

use domain::plan::ContainerPlan;
use domain::{AgentId, ContainerId, RealmId, SessionId};
use futures::stream::{self, BoxStream, StreamExt};
use store::{Commit, Error, Item, Key, Page, Query, Table};

use crate::Ports;
use crate::ports::{Compute, ComputeError, Feed, Gone, LiveEvent, Observed, Push, Seen};

/// One thing a route may touch. In the cloud each becomes a statement of the function's policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grant {
    /// Reads of the table, beyond those that authentication makes.
    TableRead,
    /// Commits to the table.
    TableWrite,
    /// Starting and stopping containers.
    Compute,
    /// Frames to connections.
    Push,
    /// What happens in sessions, as it happens.
    Feed,
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
    fn compute(&self) -> Result<&dyn Compute, ComputeError> {
        if self.allows(Grant::Compute) {
            Ok(&*self.inner)
        } else {
            Err(ComputeError::Unavailable(UNDECLARED.into()))
        }
    }
}

#[async_trait::async_trait]
impl Compute for Granted<Arc<dyn Compute>> {
    async fn provision(&self, plan: &ContainerPlan) -> Result<(), ComputeError> {
        self.compute()?.provision(plan).await
    }

    async fn stop(&self, container: ContainerId) -> Result<(), ComputeError> {
        self.compute()?.stop(container).await
    }

    async fn describe(&self, container: ContainerId) -> Result<Option<Observed>, ComputeError> {
        self.compute()?.describe(container).await
    }

    async fn list(&self) -> Result<Vec<Observed>, ComputeError> {
        self.compute()?.list().await
    }

    async fn forget(&self, agent: AgentId) -> Result<(), ComputeError> {
        self.compute()?.forget(agent).await
    }

    async fn ready(&self) -> Result<(), ComputeError> {
        self.compute()?.ready().await
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
