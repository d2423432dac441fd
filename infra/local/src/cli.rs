//! The command line.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use app::registry::Sources;
use clap::{Args, Parser, Subcommand};
use domain::key::PresentedKey;
use domain::limits::Limits;
use domain::text::Slug;
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{fmt, reload};

use crate::config::Config;
use crate::up::{self, UpError};

/// A control plane for software agents.
#[derive(Debug, Parser)]
#[command(name = "reeve", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Starts the whole system in this process and stays until it is told to stop.
    Up(Up),
}

/// How to start.
#[derive(Clone, Debug, Args)]
pub(crate) struct Up {
    /// Where to listen. Port 0 takes a free one.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7300")]
    pub(crate) listen: SocketAddr,
    /// Where everything is kept. One process at a time.
    #[arg(long, value_name = "DIR", default_value = ".reeve")]
    pub(crate) data: PathBuf,
    /// A file of settings, in TOML: log, models, repositories and limits; the README says which. What is
    /// said here or in the environment counts before it. SIGHUP has it read again.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Print one line of JSON when ready, {"url","apiKey","realmId"}, and nothing else on stdout.
    #[arg(long)]
    pub(crate) json: bool,
    /// Have an agent read a repository and write a report about it, to watch.
    #[arg(long)]
    pub(crate) demo: bool,
    /// A repository that agents may ask for by name; they see it read-only. May be repeated. The demo
    /// reads the one called `checkout`, which is this checkout where it is not given.
    #[arg(long, value_name = "NAME=PATH", value_parser = repository)]
    pub(crate) repository: Vec<(String, PathBuf)>,
    /// Where agents run: in sandboxes of this machine, or in containers of the Docker engine that
    /// `DOCKER_HOST` names.
    #[arg(long, value_enum, default_value_t = Kind::Sandbox)]
    pub(crate) compute: Kind,
    /// The image of `--compute docker`; `infra/aws/images/build` makes it.
    #[arg(long, default_value = "reeve-shim")]
    pub(crate) image: String,
    /// What each agent may take of this machine, as NAME=VALUE: memory, disk or scratch in bytes (K, M
    /// and G are understood), processes, files (open ones, of each process), inodes, or cpu
    /// (processors, of all agents of a container together, where the kernel counts them). May be
    /// repeated.
    #[arg(long, value_name = "NAME=VALUE", value_parser = limit)]
    pub(crate) limit: Vec<String>,
    /// The registry of agents: the URL of a document of the official form, or `file:` and the path of
    /// one; synced at the start and then every `--registry-interval`. Left out: the official one, when
    /// somebody asks for it. `REEVE_REGISTRY_KEY` is shown to it, where it is another Reeve.
    #[arg(long, value_name = "URL", env = "REEVE_REGISTRY")]
    pub(crate) registry: Option<String>,
    /// Seconds from one sync of the registry to the next; 0 for none.
    #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
    pub(crate) registry_interval: u64,
    /// The npm registry that packages come from.
    #[arg(long, value_name = "URL", env = "REEVE_NPM_REGISTRY")]
    pub(crate) npm_registry: Option<String>,
    /// The Python package index that packages come from.
    #[arg(long, value_name = "URL", env = "REEVE_PYTHON_INDEX")]
    pub(crate) python_index: Option<String>,
    /// A server that may be downloaded from though it is not on the internet, or over plain http: its
    /// URL. The three above are vouched for by being named. May be repeated.
    #[arg(long, value_name = "URL")]
    pub(crate) vouch: Vec<String>,
    /// The first key: `rk_<ULID>_<at least 16 of A-Z a-z 0-9 - _>`. Made and kept in the data
    /// directory where it is not given.
    #[arg(long, env = "REEVE_BOOTSTRAP_KEY", hide_env_values = true, value_parser = key)]
    pub(crate) bootstrap_key: Option<Key>,
}

/// Where agents run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kind {
    /// Linux namespaces, without a daemon.
    Sandbox,
    /// Containers of a Docker engine.
    Docker,
}

/// A key on the command line: as it was typed, and never shown by `Debug`.
#[derive(Clone)]
pub(crate) struct Key(pub(crate) String, pub(crate) PresentedKey);

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.1.fmt(f)
    }
}

fn key(text: &str) -> Result<Key, String> {
    text.parse()
        .map(|key| Key(text.to_owned(), key))
        .map_err(|_| "must be rk_<ULID>_<at least 16 of A-Z a-z 0-9 - _>".to_owned())
}

fn repository(text: &str) -> Result<(String, PathBuf), String> {
    let (name, path) = text.split_once('=').ok_or("must be NAME=PATH")?;
    if Slug::new(name).is_err() || name.contains('/') {
        return Err(format!("`{name}` is not a name: letters, digits, `.`, `_` and `-`"));
    }
    Ok((name.to_owned(), PathBuf::from(path)))
}

fn limit(text: &str) -> Result<String, domain::limits::Malformed> {
    Limits::default().with(text).map(|_| text.to_owned())
}

impl Up {
    /// The limits of each agent; the last of two of one name counts.
    pub(crate) fn limits(&self) -> Limits {
        let with = |limits: Limits, text: &String| limits.with(text).unwrap_or(limits);
        self.limit.iter().fold(Limits::default(), with)
    }

    /// Where agents of the catalog come from.
    pub(crate) fn sources(&self) -> Sources {
        let official = Sources::official();
        let base = |named: &Option<String>, official: String| {
            named.as_ref().map_or(official, |url| url.trim_end_matches('/').to_owned())
        };
        Sources {
            registry: self.registry.clone().unwrap_or(official.registry),
            interval: (self.registry_interval > 0)
                .then(|| Duration::from_secs(self.registry_interval)),
            npm: base(&self.npm_registry, official.npm),
            pypi: base(&self.python_index, official.pypi),
        }
    }

    /// The repositories by name; the last of two with one name counts.
    pub(crate) fn repositories(&self) -> BTreeMap<String, PathBuf> {
        self.repository.iter().cloned().collect()
    }
}

/// Does what the command line says.
pub(crate) fn run() -> Result<(), UpError> {
    let Cli { command: Command::Up(mut options) } = Cli::parse();
    let config = Config::read(&options)?;
    config.fill(&mut options);
    let (filter, log) = reload::Layer::new(config.filter());
    let lines = fmt::layer().with_writer(std::io::stderr);
    let lines = if std::io::stderr().is_terminal() {
        lines.boxed()
    } else {
        lines.json().flatten_event(true).boxed()
    };
    tracing_subscriber::registry().with(filter).with(lines).init();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(UpError::Runtime)?;
    let done = runtime.block_on(up::up(options, config, log));
    // What still hangs on a blocking call is not waited for: everything that matters is durable.
    runtime.shutdown_background();
    done
}
