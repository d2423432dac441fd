//! The ports of one function: those that its grants name, and refusals for the rest.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use api::Access;
use app::ports::{
    BlobError, BlobId, Blobs, Compute, ComputeError, Elsewhere, Feed, Gone, LiveEvent, NoBundles,
    NoFetch, NoUploads, Observed, Push, Seen, Shelf, Shelved,
};
use app::{App, Grant, Ports, Settings};
use aws::blobs::Bucket;
use aws::compute::Ecs;
use aws::push::Connections;
use aws::uploads::BucketUploads;
use aws::{Capacity, DynamoTable, Environment, PolledFeed, Secret};
use domain::plan::ContainerPlan;
use domain::{AgentId, ContainerId, RealmId, SessionId};
use futures::stream::{self, BoxStream, StreamExt};
use gate::{Function, Need, Route};
use host::fetch::{HttpFetch, Reach};
use store::{Commit, Item, Key, Page, Query, Table};

use crate::Error;
use crate::process::Process;

/// How long a task may take from the order until its shim speaks: an address, an image.
const START: Duration = Duration::from_mins(3);

/// The same on machines of the cluster, of which there may be none: ECS asks for one when it has looked
/// for a minute, and then one has to start.
const START_ON_MACHINES: Duration = Duration::from_mins(10);

/// A cluster that is full may have room a minute later: over three minutes, with the usual pauses.
const START_TRIES: u32 = 14;

/// How long a shim may be silent, which says something every minute at least.
const SILENCE: Duration = Duration::from_secs(150);

/// A shim says something every quarter of a second, and each look at who follows it is three reads.
const UNHEARD: Duration = Duration::from_secs(2);

/// How long a scheduler may take over one errand: longer than its function may live, so that no two
/// carry out one errand at once.
pub(crate) const LEASE: Duration = Duration::from_secs(150);

/// What a function is built for.
pub(crate) struct Wanted {
    grants: Vec<Grant>,
    signing_key: bool,
    elsewhere: bool,
}

impl Wanted {
    /// What a route declares, and what it takes to find out who calls it.
    pub(crate) fn of_route(route: &Route) -> Self {
        let mut grants = route.grants.to_vec();
        if route.access != Access::Public {
            grants.push(Grant::TableRead);
        }
        // An HTTP API neither streams nor waits.
        Self { grants, signing_key: false, elsewhere: true }
    }

    /// What a function declares.
    pub(crate) fn of_function(function: &Function) -> Self {
        let signing_key = function.needs.contains(&Need::SigningKey);
        Self { grants: function.grants.to_vec(), signing_key, elsewhere: false }
    }

    fn any(&self, grants: &[Grant]) -> bool {
        grants.iter().any(|grant| self.grants.contains(grant))
    }
}

/// The use cases, over the ports that are wanted. Asks nothing of the network but for the signing
/// key, where that is wanted.
pub(crate) async fn app(process: &Process, wanted: &Wanted) -> Result<App, Error> {
    let (environment, clock) = (&process.environment, &process.clock);
    let sdk = |grants: &[Grant]| wanted.any(grants).then(|| process.sdk()).transpose();
    let ports = Ports {
        table: match sdk(&[Grant::TableRead, Grant::TableWrite])? {
            Some(sdk) => Arc::new(DynamoTable::new(sdk, environment, Arc::clone(clock))?),
            None => Arc::new(Ungranted),
        },
        compute: match sdk(&[Grant::ComputeStart, Grant::ComputeStop])? {
            Some(sdk) => Arc::new(Ecs::new(sdk, environment)?),
            None => Arc::new(Ungranted),
        },
        push: match sdk(&[Grant::Push])? {
            Some(sdk) => Arc::new(Connections::new(sdk, environment)?),
            None => Arc::new(Ungranted),
        },
        feed: if wanted.any(&[Grant::Feed]) {
            Arc::new(PolledFeed::new(Arc::clone(clock)))
        } else {
            Arc::new(Ungranted)
        },
        blobs: match sdk(&[Grant::BlobRead, Grant::BlobWrite])? {
            Some(sdk) => Arc::new(Bucket::new(sdk, environment)?),
            None => Arc::new(Ungranted),
        },
        uploads: match sdk(&[Grant::UploadOpen, Grant::UploadTake])? {
            Some(sdk) => Arc::new(BucketUploads::new(sdk, environment)?),
            None => Arc::new(NoUploads),
        },
        // While a container has a workspace, only its shim can reach it.
        workspaces: Arc::new(Elsewhere),
        fetch: if wanted.any(&[Grant::Outside]) {
            Arc::new(HttpFetch::new(Reach::default())?)
        } else {
            Arc::new(NoFetch)
        },
        // Tasks start from an image: what is pinned is built into it.
        bundles: Arc::new(NoBundles),
        clock: Arc::clone(clock),
        ids: Arc::clone(&process.ids),
    };
    let signing_key = if wanted.signing_key { Some(signing_key(process).await?) } else { None };
    let events_url = environment.events_url().ok().filter(|_| wanted.elsewhere);
    // Only who makes tickets says where they open a stream.
    let stream_url = environment.stream_url().map(str::to_owned).unwrap_or_default();
    let settings = Settings {
        stream_url,
        silence: SILENCE,
        start: start(&process.environment),
        start_tries: START_TRIES,
        lease: LEASE,
        unheard: UNHEARD,
        events_url: events_url.map(str::to_owned),
        ..Settings::new(signing_key)
    };
    Ok(App::new(ports, settings))
}

