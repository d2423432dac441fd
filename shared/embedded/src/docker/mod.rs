//! Containers of a Docker engine on this machine: for where user namespaces are forbidden.
//!
//! What holds here
//! - A container has no network, a read-only root, no capability but those with which its shim gives
//!   agents uids of their own, no new privileges, the engine's filter of system calls, and limits of
//!   memory and processes that the kernel keeps. What is mounted is its agent's workspace and home,
//!   and the socket that is its only way out.
//! - Containers outlive the process that started them; the next one finds them by a label that names
//!   the data directory, and what each is for stands in another.
//! - Operations on one container happen one after the other; on different ones side by side.
//! - `on_exit` is called once for each container that ended by itself, and for no other.
//!
//! Who may speak to the engine may read the boot documents of its containers, and is root anyway.
//!
//! Deliberately absent: namespaces for each agent, which the engine lets nobody make in a container:
//! agents that share one see each other's processes, which are of other uids. Agents of other makers
//! find no model here, unless they can speak HTTP to a Unix socket.

mod make;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use app::ports::{Compute, ComputeError, Observed};
use async_trait::async_trait;
use bollard::errors::Error as EngineError;
use bollard::models::ContainerSummary;
use bollard::query_parameters::{ListContainersOptionsBuilder, RemoveContainerOptionsBuilder};
use domain::limits::Limits;
use domain::plan::ContainerPlan;
use domain::walls::Standing;
use domain::{AgentId, ContainerId};
use futures::StreamExt;

use crate::sandbox::{BeforeStart, Layout, Place, SOCKET, private, remove_tree};

/// What [`Docker`] is built from.
#[derive(Clone)]
pub struct Config {
    /// The data directory.
    pub data: PathBuf,
    /// The image: a shim, and what its agents need.
    pub image: String,
    /// Repositories on this host that a plan may name.
    pub repositories: BTreeMap<String, PathBuf>,
    /// Seconds without a connection after which a shim ends by itself.
    pub orphan_seconds: u64,
    /// What each agent may take.
    pub limits: Limits,
    /// Called before a container starts, and for each that is adopted: listen on the path. It is
    /// free, and good until `after_end`.
    pub before_start: Arc<BeforeStart>,
    /// Called when nothing of a container is left, however it ended: stop listening.
    pub after_end: Arc<dyn Fn(Place) + Send + Sync>,
    /// Called when a container has ended by itself and nothing of it is left, after `after_end`.
    pub on_exit: Arc<dyn Fn(Observed) + Send + Sync>,
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("data", &self.data)
            .field("image", &self.image)
            .field("repositories", &self.repositories)
            .finish_non_exhaustive()
    }
}

/// The Compute port on a Docker engine of this machine.
#[derive(Clone, Debug)]
pub struct Docker(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: Config,
    layout: Layout,
    engine: bollard::Docker,
    live: Mutex<BTreeMap<ContainerId, Place>>,
    turns: Mutex<BTreeMap<ContainerId, Arc<tokio::sync::Mutex<()>>>>,
}

/// The label that names the data directory a container belongs to.
const OWNER: &str = "reeve.data";
/// The label that says what it is for.
const PLACE: &str = "reeve.place";

/// Between two looks at a container that the engine is removing, or after it has lost us.
const LOOK: Duration = Duration::from_millis(100);

impl Docker {
    /// Builds it on the engine that `DOCKER_HOST` names, or the machine's own. Starts nothing and
    /// adopts nothing.
    pub fn new(config: Config) -> io::Result<Self> {
        private(&config.data)?;
        let layout = Layout { data: config.data.canonicalize()? };
        let engine = bollard::Docker::connect_with_unix_defaults().map_err(io::Error::other)?;
        let (live, turns) = (Mutex::default(), Mutex::default());
        Ok(Self(Arc::new(Inner { config, layout, engine, live, turns })))
    }

    /// What the engine puts around every container, beside what its shim puts around each agent.
    #[expect(clippy::unused_self, reason = "as the sandbox, which has to look")]
    pub fn walls(&self) -> Standing {
        make::AROUND.into_iter().collect()
    }

