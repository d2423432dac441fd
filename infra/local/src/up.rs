//! `reeve up`: starts everything, says that it is ready, and stops when it is told to.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use app::containers::Reconciled;
use app::ports::{Clock, Feed, Fetch, Ids, Observed, Push};
use app::{App, Ports, Settings};
use axum::Router;
use axum::serve::ListenerExt;
use domain::RealmId;
use domain::key::PresentedKey;
use domain::walls::{Keepers, Standing};
use embedded::blobs::FileBlobs;
use embedded::bundles::{BundleStore, Config as BundleConfig};
use embedded::feed::{LocalFeed, Nudge};
use embedded::lock::{ClaimError, DataDir};
use embedded::push::LocalPush;
use embedded::sqlite::{OpenError, SqliteTable};
use embedded::uploads::FileUploads;
use embedded::workspaces::FileWorkspaces;
use host::fetch::HttpFetch;
use host::{OsIds, SystemClock};
use metrics_exporter_prometheus::PrometheusBuilder;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing_subscriber::{EnvFilter, Registry, reload};

use crate::cli::{Key, Up};
use crate::compute::{self, Chosen};
use crate::config::{Config, ConfigError, Current};
use crate::egress_socket::Socket;
use crate::stream_socket::{Changes, Streams};
use crate::{
    api_gateway, demo, downloads, egress_socket, installation, scheduler, stream_socket, uploads,
};

