//! Containers as Linux sandboxes, without root and without a daemon.
//!
//! What holds here
//! - A sandbox has its own user, mount, pid, network, ipc, uts and cgroup namespace. It sees the
//!   host's programs read-only, its agent's workspace and home, and the socket that is its only way
//!   out. Its shim has capabilities in that user namespace alone, to put walls around each agent;
//!   no agent has one or can get one. As root, no uid in it is a user of the host, and each agent
//!   has one of its own.
//! - A sandbox outlives the process that started it and is found by the next one
//!   ([`Sandbox::adopt`]): what proves its life is a lock the kernel holds for it, never a file alone.
//!   A crash between any two steps leaves either a sandbox that can be found or none.
//! - Its first process dies with its supervisor, and everything in it dies with its first process.
//! - Operations on one container happen one after the other; on different ones side by side.
//! - `on_exit` is called once for each sandbox that ended by itself, and for no other.
//! - Limits of a whole sandbox are kept by the kernel where the host grants control groups; those of
//!   each agent are watched by the shim everywhere (see `domain::limits`).
//!
//! Deliberately absent: a uid per agent for an ordinary user, who would need ids of `/etc/subuid` and
//! could not remove what is theirs; a control group per agent. The way out is opened by whoever builds
//! a [`Sandbox`]: here is only its path.
//! A user's supplementary groups come along, because the kernel lets no ordinary user drop them.

mod binary;
mod cgroup;
mod forbidden;
mod inside;
mod life;
mod root;
mod spec;
mod start;
mod supervise;
mod tree;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use app::ports::{Compute, ComputeError, Observed};
use async_trait::async_trait;
use domain::limits::Limits;
use domain::plan::{BUNDLES, ContainerPlan};
use domain::walls::Standing;
use domain::{AgentId, ContainerId};
use tokio::sync::OnceCell;

use crate::ceiling::Ceiling;
use crate::faults;
use cgroup::{Cgroups, Groups};
use life::Held;
use spec::{Failure, Spec};
use start::Outside;

pub use spec::Place;
pub(crate) use spec::{Layout, SOCKET};
pub(crate) use start::private;
pub use supervise::supervise;
pub(crate) use tree::{each, remove as remove_tree};

/// What the directory is called that an agent works in, in the directory of the agent.
pub(crate) const WORKSPACE_NAME: &str = "workspace";

/// The directory of an agent: no sandbox sees it, only what is in it.
pub(crate) fn directory_of(data: &Path, agent: AgentId) -> PathBuf {
    Layout { data: data.to_owned() }.agent(agent)
}

/// What [`Sandbox`] is built from.
#[derive(Clone)]
pub struct Config {
    /// The data directory.
    pub data: PathBuf,
    /// Repositories on this host that a plan may name.
    pub repositories: BTreeMap<String, PathBuf>,
    /// The program that calls [`supervise`] when it is started as `<helper> sandbox <document>`.
    pub helper: PathBuf,
    /// What to start instead of the embedded shim.
    pub shim: Option<PathBuf>,
    /// Seconds without a connection after which a shim ends by itself.
    pub orphan_seconds: u64,
    /// What each agent may take.
    pub limits: Limits,
    /// Called before a sandbox starts, and for each that is adopted: listen on the path. It is
    /// shorter than 100 bytes, free, and good until `after_end`.
    pub before_start: Arc<BeforeStart>,
    /// Called when nothing of a sandbox is left, however it ended: stop listening.
    pub after_end: Arc<dyn Fn(Place) + Send + Sync>,
    /// Called when a sandbox has ended by itself and nothing of it is left, after `after_end`.
    pub on_exit: Arc<dyn Fn(Observed) + Send + Sync>,
}

/// See [`Config::before_start`].
pub type BeforeStart = dyn Fn(&Place, &Path) -> io::Result<()> + Send + Sync;

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("data", &self.data)
            .field("repositories", &self.repositories)
            .field("helper", &self.helper)
            .field("shim", &self.shim)
            .finish_non_exhaustive()
    }
}