    /// Takes over what an earlier process left running and clears away what did not survive.
    /// Returns what runs. Call it once, before anything else.
    pub async fn adopt(&self) -> io::Result<Vec<Observed>> {
        let inner = &self.0;
        for found in inner.ours().await.map_err(io::Error::other)? {
            let Some(place) = place(&found) else { continue };
            let turn = inner.turn(place.container);
            let _turn = turn.lock().await;
            if runs(&found) && inner.listen(&place).is_ok() {
                inner.keep(place);
            } else {
                inner.clear(place.container).await.map_err(io::Error::other)?;
            }
        }
        Ok(inner.live().values().map(Place::observed).collect())
    }
}

/// What a container of ours is for.
fn place(found: &ContainerSummary) -> Option<Place> {
    serde_json::from_str(found.labels.as_ref()?.get(PLACE)?).ok()
}

fn runs(found: &ContainerSummary) -> bool {
    found.state.is_some_and(|state| state.to_string() == "running")
}

fn name(container: ContainerId) -> String {
    format!("reeve-{container}")
}

fn is(error: &EngineError, status: u16) -> bool {
    matches!(error, EngineError::DockerResponseServerError { status_code, .. } if *status_code == status)
}

impl Inner {
    fn live(&self) -> MutexGuard<'_, BTreeMap<ContainerId, Place>> {
        // Every change of it is one call: a panic leaves it whole.
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The lock under which anything is done to `container`.
    fn turn(&self, container: ContainerId) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        turns.retain(|id, turn| *id == container || Arc::strong_count(turn) > 1);
        Arc::clone(turns.entry(container).or_default())
    }

    /// Every container of this data directory, running or not.
    async fn ours(&self) -> Result<Vec<ContainerSummary>, EngineError> {
        let mine = format!("{OWNER}={}", self.layout.data.display());
        let filters = [("label", vec![mine.as_str()])].into();
        let options = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
        self.engine.list_containers(Some(options)).await
    }

    /// Has the way out of `place` opened.
    fn listen(&self, place: &Place) -> io::Result<()> {
        let path = self.layout.container(place.container).join("run").join(SOCKET);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        (self.config.before_start)(place, &path)?;
        make::open_to_all(&path)
    }

    /// Remembers a container that runs and watches for its end.
    fn keep(self: &Arc<Self>, place: Place) {
        self.live().insert(place.container, place);
        let inner = Arc::downgrade(self);
        spawn(async move { Self::watch(&inner, place).await });
    }

    async fn watch(inner: &Weak<Self>, place: Place) {
        loop {
            let Some(strong) = inner.upgrade() else { return };
            let name = name(place.container);
            let ends = std::pin::pin!(strong.engine.wait_container(&name, None)).next().await;
            match ends {
                Some(Ok(_) | Err(EngineError::DockerContainerWaitError { .. })) | None => {}
                Some(Err(error)) if is(&error, 404) => {}
                // The engine was lost, not the container.
                Some(Err(_)) => {
                    pass(LOOK).await;
                    continue;
                }
            }
            return strong.ended(place).await;
        }
    }

    /// Clears away a container that has ended, unless somebody ended it.
    async fn ended(self: &Arc<Self>, place: Place) {
        let turn = self.turn(place.container);
        let guard = turn.lock().await;
        if self.live().get(&place.container) != Some(&place) {
            return;
        }
        tracing::info!(
            container.id = %place.container, container.generation = place.generation,
            "a container ended by itself"
        );
        if let Err(error) = self.clear(place.container).await {
            tracing::warn!(container.id = %place.container, %error, "it stays for now");
            self.live().remove(&place.container);
        }
        drop(guard);
        (self.config.on_exit)(place.observed());
    }

    /// Ends what runs under `container` and removes what it held.
    async fn clear(&self, container: ContainerId) -> Result<(), ComputeError> {
        let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
        loop {
            match self.engine.remove_container(&name(container), Some(options.clone())).await {
                // Being removed already: it is waited for.
                Ok(()) => {}
                Err(error) if is(&error, 409) => pass(LOOK).await,
                Err(error) if is(&error, 404) => break,
                Err(error) => return Err(unavailable(error)),
            }
        }
        // Forgotten only now: until nothing is left, `list` says that there is something.
        let live = self.live().remove(&container);
        if let Some(place) = live {
            (self.config.after_end)(place);
        }
        remove(self.layout.container(container)).await
    }

    async fn provision(self: &Arc<Self>, plan: &ContainerPlan) -> Result<(), ComputeError> {
        let turn = self.turn(plan.container);
        let _turn = turn.lock().await;
        let repositories = make::repositories(&self.config, plan)?;
        let running = self.live().get(&plan.container).copied();
        match running.map(|running| running.generation.cmp(&plan.generation)) {
            Some(std::cmp::Ordering::Equal) => return Ok(()),
            Some(std::cmp::Ordering::Greater) => {
                return Err(ComputeError::Refused(format!(
                    "generation {} of this container is over: a later one runs",
                    plan.generation
                )));
            }
            Some(std::cmp::Ordering::Less) | None => {}
        }
        // Also what an earlier process has left half made.
        self.clear(plan.container).await?;
        let place = Place {
            realm: plan.realm,
            agent: plan.agent,
            container: plan.container,
            generation: plan.generation,
        };
        let started = async {
            make::prepare(&self.layout, plan).map_err(unavailable)?;
            self.listen(&place).map_err(unavailable)?;
            self.live().insert(plan.container, place);
            make::start(&self.engine, &self.config, &self.layout, plan, &place, repositories).await
        };
        if let Err(error) = started.await {
            // What it failed with matters more than what is left, which the next start removes.
            drop(self.clear(plan.container).await);
            return Err(error);
        }
        self.keep(place);
        Ok(())
    }
}

