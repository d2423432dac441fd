//! Containers of a Docker engine, the one that `DOCKER_HOST` names: the suite of their port, and what
//! the engine is told of each.

#![expect(clippy::unwrap_used, reason = "all of this runs in tests")]

use std::collections::BTreeMap;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

use app::ports::{Compute, ComputeError, Observed};
use async_trait::async_trait;
use domain::limits::Limits;
use domain::plan::ContainerPlan;
use domain::{AgentId, ContainerId};
use embedded::docker::{Config, Docker};
use embedded::sandbox::Place;
use serde_json::{Value, json};
use tempfile::TempDir;
use tests::compute::{Keeps, PATIENCE, Platform, observed, plan};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::ecs::image;

mod engine {
    tests::for_compute!(std::future::ready(super::World::open()));
    tests::for_workspaces!(std::future::ready(super::World::open()));
}

/// A platform in a directory of its own.
struct World {
    dir: TempDir,
    docker: Docker,
    exits: tokio::sync::Mutex<mpsc::UnboundedReceiver<Observed>>,
    /// Listens where the containers look for their way out.
    sockets: Arc<Mutex<BTreeMap<ContainerId, UnixListener>>>,
}

impl World {
    fn open() -> Self {
        Self::of(image())
    }

    fn of(image: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (exited, exits) = mpsc::unbounded_channel();
        let sockets: Arc<Mutex<BTreeMap<_, _>>> = Arc::default();
        let docker = start(dir.path(), image, &sockets, exited);
        Self { dir, docker, exits: tokio::sync::Mutex::new(exits), sockets }
    }

    /// Another process on the same data, as after a crash.
    fn again(&self) -> (Docker, mpsc::UnboundedReceiver<Observed>) {
        let (exited, exits) = mpsc::unbounded_channel();
        (start(self.dir.path(), image(), &self.sockets, exited), exits)
    }
}

fn start(
    dir: &Path,
    image: &str,
    sockets: &Arc<Mutex<BTreeMap<ContainerId, UnixListener>>>,
    exited: mpsc::UnboundedSender<Observed>,
) -> Docker {
    let (opened, closed) = (Arc::clone(sockets), Arc::clone(sockets));
    Docker::new(Config {
        data: dir.join("data"),
        image: image.to_owned(),
        repositories: BTreeMap::new(),
        orphan_seconds: 60,
        limits: Limits::default(),
        before_start: Arc::new(move |place: &Place, path: &Path| {
            opened.lock().unwrap().insert(place.container, UnixListener::bind(path)?);
            Ok(())
        }),
        after_end: Arc::new(move |place: Place| {
            closed.lock().unwrap().remove(&place.container).unwrap();
        }),
        on_exit: Arc::new(move |observed| exited.send(observed).unwrap()),
    })
    .unwrap()
}

/// What `docker` says.
fn docker(arguments: &[&str]) -> String {
    let output = Command::new("docker").args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn name(container: ContainerId) -> String {
    format!("reeve-{container}")
}

impl Drop for World {
    fn drop(&mut self) {
        let label = format!("label=reeve.data={}", self.dir.path().join("data").display());
        let left = docker(&["ps", "--all", "--quiet", "--filter", &label]);
        for id in left.lines() {
            docker(&["rm", "--force", "--volumes", id]);
        }
    }
}

#[async_trait]
impl Platform for World {
    fn compute(&self) -> &dyn Compute {
        &self.docker
    }

    async fn exited(&self) -> Observed {
        let mut exits = self.exits.lock().await;
        timeout(PATIENCE, exits.recv()).await.expect("it ends").expect("the platform is there")
    }

    async fn reported(&self) -> bool {
        self.exits.lock().await.try_recv().is_ok()
    }

    async fn up(&self, container: ContainerId) {
        assert!(self.lives(container), "a container is there when it was started");
    }

    async fn quit(&self, agent: AgentId) {
        // What `plan` makes has one ULID for both.
        docker(&["kill", &name(ContainerId::new(agent.ulid()))]);
    }

    fn lives(&self, container: ContainerId) -> bool {
        let filter = format!("name={}", name(container));
        !docker(&["ps", "--all", "--quiet", "--filter", &filter]).is_empty()
    }
}

impl Keeps for World {
    fn remembers(&self, agent: AgentId) -> bool {
        self.dir.path().join("data/agents").join(agent.to_string()).exists()
    }
}

#[tokio::test]
async fn a_container_has_no_right_it_does_not_need() {
    let world = World::open();
    let plan = plan();
    world.docker.provision(&plan).await.unwrap();
    let told: Value = serde_json::from_str(&docker(&["inspect", &name(plan.container)])).unwrap();
    let host = &told[0]["HostConfig"];
    assert_eq!(host["NetworkMode"], "none");
    assert_eq!(host["ReadonlyRootfs"], true);
    assert_eq!(host["CapDrop"], json!(["ALL"]));
    assert_eq!(host["SecurityOpt"], json!(["no-new-privileges"]));
    assert_eq!(host["Privileged"], false);
    assert_eq!(host["PidsLimit"], 1024 + 64 + 64);
    assert_eq!((&host["CpuQuota"], &host["CpuPeriod"]), (&json!(400_000), &json!(100_000)));
    assert_eq!(host["Memory"], host["MemorySwap"]);
    let capabilities: Vec<_> = host["CapAdd"].as_array().into_iter().flatten().collect();
    if rustix::process::geteuid().is_root() {
        assert_eq!(capabilities.len(), 6, "{capabilities:?}");
    } else {
        assert!(capabilities.is_empty());
    }
    let data = world.dir.path().join("data");
    for bind in host["Binds"].as_array().unwrap() {
        let bind = bind.as_str().unwrap();
        assert!(bind.starts_with(data.to_str().unwrap()), "{bind}");
        assert!(!bind.contains(".db") && !bind.contains("docker.sock"), "{bind}");
    }
    world.docker.stop(plan.container).await.unwrap();
}

#[tokio::test]
async fn a_container_outlives_its_keeper_and_is_adopted() {
    let world = World::open();
    let plan: ContainerPlan = plan();
    world.docker.provision(&plan).await.unwrap();
    let (next, mut exits) = world.again();
    assert_eq!(next.adopt().await.unwrap(), [observed(&plan)]);
    assert_eq!(next.describe(plan.container).await.unwrap(), Some(observed(&plan)));
    next.provision(&plan).await.unwrap();
    assert_eq!(next.list().await.unwrap(), [observed(&plan)]);
    next.stop(plan.container).await.unwrap();
    assert!(!world.lives(plan.container));
    assert!(exits.try_recv().is_err());
}

#[tokio::test]
async fn an_image_that_is_missing_is_named() {
    let world = World::of("reeve-no-such-image");
    let refused = world.docker.ready().await.unwrap_err();
    assert!(
        matches!(&refused, ComputeError::Refused(text) if text.contains("reeve-no-such-image"))
    );
    let refused = world.docker.provision(&plan()).await.unwrap_err();
    assert!(
        matches!(&refused, ComputeError::Refused(text) if text.contains("reeve-no-such-image"))
    );
    assert!(world.docker.list().await.unwrap().is_empty());
}
