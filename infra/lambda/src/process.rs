//! One process: what it was told at its start.

use std::fmt::Display;
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};

use app::ports::{Clock, Ids};
use aws::{Environment, EnvironmentError, Sdk};
use gate::Function;
use host::{OsIds, SystemClock};

use crate::Error;
use crate::telemetry::{Telemetry, Watched};

/// What every invocation of a process shares. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Process {
    handler: Arc<str>,
    pub(crate) environment: Arc<Environment>,
    sdk: Arc<OnceLock<Sdk>>,
    pub(crate) telemetry: Telemetry,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ids: Arc<dyn Ids>,
}

impl Process {
    /// The id of the function it is.
    pub(crate) fn handler(&self) -> &str {
        &self.handler
    }

    /// What every client of the process shares, made when it is needed first.
    pub(crate) fn sdk(&self) -> Result<&Sdk, EnvironmentError> {
        if let Some(sdk) = self.sdk.get() {
            return Ok(sdk);
        }
        let sdk = Sdk::new(&self.environment)?;
        Ok(self.sdk.get_or_init(|| sdk))
    }

    /// The function it is, which must be one of `functions`.
    pub(crate) fn pick(&self, functions: &'static [Function]) -> Result<&'static Function, Error> {
        functions.iter().find(|function| function.id == &*self.handler).ok_or_else(|| {
            format!("_HANDLER is {:?}, which is no function of this artifact", self.handler).into()
        })
    }
}

#[expect(clippy::disallowed_methods, reason = "configuration is read where the process starts")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Runs `serve` for as long as Lambda wants the process.
pub(crate) fn run(serve: impl AsyncFnOnce(Process) -> Result<(), Error>) -> ExitCode {
    let (clock, ids): (Arc<dyn Clock>, Arc<dyn Ids>) =
        (Arc::new(SystemClock::default()), Arc::new(OsIds::default()));
    let watched = Watched {
        level: variable("AWS_LAMBDA_LOG_LEVEL"),
        namespace: variable("REEVE_METRICS"),
        daemon: variable("AWS_XRAY_DAEMON_ADDRESS"),
    };
    let served = Telemetry::install(watched, &clock, &ids).and_then(|telemetry| {
        let process = Process {
            handler: variable("_HANDLER").unwrap_or_default().into(),
            environment: Arc::new(Environment::from_vars(variable)),
            sdk: Arc::default(),
            telemetry,
            clock,
            ids,
        };
        // One invocation at a time, which waits for the network: one thread does.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(serve(process))
    });
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&error);
            ExitCode::FAILURE
        }
    }
}

/// Says why the process ends where Lambda keeps it, whether or not the log was set up.
fn say(error: &dyn Display) {
    #[expect(clippy::print_stderr, reason = "the process ends with this")]
    {
        eprintln!("{}", serde_json::json!({ "level": "ERROR", "message": error.to_string() }));
    }
}
