//! `cargo xtask bench`: what a release build of reeve does, measured, beside what it should do.
//!
//! What holds here
//! - Everything is measured from outside, over the protocols anybody speaks: `reeve up` is a process,
//!   agents are echo agents in real sandboxes, what the product knows is read from its `/metrics`.
//! - A ratio compares two things of one run, measured in turns.
//! - A loaded machine makes figures worse, never better: each is the median of several rounds, and
//!   the load before and after is written down with them.
//!
//! Where others work on the same machine, `nice -n -15 cargo xtask bench` shows what it would be
//! without them, but for the disk.
//!
//! It runs as a release build itself, because it takes turns with what it measures: where it is not
//! one, it builds and starts it.

mod bare;
mod busy;
mod client;
mod container;
mod docker;
mod figure;
mod functions;
mod get;
mod latency;
mod list;
mod load;
mod rebuild;
mod reconcile;
mod reeve;
mod startup;
mod throughput;
mod time;
mod units;
mod wake;
mod workspace;

use std::path::{Path, PathBuf};
use std::process::Command;

use clap::{Args, Subcommand, ValueEnum};

use figure::{Figure, Report};

/// Whatever went wrong.
pub(crate) type Error = Box<dyn std::error::Error + Send + Sync>;

type Result<T> = std::result::Result<T, Error>;

/// What to measure.
#[derive(Debug, Args)]
pub(crate) struct Bench {
    /// Only these parts. May be repeated.
    #[arg(long, value_enum)]
    only: Vec<Part>,
    /// Also how long it takes to build again after one handler was touched.
    #[arg(long)]
    rebuild: bool,
    /// Where the figures are written.
    #[arg(long, value_name = "PATH")]
    json: Option<PathBuf>,
}

impl Bench {
    fn wants(&self, part: Part) -> bool {
        self.only.is_empty() || self.only.contains(&part)
    }
}

/// A process that the bench starts for itself.
#[derive(Debug, Subcommand)]
pub(crate) enum Helper {
    /// A bare axum route.
    #[command(hide = true)]
    BenchBare(bare::Bare),
    /// Requests, as many as there is time for.
    #[command(hide = true)]
    BenchLoad(load::Load),
}

/// A part of the bench.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    Startup,
    Container,
    Latency,
    Busy,
    Wake,
    Throughput,
    Get,
    List,
    Reconcile,
    Workspace,
    Functions,
    Units,
}

/// Where things are.
struct Here {
    /// This program and reeve, both release builds, lie side by side.
    release: PathBuf,
    /// A directory for everything that is made on the way.
    scratch: tempfile::TempDir,
}

impl Here {
    fn reeve(&self) -> PathBuf {
        self.release.join("reeve")
    }

    fn data(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }
}

/// Measures and shows.
pub(crate) fn bench(options: &Bench) -> Result<()> {
    let me = std::env::current_exe()?;
    let profile = me.parent().ok_or("this program lies in a directory")?;
    if cfg!(debug_assertions) {
        return in_release(options, profile);
    }
    let here = Here { release: profile.to_owned(), scratch: tempfile::tempdir()? };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let report = runtime.block_on(measure(options, &here))?;
    report.show();
    let json = match &options.json {
        Some(path) => path.clone(),
        None => profile.with_file_name("bench.json"),
    };
    std::fs::write(&json, report.json())?;
    figure::note(&format!("written to {}", json.display()));
    Ok(())
}

/// Runs a helper process.
pub(crate) fn help(helper: &Helper) -> Result<()> {
    match helper {
        Helper::BenchBare(bare) => bare::serve(bare),
        Helper::BenchLoad(load) => load::send(load),
    }
}

/// Builds what is measured and who measures, and hands over to it.
fn in_release(options: &Bench, profile: &Path) -> Result<()> {
    let cargo = option_env!("CARGO").unwrap_or("cargo");
    let built = Command::new(cargo)
        .args(["build", "--locked", "--release", "--package", "reeve", "--package", "xtask"])
        .status()?;
    if !built.success() {
        return Err("the release build failed".into());
    }
    if options.wants(Part::Functions) {
        functions::build(cargo)?;
    }
    let xtask = profile.with_file_name("release").join("xtask");
    let done = Command::new(xtask).args(std::env::args_os().skip(1)).status()?;
    if done.success() { Ok(()) } else { Err("the release build of the bench failed".into()) }
}

async fn measure(options: &Bench, here: &Here) -> Result<Report> {
    let mut report = Report::begin();
    let wanted = |part| options.wants(part);
    let mut keep = |name: &str, figures: Vec<Figure>| {
        figure::note(&format!("{name}: done"));
        report.figures.extend(figures);
    };
    if wanted(Part::Startup) {
        keep("startup", startup::measure(here).await?);
    }
    if wanted(Part::Container) {
        keep("container", container::measure(here).await?);
    }
    if wanted(Part::Latency) {
        keep("latency", latency::measure(here).await?);
    }
    if wanted(Part::Busy) {
        keep("busy", busy::measure(here).await?);
    }
    if wanted(Part::Wake) {
        keep("wake", wake::measure(here).await?);
    }
    if wanted(Part::Throughput) {
        keep("throughput", throughput::measure(here).await?);
    }
    if wanted(Part::Get) {
        keep("get", get::measure(here).await?);
    }
    if wanted(Part::List) {
        keep("list", list::measure(here).await?);
    }
    if wanted(Part::Workspace) {
        keep("workspace", workspace::measure(here).await?);
    }
    if wanted(Part::Reconcile) {
        keep("reconcile", reconcile::measure(here).await?);
    }
    if wanted(Part::Functions) {
        keep("functions", functions::measure(here)?);
    }
    if wanted(Part::Units) {
        keep("units", units::measure()?);
    }
    if options.rebuild {
        keep("rebuild", rebuild::measure()?);
    }
    report.end();
    Ok(report)
}
