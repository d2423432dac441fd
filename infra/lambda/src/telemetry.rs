//! Logs and figures: lines of JSON on standard output, which is where Lambda takes both from.

use std::io;
use std::time::Duration;

use lambda_runtime::Context;
use metrics_cloudwatch_embedded::{Builder, Collector};
use tracing::level_filters::LevelFilter;
use tracing::{Span, field};

use crate::Error;

/// The namespace of the figures where the environment names none.
const NAMESPACE: &str = "Reeve";

/// Where figures are gathered until an invocation ends.
#[derive(Clone, Copy)]
pub(crate) struct Telemetry(&'static Collector);

impl Telemetry {
    /// Begins to write. `level` is the least serious that is written, `INFO` where it is none;
    /// `namespace` is that of the figures.
    pub(crate) fn install(level: Option<String>, namespace: Option<String>) -> Result<Self, Error> {
        let level = level.and_then(|level| level.parse().ok()).unwrap_or(LevelFilter::INFO);
        tracing_subscriber::fmt()
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(true)
            .with_ansi(false)
            .with_max_level(level)
            .try_init()?;
        let namespace = namespace.unwrap_or_else(|| NAMESPACE.to_owned());
        let collector = Builder::new()
            .cloudwatch_namespace(namespace)
            .init()
            .map_err(|error| format!("cannot keep figures: {error}"))?;
        Ok(Self(collector))
    }

    /// What every line of an invocation carries. Who authenticates adds the realm.
    pub(crate) fn span(function: &str, context: &Context) -> Span {
        tracing::info_span!(
            "invocation",
            function,
            request_id = context.request_id,
            xray_trace_id = context.xray_trace_id.as_deref().map(root),
            realm = field::Empty,
        )
    }

    /// Writes the figures that came together in an invocation: afterwards the process may be frozen.
    pub(crate) fn flush(self, context: &Context) {
        self.0.set_property("request_id", context.request_id.as_str());
        if let Err(error) = self.0.flush(io::stdout().lock()) {
            tracing::warn!(%error, "figures were lost");
        }
    }
}

/// The trace's own id in the header of a trace: `Root=<id>;Parent=…;Sampled=…`.
fn root(header: &str) -> &str {
    header.split(';').find_map(|part| part.strip_prefix("Root=")).unwrap_or(header)
}

/// Milliseconds, as a log shows them.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_is_known_by_its_root() {
        assert_eq!(
            root("Root=1-5759e988-bd86;Parent=53995c3f42cd8ad8;Sampled=1"),
            "1-5759e988-bd86"
        );
        assert_eq!(root("Self=1-2;Root=1-3"), "1-3");
        assert_eq!(root("1-4"), "1-4");
    }
}
