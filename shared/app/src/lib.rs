//! The use cases, one module per resource, and the ports they need.
//!
//! What holds here: a command is validated, authorised, admitted, committed, and only then acted on.
//! One commit writes the new state, the audit entry, the first answer and the errand that is left to
//! do outside. What is done outside is done by [`errands`], which look at the state as it is by then.
//!
//! Deliberately absent: HTTP, `SQLite`, DynamoDB, ECS, and anything that sleeps or spawns.

mod admission;
pub mod agents;
pub mod audit;
mod blob_id;
pub mod bundles;
mod caller;
mod commit;
pub mod containers;
mod elsewhere;
pub mod errands;
mod error;
pub mod events;
pub mod files;
mod grants;
pub mod keys;
mod outside;
pub mod plans;
pub mod ports;
pub mod realms;
pub mod registry;
pub mod runs;
pub mod secrets;
pub mod sessions;
pub mod shim;
pub mod stream;
pub mod templates;
mod turn;
mod uploads;
mod workspaces;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use domain::due::{Due, Errand};
use domain::id::Ulid;
use domain::limits::Limits;
use domain::{DueId, RealmId, Timestamp};
use store::Table;

pub use caller::{Caller, Once};
pub use error::Error;
pub use grants::Grant;
use ports::{Blobs, Bundles, Clock, Compute, Feed, Fetch, Ids, Push, Uploads, Workspaces};

/// What a platform gives the use cases.
#[derive(Clone, Debug)]
pub struct Ports {
    /// Where everything is stored.
    pub table: Arc<dyn Table>,
    /// Where containers run.
    pub compute: Arc<dyn Compute>,
    /// How frames reach connections.
    pub push: Arc<dyn Push>,
    /// What happens in sessions, as it happens.
    pub feed: Arc<dyn Feed>,
    /// Where what is large is kept.
    pub blobs: Arc<dyn Blobs>,
    /// Where bytes wait for the request they are for.
    pub uploads: Arc<dyn Uploads>,
    /// The directories that agents work in.
    pub workspaces: Arc<dyn Workspaces>,
    /// Servers outside.
    pub fetch: Arc<dyn Fetch>,
    /// Bundles made of what they have.
    pub bundles: Arc<dyn Bundles>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Ids and secrets.
    pub ids: Arc<dyn Ids>,
}

/// What an installation decides.
#[derive(Clone)]
pub struct Settings {
    /// Signs the tokens of shims. The same for every process of an installation, forever. A function
    /// that neither makes nor checks such a token goes without.
    pub signing_key: Option<[u8; 32]>,
    /// How long a shim may be silent before its container counts as lost.
    pub silence: Duration,
    /// How long a container may take from its start to the first word of its shim.
    pub start: Duration,
    /// How often a platform that does not answer is asked for one start, with growing pauses.
    pub start_tries: u32,
    /// How long a scheduler may take over one errand before another takes it.
    pub lease: Duration,
    /// How long a client may be sent the past of a topic before it is asked to come back for the rest.
    pub replay: Duration,
    /// How long nobody is looked for, once nobody was found to follow what is being said: a client that
    /// comes in that time may miss so much of it, and nothing that is durable.
    pub unheard: Duration,
    /// Where clients open streams: a WebSocket address.
    pub stream_url: String,
    /// Where agents of the catalog come from, and what bundles are made of.
    pub sources: registry::Sources,
    /// Where streams of events are followed, where that is somewhere else.
    pub events_url: Option<String>,
    /// What an agent may take.
    pub limits: Limits,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings").field("silence", &self.silence).finish_non_exhaustive()
    }
}

impl Settings {
    /// The usual times, with this key, and nowhere to open streams.
    pub fn new(signing_key: Option<[u8; 32]>) -> Self {
        Self {
            signing_key,
            silence: Duration::from_secs(20),
            start: Duration::from_secs(30),
            start_tries: 3,
            lease: Duration::from_secs(30),
            replay: Duration::from_secs(20),
            unheard: Duration::ZERO,
            sources: registry::Sources::official(),
            stream_url: String::new(),
            events_url: None,
            limits: Limits::default(),
        }
    }
}

/// The use cases over one platform. Cheap to clone.
#[derive(Clone, Debug)]
pub struct App {
    ports: Arc<Ports>,
    settings: Arc<Settings>,
    /// Milliseconds.
    listens_since: Arc<AtomicU64>,
    unheard: Arc<stream::Unheard>,
}

impl App {
    /// The use cases over `ports`.
    pub fn new(ports: Ports, settings: Settings) -> Self {
        Self {
            ports: Arc::new(ports),
            settings: Arc::new(settings),
            listens_since: Arc::default(),
            unheard: Arc::default(),
        }
    }

    /// The same use cases, refusing every call of a port that `grants` does not name: what IAM does
    /// in the cloud, done here, so that a forgotten grant fails on a laptop.
    #[must_use]
    pub fn narrow(&self, grants: &'static [Grant]) -> Self {
        Self { ports: Arc::new(grants::narrow(&self.ports, grants)), ..self.clone() }
    }

    /// From now on shims can be heard here, and could not before: who is silent is so from now on. For a
    /// control plane of one process that starts; where others hear them besides, nobody says so.
    pub fn listen_from_now(&self) {
        self.listens_since.store(self.now().as_millis(), Ordering::Relaxed);
    }

    /// Since when shims can be heard.
    pub(crate) fn listens_since(&self) -> Timestamp {
        Timestamp::from_millis(self.listens_since.load(Ordering::Relaxed))
    }

    /// Whether the table and the platform answer. Costs one read and one look at the platform.
    pub async fn ready(&self) -> Result<(), Error> {
        self.table().get(&store::keys::api_key(domain::KeyId::new(Ulid::nil()))).await?;
        self.ports.compute.ready().await.map_err(Error::from)
    }

    /// A fresh id for a request.
    pub fn request_id(&self) -> domain::RequestId {
        domain::RequestId::new(self.ulid(self.now()))
    }

    pub(crate) fn table(&self) -> &dyn Table {
        &*self.ports.table
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.ports.clock.now()
    }

    /// A new errand in a realm, due at `at`.
    pub(crate) fn due(&self, realm: RealmId, errand: Errand, at: Timestamp) -> Due {
        Due::new(DueId::new(self.ulid(self.now())), realm, errand, at)
    }

    pub(crate) fn ulid(&self, now: Timestamp) -> Ulid {
        self.ports.ids.ulid(now)
    }
}