/// How long a start may take. Who is not told what containers run on starts none.
fn start(environment: &Environment) -> Duration {
    match environment.capacity() {
        Ok(Capacity::Ec2) => START_ON_MACHINES,
        Ok(Capacity::Fargate) | Err(_) => START,
    }
}

/// The way to connections, for who answers on them.
pub(crate) fn push(process: &Process) -> Result<Arc<dyn Push>, Error> {
    Ok(Arc::new(Connections::new(process.sdk()?, &process.environment)?))
}

async fn signing_key(process: &Process) -> Result<[u8; 32], Error> {
    let name = process.environment.signing_secret()?;
    let held = Secret::new(process.sdk()?, name).read().await?;
    held.and_then(|text| from_hex(text.trim()))
        .ok_or_else(|| format!("the secret {name} is not 64 hexadecimal digits").into())
}

/// What CloudFormation can make up by itself.
fn from_hex(text: &str) -> Option<[u8; 32]> {
    let digits: Vec<u8> = text
        .chars()
        .map(|digit| digit.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
        .collect::<Option<_>>()?;
    let bytes: Vec<u8> = digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect();
    if digits.len() == 64 { bytes.try_into().ok() } else { None }
}

/// Every port that a function did not ask for.
#[derive(Debug)]
struct Ungranted;

const UNGRANTED: &str = "the function was not granted what it touches";

#[async_trait::async_trait]
impl Table for Ungranted {
    async fn get(&self, _: &Key) -> Result<Option<Item>, store::Error> {
        Err(store::Error::Invalid(UNGRANTED))
    }

    async fn batch_get(&self, _: &[Key]) -> Result<Vec<Option<Item>>, store::Error> {
        Err(store::Error::Invalid(UNGRANTED))
    }

    async fn query(&self, _: Query) -> Result<Page, store::Error> {
        Err(store::Error::Invalid(UNGRANTED))
    }

    async fn commit(&self, _: Commit) -> Result<(), store::Error> {
        Err(store::Error::Invalid(UNGRANTED))
    }
}

impl Ungranted {
    fn compute<T>() -> Result<T, ComputeError> {
        Err(ComputeError::Unavailable(UNGRANTED.into()))
    }
}

#[async_trait::async_trait]
impl Compute for Ungranted {
    async fn provision(&self, _: &ContainerPlan) -> Result<(), ComputeError> {
        Self::compute()
    }

    async fn stop(&self, _: ContainerId) -> Result<(), ComputeError> {
        Self::compute()
    }

    async fn describe(&self, _: ContainerId) -> Result<Option<Observed>, ComputeError> {
        Self::compute()
    }

    async fn list(&self) -> Result<Vec<Observed>, ComputeError> {
        Self::compute()
    }

    async fn forget(&self, _: AgentId) -> Result<(), ComputeError> {
        Self::compute()
    }

    async fn ready(&self) -> Result<(), ComputeError> {
        Self::compute()
    }
}

impl Ungranted {
    fn blobs<T>() -> Result<T, BlobError> {
        Err(BlobError::Unavailable(UNGRANTED.into()))
    }
}

#[async_trait::async_trait]
impl Blobs for Ungranted {
    async fn put(&self, _: Shelf, _: Vec<u8>) -> Result<BlobId, BlobError> {
        Self::blobs()
    }

    async fn get(&self, _: Shelf, _: BlobId) -> Result<Option<Vec<u8>>, BlobError> {
        Self::blobs()
    }

    async fn get_part(
        &self,
        _: Shelf,
        _: BlobId,
        _: Range<u64>,
    ) -> Result<Option<Vec<u8>>, BlobError> {
        Self::blobs()
    }

    async fn size(&self, _: Shelf, _: BlobId) -> Result<Option<u64>, BlobError> {
        Self::blobs()
    }

    async fn delete(&self, _: Shelf, _: BlobId) -> Result<(), BlobError> {
        Self::blobs()
    }

    async fn list(&self, _: Shelf, _: Option<BlobId>, _: usize) -> Result<Vec<Shelved>, BlobError> {
        Self::blobs()
    }
}

#[async_trait::async_trait]
impl Push for Ungranted {
    async fn deliver(&self, _: &str, _: String) -> Result<(), Gone> {
        tracing::error!(UNGRANTED);
        Err(Gone)
    }

    async fn close(&self, _: &str) {
        tracing::error!(UNGRANTED);
    }
}

impl Feed for Ungranted {
    fn publish_live(&self, _: RealmId, _: SessionId, _: LiveEvent) {
        tracing::error!(UNGRANTED);
    }

    fn subscribe(&self, _: RealmId, _: SessionId) -> BoxStream<'static, Seen> {
        tracing::error!(UNGRANTED);
        stream::empty().boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Otherwise each start from no machine at all would be taken for lost, and try by try be given up.
    #[test]
    fn a_machine_has_the_time_to_start() {
        let on = |capacity: &str| {
            let set = |name: &str| (name == "REEVE_CAPACITY").then(|| capacity.to_owned());
            start(&Environment::from_vars(set))
        };
        assert_eq!(on("FARGATE"), START);
        assert_eq!(on(""), START);
        assert!(on("EC2") >= Duration::from_mins(8));
    }
}