/// The Compute port as sandboxes on this machine.
#[derive(Clone, Debug)]
pub struct Sandbox(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: Config,
    layout: Layout,
    shim: PathBuf,
    outside: Outside,
    cgroups: Cgroups,
    live: Mutex<BTreeMap<ContainerId, Live>>,
    turns: Mutex<BTreeMap<ContainerId, Arc<tokio::sync::Mutex<()>>>>,
    works: OnceCell<()>,
}

#[derive(Clone, Debug)]
struct Live {
    place: Place,
    supervisor: Arc<Held>,
    /// Keeps a short path to the socket good, where the real one is too long.
    _shortcut: Option<Arc<std::fs::File>>,
}

/// The most bytes of a socket's path. The kernel takes 107.
const SOCKET_PATH: usize = 99;

/// The most bytes that are logged of what a shim wrote before it ended.
const LAST_WORDS: u64 = 2048;

/// The directory of the sandbox that only shows whether sandboxes work.
const TRIAL: &str = "trial";

impl Sandbox {
    /// Builds it and puts the shim in place. Starts nothing and adopts nothing.
    pub fn new(config: Config) -> io::Result<Self> {
        start::private(&config.data)?;
        let layout = Layout { data: config.data.canonicalize()? };
        out_of_sight(&layout.data, &config)?;
        let shim = match &config.shim {
            Some(shim) => std::path::absolute(shim)?,
            None => binary::extract(&layout.data)?,
        };
        Ok(Self(Arc::new(Inner {
            layout,
            shim,
            outside: Outside::choose(),
            cgroups: Cgroups::detect(),
            live: Mutex::default(),
            turns: Mutex::default(),
            works: OnceCell::new(),
            config,
        })))
    }

    /// What stands around every sandbox of this machine, beside what its shim puts around each agent.
    pub fn walls(&self) -> Standing {
        self.0.walls()
    }

    /// Takes over what an earlier process left running and clears away what did not survive.
    /// Returns what runs. Call it once, before anything else.
    pub async fn adopt(&self) -> io::Result<Vec<Observed>> {
        let inner = &self.0;
        let mut adopted = Vec::new();
        let entries = match std::fs::read_dir(inner.layout.containers()) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(adopted),
            Err(error) => return Err(error),
        };
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name();
            let Some(id) = name.to_str().and_then(|name| name.parse::<ContainerId>().ok()) else {
                life::end(&entry.path()).await?;
                discard(entry.path()).await?;
                continue;
            };
            let turn = inner.turn(id);
            let _turn = turn.lock().await;
            adopted.extend(inner.adopt_one(id).await?.map(|place| place.observed()));
        }
        Ok(adopted)
    }
}

impl Inner {
    fn walls(&self) -> Standing {
        start::around(self.cgroups.walls())
    }

