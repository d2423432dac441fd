//! Where agents run: in sandboxes of this machine, or in containers of its Docker engine.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use app::ports::{Compute, Observed};
use domain::walls::Standing;
use embedded::docker::{Config as DockerConfig, Docker};
use embedded::lock::DataDir;
use embedded::sandbox::{BeforeStart, Config as SandboxConfig, Place, Sandbox};
use tokio::sync::mpsc;

use crate::cli::{Kind, Up};
use crate::demo;
use crate::egress_socket::Socket;

/// Seconds after which a shim whose control plane does not come back ends by itself.
const ORPHAN_SECONDS: u64 = 120;

/// What was chosen on the command line.
pub(crate) enum Chosen {
    Sandbox(Sandbox),
    Docker(Docker),
}

impl Chosen {
    /// The port.
    pub(crate) fn port(&self) -> Arc<dyn Compute> {
        match self {
            Self::Sandbox(sandbox) => Arc::new(sandbox.clone()),
            Self::Docker(docker) => Arc::new(docker.clone()),
        }
    }

    /// What stands around every container.
    pub(crate) fn walls(&self) -> Standing {
        match self {
            Self::Sandbox(sandbox) => sandbox.walls(),
            Self::Docker(docker) => docker.walls(),
        }
    }

    /// Takes over what an earlier process left. Call it once, before anything else.
    pub(crate) async fn adopt(&self) -> io::Result<Vec<Observed>> {
        match self {
            Self::Sandbox(sandbox) => sandbox.adopt().await,
            Self::Docker(docker) => docker.adopt().await,
        }
    }
}

/// What was chosen, and what it tells: the ways out that it opens, and the containers that end.
pub(crate) type Parts =
    (Chosen, mpsc::UnboundedReceiver<Socket>, mpsc::UnboundedReceiver<Observed>);

/// Sets up what `options` choose.
pub(crate) fn open(options: &Up, data: &DataDir) -> io::Result<Parts> {
    let mut repositories = options.repositories();
    if options.demo {
        demo::offer_checkout(&mut repositories);
    }
    let (tell, sockets) = mpsc::unbounded_channel();
    let (exit, exits) = mpsc::unbounded_channel();
    let open = tell.clone();
    let before_start: Arc<BeforeStart> = Arc::new(move |place, path| {
        let listener = std::os::unix::net::UnixListener::bind(path)?;
        listener.set_nonblocking(true)?;
        // Nobody listens any more only where everything stops.
        drop(open.send(Socket::Open(*place, listener)));
        Ok(())
    });
    let after_end = Arc::new(move |place: Place| drop(tell.send(Socket::Closed(place))));
    let on_exit = Arc::new(move |observed| {
        // As above: nobody asks any more.
        exit.send(observed).ok();
    });
    let chosen = match options.compute {
        Kind::Sandbox => Chosen::Sandbox(Sandbox::new(SandboxConfig {
            data: data.path().to_owned(),
            repositories,
            helper: PathBuf::from("/proc/self/exe"),
            shim: None,
            orphan_seconds: ORPHAN_SECONDS,
            limits: options.limits(),
            before_start,
            after_end,
            on_exit,
        })?),
        Kind::Docker => Chosen::Docker(Docker::new(DockerConfig {
            data: data.path().to_owned(),
            image: options.image.clone(),
            repositories,
            orphan_seconds: ORPHAN_SECONDS,
            limits: options.limits(),
            before_start,
            after_end,
            on_exit,
        })?),
    };
    Ok((chosen, sockets, exits))
}
