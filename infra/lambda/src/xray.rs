//! What an invocation asked of other services, as X-Ray shows it below the invocation.
//!
//! What holds here: each call of an SDK is a span already; its end is one datagram to the daemon that
//! Lambda runs beside a traced function. Nobody waits for it, and where it is lost, only the picture
//! lacks a line. An invocation that is not sampled sends nothing.

use std::net::UdpSocket;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use app::ports::{Clock, Ids};
use domain::Timestamp;
use serde_json::json;
use tracing::Subscriber;
use tracing::span::{Attributes, Id};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

/// What a header of a trace says: `Root=<id>;Parent=<id>;Sampled=1`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Trace {
    root: String,
    parent: String,
}

impl Trace {
    /// None where the trace is not sampled.
    fn sampled(header: &str) -> Option<Self> {
        let part = |name: &str| {
            let parts = header.split(';').filter_map(|part| part.trim().split_once('='));
            parts.into_iter().find(|(known, _)| *known == name).map(|(_, value)| value.to_owned())
        };
        (part("Sampled")? == "1").then_some(Self { root: part("Root")?, parent: part("Parent")? })
    }
}

/// The trace of the invocation that a process is at: there is one at a time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Current(Arc<Mutex<Option<Trace>>>);

impl Current {
    /// An invocation begins.
    pub(crate) fn set(&self, header: Option<&str>) {
        *self.lock() = header.and_then(Trace::sampled);
    }

    fn lock(&self) -> MutexGuard<'_, Option<Trace>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells the daemon of calls.
pub(crate) struct Calls {
    daemon: UdpSocket,
    current: Current,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn Ids>,
}

/// A call that has not ended.
struct Call {
    trace: Trace,
    started: Timestamp,
}

impl Calls {
    /// Tells the daemon at this address of the calls of `current`.
    pub(crate) fn new(
        daemon: &str,
        current: Current,
        clock: Arc<dyn Clock>,
        ids: Arc<dyn Ids>,
    ) -> std::io::Result<Self> {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        socket.connect(daemon)?;
        socket.set_nonblocking(true)?;
        Ok(Self { daemon: socket, current, clock, ids })
    }

    fn tell(&self, name: &str, call: &Call) {
        let Some((service, operation)) = name.split_once('.') else { return };
        let ulid = self.ids.ulid(call.started);
        let subsegment = json!({
            "name": service,
            "id": format!("{:016x}", u64::try_from(ulid.0 & u128::from(u64::MAX)).unwrap_or_default()),
            "trace_id": call.trace.root,
            "parent_id": call.trace.parent,
            "type": "subsegment",
            "namespace": "aws",
            "start_time": seconds(call.started),
            "end_time": seconds(self.clock.now()),
            "aws": { "operation": operation },
        });
        let datagram = format!("{{\"format\":\"json\",\"version\":1}}\n{subsegment}");
        // As said above: nobody misses it.
        self.daemon.send(datagram.as_bytes()).ok();
    }
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 fit for a long time")]
fn seconds(time: Timestamp) -> f64 {
    time.as_millis() as f64 / 1e3
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Calls {
    fn on_new_span(&self, _: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if let (Some(span), Some(trace)) = (context.span(id), self.current.lock().clone()) {
            span.extensions_mut().insert(Call { trace, started: self.clock.now() });
        }
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        if let Some(span) = context.span(&id)
            && let Some(call) = span.extensions().get::<Call>()
        {
            self.tell(span.name(), call);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_sampled_trace_is_told_of() {
        let sampled =
            "Root=1-5759e988-bd862e3fe1be46a9;Parent=53995c3f42cd8ad8;Sampled=1;Lineage=a:0";
        let trace = Trace::sampled(sampled).unwrap();
        assert_eq!(trace.root, "1-5759e988-bd862e3fe1be46a9");
        assert_eq!(trace.parent, "53995c3f42cd8ad8");
        assert_eq!(Trace::sampled(&sampled.replace("Sampled=1", "Sampled=0")), None);
        assert_eq!(Trace::sampled("Root=1-2;Sampled=1"), None);
        assert_eq!(Trace::sampled(""), None);
    }
}
