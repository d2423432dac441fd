//! The service `egress`: see the library.

use std::net::SocketAddr;
use std::process::ExitCode;

use clap::Parser;
use clap::builder::FalseyValueParser;
use egress::{Config, Control, Limits, Service};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// The only way out of a container. Model endpoints are set up by the variables of their client
/// libraries: `ANTHROPIC_API_KEY`, `ANTHROPIC_BASE_URL`, `ANTHROPIC_MODEL`, `OPENAI_API_KEY`,
/// `OPENAI_BASE_URL`, `OPENAI_MODEL`, `GEMINI_API_KEY`, `GOOGLE_GEMINI_BASE_URL`, `GEMINI_MODEL`.
/// `REEVE_HTTP_AGENTS` lists the addresses under which agents of the driver `http` may be.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Where containers find it
    #[arg(long, env = "REEVE_LISTEN", default_value = "0.0.0.0:8080")]
    listen: SocketAddr,
    /// The WebSocket API of the control plane, with its stage: `wss://host/stage`
    #[arg(long, env = "REEVE_CONTROL", required_unless_present = "check")]
    control: Option<String>,
    /// Let the scripted model stand in where no provider is set up
    #[arg(long, env = "REEVE_SCRIPTED", value_parser = FalseyValueParser::new())]
    scripted: bool,
    /// The most connections from one address
    #[arg(long, env = "REEVE_CONNECTIONS_PER_PEER", default_value_t = 256)]
    connections_per_peer: usize,
    /// The most connections in all
    #[arg(long, env = "REEVE_CONNECTIONS", default_value_t = 4096)]
    connections: usize,
    /// Ask the one that runs here whether it is well, and do nothing else
    #[arg(long)]
    check: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.check {
        let well = egress::check(arguments.listen.port()).await;
        return if well { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    tracing_subscriber::fmt().json().with_env_filter(filter).init();
    match run(arguments).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "egress cannot run");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<(), Box<dyn std::error::Error>> {
    #[expect(clippy::disallowed_methods, reason = "this is where the process starts")]
    let config = Config::from_vars(|name| std::env::var(name).ok()).scripted(arguments.scripted);
    let models = config.describe();
    let control = Control::new(&arguments.control.unwrap_or_default())?;
    let limits = Limits { per_peer: arguments.connections_per_peer, total: arguments.connections };
    let service = Service::new(config, control.clone(), limits)?;
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let listener = tokio::net::TcpListener::bind(arguments.listen).await?;
    tracing::info!(listen = %listener.local_addr()?, ?control, models, "ready");
    let stop = CancellationToken::new();
    let mut serving = std::pin::pin!(egress::serve(listener, service, stop.clone()));
    tokio::select! {
        () = &mut serving => return Ok(()),
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
    tracing::info!("stopping");
    stop.cancel();
    serving.await;
    Ok(())
}