    fn live(&self) -> MutexGuard<'_, BTreeMap<ContainerId, Live>> {
        // Every change of it is one call: a panic leaves it whole.
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The lock under which anything is done to `container`.
    fn turn(&self, container: ContainerId) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        turns.retain(|id, turn| *id == container || Arc::strong_count(turn) > 1);
        Arc::clone(turns.entry(container).or_default())
    }

    /// What runs under `container`, looking at the disk for what an earlier process left.
    async fn running(self: &Arc<Self>, container: ContainerId) -> io::Result<Option<Place>> {
        if let Some(live) = self.live().get(&container) {
            return Ok(Some(live.place));
        }
        if !self.layout.container(container).exists() {
            return Ok(None);
        }
        self.adopt_one(container).await
    }

    async fn adopt_one(self: &Arc<Self>, container: ContainerId) -> io::Result<Option<Place>> {
        if let Some(live) = self.live().get(&container) {
            return Ok(Some(live.place));
        }
        let dir = self.layout.container(container);
        let place = spec::read(&spec::document(&dir)).ok().and_then(|spec| spec.place);
        let place = place.filter(|place| place.container == container);
        if let (Some(place), Some(supervisor)) = (place, life::supervisor(&dir)?) {
            match self.listen(&place) {
                Ok(shortcut) => {
                    self.keep(place, supervisor, shortcut);
                    return Ok(Some(place));
                }
                Err(error) => {
                    tracing::warn!(
                        container.id = %container, %error,
                        "a sandbox could not be given its way out again and is stopped"
                    );
                }
            }
        }
        life::end(&dir).await?;
        discard(dir).await?;
        Ok(None)
    }

    /// Has the way out of `place` opened. Returns what keeps its path good.
    fn listen(&self, place: &Place) -> io::Result<Option<Arc<std::fs::File>>> {
        let dir = self.layout.container(place.container);
        let run = dir.join("run");
        let mut path = run.join(spec::SOCKET);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut shortcut = None;
        if path.as_os_str().as_bytes().len() > SOCKET_PATH {
            use std::os::fd::AsRawFd;
            let dir = std::fs::File::open(&run)?;
            path = PathBuf::from(format!("/proc/self/fd/{}/{}", dir.as_raw_fd(), spec::SOCKET));
            shortcut = Some(Arc::new(dir));
        }
        (self.config.before_start)(place, &path)?;
        start::open_socket(&dir)?;
        Ok(shortcut)
    }

    /// Remembers a sandbox that lives and watches for its end.
    fn keep(
        self: &Arc<Self>,
        place: Place,
        supervisor: Held,
        shortcut: Option<Arc<std::fs::File>>,
    ) {
        let supervisor = Arc::new(supervisor);
        let live = Live { place, supervisor: Arc::clone(&supervisor), _shortcut: shortcut };
        self.live().insert(place.container, live);
        let inner = Arc::downgrade(self);
        spawn(async move {
            supervisor.ended().await;
            Self::ended(&inner, place, &supervisor).await;
        });
    }

    /// Clears away a sandbox whose supervisor has ended, unless somebody ended it.
    async fn ended(inner: &Weak<Self>, place: Place, supervisor: &Arc<Held>) {
        let Some(inner) = inner.upgrade() else { return };
        let turn = inner.turn(place.container);
        let guard = turn.lock().await;
        let this = |live: &Live| Arc::ptr_eq(&live.supervisor, supervisor);
        if !inner.live().get(&place.container).is_some_and(this) {
            return;
        }
        tracing::info!(
            container.id = %place.container, container.generation = place.generation,
            said = inner.last_words(place.container), "a sandbox ended by itself"
        );
        if let Err(error) = inner.clear(place.container).await {
            tracing::warn!(container.id = %place.container, %error, "its directory stays for now");
            inner.live().remove(&place.container);
        }
        drop(guard);
        (inner.config.on_exit)(place.observed());
    }

    /// The end of what the shim wrote on its outputs.
    fn last_words(&self, container: ContainerId) -> String {
        use std::io::{Read, Seek, SeekFrom};
        let read = || -> io::Result<String> {
            let mut log = std::fs::File::open(self.layout.container(container).join(start::LOG))?;
            let length = log.metadata()?.len();
            log.seek(SeekFrom::Start(length.saturating_sub(LAST_WORDS)))?;
            let mut bytes = Vec::new();
            log.take(LAST_WORDS).read_to_end(&mut bytes)?;
            Ok(String::from_utf8_lossy(&bytes).trim_end().to_owned())
        };
        read().unwrap_or_default()
    }

    /// Ends what runs under `container` and removes its directory.
    async fn clear(&self, container: ContainerId) -> io::Result<()> {
        let dir = self.layout.container(container);
        faults::point("sandbox.end", "before");
        life::end(&dir).await?;
        faults::point("sandbox.end", "after");
        // Forgotten only now: until nothing is left, `list` says that there is something.
        let live = self.live().remove(&container);
        if let Some(live) = &live {
            (self.config.after_end)(live.place);
        }
        discard(dir).await
    }

    async fn provision(self: &Arc<Self>, plan: &ContainerPlan) -> Result<(), ComputeError> {
        let turn = self.turn(plan.container);
        let _turn = turn.lock().await;
        let repositories = self.repositories(plan)?;
        if let Some(running) = self.running(plan.container).await.map_err(unavailable)? {
            if running.generation == plan.generation {
                return Ok(());
            }
            if running.generation > plan.generation {
                return Err(ComputeError::Refused(format!(
                    "generation {} of this container is over: {} runs",
                    plan.generation, running.generation
                )));
            }
            self.clear(plan.container).await.map_err(unavailable)?;
        }
        let place = Place {
            realm: plan.realm,
            agent: plan.agent,
            container: plan.container,
            generation: plan.generation,
        };
        let dir = self.layout.container(plan.container);
        let spec = Spec {
            bundles: self.bundles(),
            groups: self.cgroups.of(&plan.container.to_string()),
            ..self.spec(Some(place), dir.clone(), repositories)
        };
        let started = async {
            start::prepare(&spec, Some((plan, &self.config)), self.outside, self.walls())
                .map_err(unavailable)?;
            let ceiling = Ceiling::over(&self.config.limits.within(&plan.resources));
            let made = self.cgroups.make(&plan.container.to_string(), &ceiling);
            made.map_err(unavailable)?;
            let shortcut = self.listen(&place).map_err(unavailable)?;
            faults::point("sandbox.prepare", "after");
            let started = start::start(&self.config.helper, &spec, self.outside).await;
            let supervisor = started.map_err(|failure| {
                (self.config.after_end)(place);
                refusal(failure)
            })?;
            faults::point("sandbox.start", "after");
            self.keep(place, supervisor, shortcut);
            Ok(())
        };
        if let Err(error) = started.await {
            // What it failed with matters more than what is left, which the next start removes.
            drop(discard(dir).await);
            return Err(error);
        }
        Ok(())
    }

    fn spec(
        &self,
        place: Option<Place>,
        dir: PathBuf,
        repositories: Vec<(String, PathBuf)>,
    ) -> Spec {
        let (data, shim) = (self.layout.data.clone(), self.shim.clone());
        Spec {
            place,
            data,
            dir,
            shim,
            repositories,
            bundles: Vec::new(),
            groups: Groups::default(),
        }
    }

    /// Where bundles are seen, and where they are. All of them: one that is made later can be started
    /// in a container that runs.
    fn bundles(&self) -> Vec<(String, PathBuf)> {
        let trees = self.layout.bundles();
        let seen = || (BUNDLES.trim_start_matches('/').to_owned(), trees.clone());
        trees.is_dir().then(seen).into_iter().collect()
    }

    fn repositories(&self, plan: &ContainerPlan) -> Result<Vec<(String, PathBuf)>, ComputeError> {
        let names: BTreeSet<&str> =
            plan.repositories.iter().map(domain::text::Slug::as_str).collect();
        names
            .into_iter()
            .map(|name| match self.config.repositories.get(name) {
                Some(path) => Ok((name.to_owned(), path.clone())),
                None => Err(ComputeError::Refused(format!(
                    "no repository `{name}` is configured on this machine"
                ))),
            })
            .collect()
    }

    /// Puts a sandbox together and lets it go again.
    async fn trial(&self) -> Result<(), ComputeError> {
        let dir = self.layout.containers().join(TRIAL);
        let spec = self.spec(None, dir.clone(), Vec::new());
        start::prepare(&spec, None, self.outside, Standing::NONE).map_err(unavailable)?;
        let started = start::start(&self.config.helper, &spec, self.outside).await;
        let supervisor = started.map_err(refusal)?;
        supervisor.ended().await;
        remove(dir).await.map_err(unavailable)
    }
}