/// Why it does not start, or did not stop as it should.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UpError {
    /// The runtime did not start.
    #[error("cannot start: {0}")]
    Runtime(#[source] io::Error),
    /// The data directory is not ours.
    #[error("{}{}", .0, cause(.0))]
    Claim(#[from] ClaimError),
    /// The table does not open.
    #[error("{}{}", .0, cause(.0))]
    Table(#[from] OpenError),
    /// A file of the data directory does not read or write.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// The address is taken or not ours.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// What the operating system said.
        source: io::Error,
    },
    /// Where agents run cannot be set up.
    #[error("cannot set up containers: {0}")]
    Compute(#[source] io::Error),
    /// There is no TLS with this machine's roots.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[source] rustls::Error),
    /// The file of settings cannot be taken.
    #[error("{}{}", .0, cause(.0))]
    Config(#[from] ConfigError),
    /// A use case failed.
    #[error("{0}")]
    App(#[from] app::Error),
    /// The figures cannot be kept.
    #[error("cannot keep figures: {0}")]
    Metrics(String),
}

fn cause(error: &dyn std::error::Error) -> String {
    error.source().map(|source| format!(": {source}")).unwrap_or_default()
}

/// How long a stop may take before what is left is left.
const STOP: Duration = Duration::from_secs(4);

/// How long a stop waits for errands that are being carried out.
const ERRANDS: Duration = Duration::from_millis(1500);

/// Starts everything and returns when it has stopped.
pub(crate) async fn up(
    options: Up,
    config: Config,
    log: reload::Handle<EnvFilter, Registry>,
) -> Result<(), UpError> {
    // From the first moment on: a signal that comes while we start is not lost.
    let mut terminate = signal(SignalKind::terminate()).map_err(UpError::Runtime)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(UpError::Runtime)?;
    // Without a file there is nothing to read again, and a hang-up ends the process as ever.
    let mut hangup = match options.config {
        Some(_) => Some(signal(SignalKind::hangup()).map_err(UpError::Runtime)?),
        None => None,
    };
    let data = DataDir::claim(&options.data)?;
    let metrics = PrometheusBuilder::new()
        .install_recorder()
        .map_err(|error| UpError::Metrics(error.to_string()))?;
    let listen = |source| UpError::Listen { address: options.listen, source };
    let listener = TcpListener::bind(options.listen).await.map_err(listen)?;
    let address = listener.local_addr().map_err(listen)?;
    let machine = Machine::open(&options, &data, address)?;
    let (api_key, realm) = first_key(&machine, &options, &data).await?;
    tell_of_walls(machine.compute.walls());

    let models = demo::models(&config.models(variable).scripted(options.demo));
    let (mut current, egress) = Current::new(options.clone(), config, log, variable)?;
    if options.registry.is_some() {
        machine.app.registry().schedule(realm).await?;
    }
    let clock = Arc::clone(&machine.clock);
    let running = machine.start(egress).await?;
    running.tasks.spawn(scheduler::upkeep(metrics.clone(), clock, running.stop.clone()));
    let app = running.app.clone();

    let url = format!("http://{address}");
    // What is streamed is small and often: without this the kernel holds it back, 40 ms at times. It
    // fails for a connection that is gone.
    let listener = listener.tap_io(|connection| drop(connection.set_nodelay(true)));
    let serving = CancellationToken::new();
    let server = running.tasks.spawn({
        let router =
            api_gateway::router(&app, running.streams.clone(), running.uploads.clone(), metrics);
        let serving = serving.clone();
        async move {
            axum::serve(listener, router).with_graceful_shutdown(serving.cancelled_owned()).await
        }
    });
    tracing::info!(url, models, "ready");
    let file = |source| UpError::File { path: "standard output".to_owned(), source };
    announce(&options, &url, &api_key, realm).map_err(file)?;
    let shown = options.demo.then(|| {
        let demo = demo::run(app, url, api_key, options.data.clone(), models, options.json);
        running.tasks.spawn(demo)
    });

    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            () = heard(&mut hangup) => reread(&mut current),
        }
    }
    tracing::info!("stopping");
    // No new work; then what runs is ended and told; then the rest.
    serving.cancel();
    if let Some(demo) = shown {
        demo.abort();
    }
    running.stop().await;
    server.abort();
    Ok(())
}

/// Says what will stand around every container, and who keeps the limits of agents.
fn tell_of_walls(walls: Standing) {
    let standing: Vec<_> = walls.iter().collect();
    let Keepers { memory, processes, cpu, files, disk } = Keepers::of(walls);
    tracing::info!(?standing, ?memory, ?processes, ?cpu, ?files, ?disk, "walls");
}

/// Waits for the next of a signal that may not be listened for.
async fn heard(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

/// Reads the file of settings again, and says what came of it.
fn reread(current: &mut Current) {
    let outcome = match current.again(variable) {
        Ok(()) => {
            tracing::info!("the settings were read again");
            "taken"
        }
        Err(error) => {
            tracing::error!(%error, "the settings stay as they were");
            "refused"
        }
    };
    metrics::counter!("config_reloads_total", "outcome" => outcome).increment(1);
}

/// The ports of this machine, and what they tell.
struct Machine {
    app: App,
    table: Arc<SqliteTable>,
    uploads: FileUploads,
    push: Arc<LocalPush>,
    nudge: Arc<Nudge>,
    changes: Changes,
    compute: Chosen,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn Ids>,
    sockets: mpsc::UnboundedReceiver<Socket>,
    exits: mpsc::UnboundedReceiver<Observed>,
}

impl Machine {
    fn open(options: &Up, data: &DataDir, address: SocketAddr) -> Result<Self, UpError> {
        let file = |source| UpError::File { path: data.path().display().to_string(), source };
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
        let ids: Arc<dyn Ids> = Arc::new(OsIds::default());
        let table = Arc::new(SqliteTable::open(data.path().join("reeve.db"), Arc::clone(&clock))?);
        let (feed, nudge) = (Arc::new(LocalFeed::default()), Arc::new(Nudge::default()));
        let push = Arc::new(LocalPush::default());
        let (ear, changes) = stream_socket::changes(Arc::clone(&push));
        table.on_commit({
            let (feed, nudge) = (Arc::clone(&feed), Arc::clone(&nudge));
            move |commit| {
                feed.observe(commit);
                nudge.observe(commit);
                ear.observe(commit);
            }
        });
        let (compute, sockets, exits) = compute::open(options, data).map_err(UpError::Compute)?;
        let signing_key = installation::signing_key(data.path(), &*ids).map_err(file)?;
        let stream_url = format!("ws://{address}{}", stream_socket::PATH);
        let uploads = FileUploads::open(
            data.path().join("uploads"),
            format!("http://{address}{}", uploads::PATH),
            Arc::clone(&clock),
        );
        let uploads = uploads.map_err(file)?;
        let sources = options.sources();
        let reach = downloads::reach(options, &sources, variable);
        let fetch = Arc::new(HttpFetch::new(reach).map_err(UpError::Tls)?);
        let bundles = BundleConfig {
            dir: data.path().join("bundles"),
            npm: sources.npm.clone(),
            pypi: sources.pypi.clone(),
            environment: downloads::installers(variable),
            limits: embedded::bundles::Limits::default(),
        };
        let bundles = BundleStore::open(bundles, Arc::clone(&fetch) as Arc<dyn Fetch>);
        let limits = options.limits();
        let settings = Settings { stream_url, sources, limits, ..Settings::new(Some(signing_key)) };
        let ports = Ports {
            table: Arc::clone(&table) as _,
            compute: compute.port(),
            push: Arc::clone(&push) as Arc<dyn Push>,
            feed: feed as Arc<dyn Feed>,
            blobs: Arc::new(FileBlobs::open(data.path().join("blobs")).map_err(file)?),
            uploads: Arc::new(uploads.clone()),
            workspaces: Arc::new(FileWorkspaces::new(data.path(), Arc::clone(&clock))),
            fetch,
            bundles: Arc::new(bundles.map_err(file)?),
            clock: Arc::clone(&clock),
            ids: Arc::clone(&ids),
        };
        let app = App::new(ports, settings);
        Ok(Self { app, table, uploads, push, nudge, changes, compute, clock, ids, sockets, exits })
    }

    /// Takes over what an earlier process left, and begins to carry out what is due.
    async fn start(self, egress: Router) -> Result<Running, UpError> {
        let Self {
            app,
            table,
            uploads,
            push,
            nudge,
            changes,
            compute,
            clock,
            ids,
            sockets,
            mut exits,
        } = self;
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        tasks.spawn(changes.publish(app.clone(), stop.clone()));
        let streams =
            Streams { push: Arc::clone(&push), clock: Arc::clone(&clock), ids, stop: stop.clone() };
        let (rest, errands) = (stop.child_token(), TaskTracker::new());
        tasks.spawn(egress_socket::serve(app.clone(), push, egress, sockets, stop.clone()));
        tasks.spawn({
            let app = app.clone();
            async move {
                while let Some(observed) = exits.recv().await {
                    if let Err(error) = app.containers().exited(observed).await {
                        // The watch of that start will find it gone.
                        tracing::warn!(container.id = %observed.container, %error, "an exit waits");
                    }
                }
            }
        });
        // Before anybody can ask for more.
        compute.adopt().await.map_err(UpError::Compute)?;
        app.listen_from_now();
        let found = app.containers().reconcile().await?;
        app.errands().take_over().await?;
        if found != Reconciled::default() {
            let Reconciled { kept, removed, over, left } = found;
            tracing::info!(kept, removed, over, left, "taken over");
        }
        let scheduler = tasks.spawn(scheduler::run(
            app.clone(),
            nudge,
            Arc::clone(&clock),
            errands.clone(),
            rest.clone(),
        ));
        let sweep = scheduler::sweep(table, uploads.clone(), Arc::clone(&clock), stop.clone());
        tasks.spawn(sweep);
        tasks.spawn(scheduler::reconcile(app.clone(), clock, stop.clone()));
        Ok(Running { app, streams, uploads, scheduler, rest, errands, tasks, stop })
    }
}

/// What was started.
struct Running {
    app: App,
    streams: Streams,
    uploads: FileUploads,
    scheduler: JoinHandle<()>,
    rest: CancellationToken,
    errands: TaskTracker,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Running {
    /// Begins nothing more, ends every container and tells how.
    async fn stop(self) {
        let stopped = async {
            self.rest.cancel();
            // It fails only where it has panicked, which was told.
            drop(self.scheduler.await);
            // An errand may be starting a container; one that takes too long is left to its lease.
            self.errands.close();
            drop(tokio::time::timeout(ERRANDS, self.errands.wait()).await);
            // Shims still report while their containers are ended.
            let ended = self.app.containers().stop_all().await;
            self.stop.cancel();
            ended
        };
        match tokio::time::timeout(STOP, stopped).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(%error, "a container was left: the next start finds it");
            }
            Err(_) => tracing::warn!("a container was left: the next start finds it"),
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "configuration is read where the process starts")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

async fn first_key(
    machine: &Machine,
    options: &Up,
    data: &DataDir,
) -> Result<(String, RealmId), UpError> {
    let file = |source| UpError::File { path: data.path().display().to_string(), source };
    let (text, key) = if let Some(Key(text, key)) = &options.bootstrap_key {
        (text.clone(), key.clone())
    } else {
        let text = installation::bootstrap_key(data.path(), &*machine.ids, &*machine.clock)
            .map_err(file)?;
        let key: PresentedKey = text.parse().map_err(|_| {
            file(io::Error::new(io::ErrorKind::InvalidData, "bootstrap-key is not a key"))
        })?;
        (text, key)
    };
    let realm = machine.app.realms().bootstrap(&key).await?;
    Ok((text, realm))
}

fn announce(options: &Up, url: &str, api_key: &str, realm: RealmId) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if options.json {
        writeln!(out, "{}", json!({ "url": url, "apiKey": api_key, "realmId": realm }))?;
    } else {
        writeln!(out, "Reeve is up at {url}\n")?;
        writeln!(out, "  console   {url}/#key={api_key}")?;
        writeln!(out, "  API key   {api_key}")?;
        writeln!(out, "  API       {url}/v1/docs\n")?;
    }
    out.flush()
}
