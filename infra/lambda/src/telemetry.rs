//! Logs and figures: lines of JSON on standard output, which is where Lambda takes both from.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use app::ports::{Clock, Ids};
use lambda_runtime::Context;
use metrics_cloudwatch_embedded::{Builder, Collector};
use tracing::level_filters::LevelFilter;
use tracing::{Metadata, Span, field};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::{Error, xray};

/// The namespace of the figures where the environment names none.
const NAMESPACE: &str = "Reeve";

/// What a process is told of how it is watched.
pub(crate) struct Watched {
    /// The least serious that is written; `INFO` where it is none.
    pub(crate) level: Option<String>,
    /// The namespace of the figures, where it is another one.
    pub(crate) namespace: Option<String>,
    /// Where the daemon of X-Ray listens, where it does.
    pub(crate) daemon: Option<String>,
}

/// Where an invocation says what it does.
#[derive(Clone)]
pub(crate) struct Telemetry {
    figures: &'static Collector,
    trace: xray::Current,
}

impl Telemetry {
    /// Begins to write.
    pub(crate) fn install(
        watched: Watched,
        clock: &Arc<dyn Clock>,
        ids: &Arc<dyn Ids>,
    ) -> Result<Self, Error> {
        let level = watched.level.and_then(|level| level.parse().ok()).unwrap_or(LevelFilter::INFO);
        let log = tracing_subscriber::fmt::layer()
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(true)
            .with_ansi(false)
            .with_filter(level);
        let trace = xray::Current::default();
        let calls = watched.daemon.map(|daemon| {
            xray::Calls::new(&daemon, trace.clone(), Arc::clone(clock), Arc::clone(ids))
        });
        let calls = calls.transpose()?.map(|calls| calls.with_filter(filter_fn(is_call)));
        tracing_subscriber::registry().with(log).with(calls).try_init()?;
        let namespace = watched.namespace.unwrap_or_else(|| NAMESPACE.to_owned());
        let figures = Builder::new()
            .cloudwatch_namespace(namespace)
            .init()
            .map_err(|error| format!("cannot keep figures: {error}"))?;
        Ok(Self { figures, trace })
    }

    /// An invocation begins: what every line of it carries. Who authenticates adds the realm.
    pub(crate) fn span(&self, function: &str, context: &Context) -> Span {
        self.trace.set(context.xray_trace_id.as_deref());
        tracing::info_span!(
            "invocation",
            function,
            request_id = context.request_id,
            xray_trace_id = context.xray_trace_id.as_deref().map(root),
            realm = field::Empty,
        )
    }

    /// Writes the figures that came together in an invocation: afterwards the process may be frozen.
    pub(crate) fn flush(&self, context: &Context) {
        self.figures.set_property("request_id", context.request_id.as_str());
        if let Err(error) = self.figures.flush(io::stdout().lock()) {
            tracing::warn!(%error, "figures were lost");
        }
    }
}

/// Whether a span is a call of an SDK.
fn is_call(span: &Metadata<'_>) -> bool {
    span.is_span() && span.target().starts_with("aws_sdk_") && span.name().contains('.')
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