#[async_trait]
impl Compute for Sandbox {
    async fn provision(&self, plan: &ContainerPlan) -> Result<(), ComputeError> {
        // In a task of its own: a caller who gives up must not leave half a start.
        let (inner, plan) = (Arc::clone(&self.0), plan.clone());
        joined(async move { inner.provision(&plan).await }).await?
    }

    async fn stop(&self, container: ContainerId) -> Result<(), ComputeError> {
        let inner = Arc::clone(&self.0);
        joined(async move {
            let turn = inner.turn(container);
            let _turn = turn.lock().await;
            inner.clear(container).await.map_err(unavailable)
        })
        .await?
    }

    async fn remove(&self, start: Observed) -> Result<(), ComputeError> {
        let inner = Arc::clone(&self.0);
        joined(async move {
            let turn = inner.turn(start.container);
            let _turn = turn.lock().await;
            match inner.running(start.container).await.map_err(unavailable)? {
                Some(place) if place.observed() == start => {
                    inner.clear(start.container).await.map_err(unavailable)
                }
                Some(_) | None => Ok(()),
            }
        })
        .await?
    }

    async fn describe(&self, container: ContainerId) -> Result<Option<Observed>, ComputeError> {
        Ok(self.0.live().get(&container).map(|live| live.place.observed()))
    }