#[async_trait]
impl Compute for Docker {
    async fn provision(&self, plan: &ContainerPlan) -> Result<(), ComputeError> {
        // In a task of its own: a caller who gives up must not leave half a start.
        let (inner, plan) = (Arc::clone(&self.0), plan.clone());
        spawn(async move { inner.provision(&plan).await }).await.map_err(unavailable)?
    }

    async fn stop(&self, container: ContainerId) -> Result<(), ComputeError> {
        let inner = Arc::clone(&self.0);
        let stopped = spawn(async move {
            let turn = inner.turn(container);
            let _turn = turn.lock().await;
            inner.clear(container).await
        });
        stopped.await.map_err(unavailable)?
    }

    async fn remove(&self, start: Observed) -> Result<(), ComputeError> {
        let inner = Arc::clone(&self.0);
        let removed = spawn(async move {
            let turn = inner.turn(start.container);
            let _turn = turn.lock().await;
            let running = inner.live().get(&start.container).map(Place::observed);
            if running == Some(start) { inner.clear(start.container).await } else { Ok(()) }
        });
        removed.await.map_err(unavailable)?
    }

    async fn describe(&self, container: ContainerId) -> Result<Option<Observed>, ComputeError> {
        Ok(self.0.live().get(&container).map(Place::observed))
    }

    async fn list(&self) -> Result<Vec<Observed>, ComputeError> {
        Ok(self.0.live().values().map(Place::observed).collect())
    }

    async fn forget(&self, agent: AgentId) -> Result<(), ComputeError> {
        let places: Vec<Place> = self.0.live().values().copied().collect();
        // What still runs would write on while it is removed.
        for place in places.iter().filter(|place| place.agent == agent) {
            self.stop(place.container).await?;
        }
        remove(self.0.layout.agent(agent)).await
    }

    async fn ready(&self) -> Result<(), ComputeError> {
        let image = &self.0.config.image;
        match self.0.engine.inspect_image(image).await {
            Ok(_) => Ok(()),
            Err(error) if is(&error, 404) => Err(ComputeError::Refused(format!(
                "the engine has no image `{image}`: `infra/aws/images/build` makes one, and `--image` \
                 names another"
            ))),
            Err(error) => Err(unavailable(error)),
        }
    }
}

fn unavailable(error: impl std::error::Error + Send + Sync + 'static) -> ComputeError {
    ComputeError::Unavailable(Box::new(error))
}

async fn remove(path: PathBuf) -> Result<(), ComputeError> {
    let removed = tokio::task::spawn_blocking(move || remove_tree(&path)).await;
    removed.map_err(unavailable)?.map_err(unavailable)
}

#[expect(clippy::disallowed_methods, reason = "the engine tells of no removal: it is asked again")]
async fn pass(duration: Duration) {
    tokio::time::sleep(duration).await;
}

#[expect(clippy::disallowed_methods, reason = "on one machine the process outlives its requests")]
fn spawn<T: Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
) -> tokio::task::JoinHandle<T> {
    tokio::spawn(work)
}