    async fn list(&self) -> Result<Vec<Observed>, ComputeError> {
        Ok(self.0.live().values().map(|live| live.place.observed()).collect())
    }

    async fn forget(&self, agent: AgentId) -> Result<(), ComputeError> {
        // What still runs would write on while it is removed.
        let running: Vec<ContainerId> = self
            .0
            .live()
            .values()
            .filter(|live| live.place.agent == agent)
            .map(|live| live.place.container)
            .collect();
        for container in running {
            self.stop(container).await?;
        }
        faults::point("sandbox.forget", "before");
        remove(self.0.layout.agent(agent)).await.map_err(unavailable)?;
        faults::point("sandbox.forget", "after");
        Ok(())
    }

    async fn evict(&self, container: ContainerId, agent: AgentId) -> Result<(), ComputeError> {
        let owner = self.0.layout.agent(AgentId::new(container.ulid()));
        remove(owner.join("agents").join(agent.to_string())).await.map_err(unavailable)
    }

    async fn ready(&self) -> Result<(), ComputeError> {
        // What has worked once is not tried again: each start says for itself what has changed.
        self.0.works.get_or_try_init(|| self.0.trial()).await.copied()
    }
}

/// Refuses a data directory that agents would see among what is mounted for them.
fn out_of_sight(data: &Path, config: &Config) -> io::Result<()> {
    let system = root::SYSTEM.iter().map(|name| Path::new("/").join(name));
    for seen in system.chain(config.repositories.values().cloned()) {
        if seen.canonicalize().is_ok_and(|seen| data.starts_with(seen)) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("the data directory lies in {}, which sandboxes see", seen.display()),
            ));
        }
    }
    Ok(())
}

fn refusal(failure: Failure) -> ComputeError {
    match forbidden::explain(&failure) {
        Some(reason) => ComputeError::Refused(reason),
        None => unavailable(failure),
    }
}

fn unavailable(error: impl std::error::Error + Send + Sync + 'static) -> ComputeError {
    ComputeError::Unavailable(Box::new(error))
}

/// Removes what is left of the sandbox in `dir`, in which nothing runs any more.
async fn discard(dir: PathBuf) -> io::Result<()> {
    // Without a document there was nothing yet but directories.
    if let Ok(spec) = spec::read(&spec::document(&dir)) {
        spec.groups.remove().await?;
    }
    remove(dir).await
}

async fn remove(path: PathBuf) -> io::Result<()> {
    tokio::task::spawn_blocking(move || tree::remove(&path)).await.map_err(io::Error::other)?
}

async fn joined<T: Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
) -> Result<T, ComputeError> {
    spawn(work).await.map_err(unavailable)
}

#[expect(clippy::disallowed_methods, reason = "on one machine the process outlives its requests")]
fn spawn<T: Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
) -> tokio::task::JoinHandle<T> {
    tokio::spawn(work)
}
