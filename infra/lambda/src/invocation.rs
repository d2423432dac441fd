//! One invocation that is not a request: an event comes in, it is dealt with or it is not.

use std::time::{Duration, Instant};

use app::ports::Clock;
use domain::Timestamp;
use lambda_runtime::{Context, LambdaEvent, Runtime};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tracing::Instrument;

use crate::Error;
use crate::process::Process;
use crate::telemetry::millis;

/// How long an invocation may still take, keeping `reserve` back.
pub(crate) fn left(clock: &dyn Clock, context: &Context, reserve: Duration) -> Duration {
    Timestamp::from_millis(context.deadline).since(clock.now()).saturating_sub(reserve)
}

/// Gives every event to `handle`, one after the other, for as long as the process lives. What fails
/// is said in the log and to Lambda, which tries again where the event is of that kind.
pub(crate) async fn each<E, R, F>(process: Process, handle: F) -> Result<(), Error>
where
    E: DeserializeOwned,
    R: Serialize,
    F: AsyncFn(E, &Context) -> Result<R, Error>,
{
    let (process, handle) = (&process, &handle);
    let service = lambda_runtime::service_fn(async move |event: LambdaEvent<E>| {
        let LambdaEvent { payload, context } = event;
        let started = Instant::now();
        let span = process.telemetry.span(process.handler(), &context);
        let done = async {
            let done = handle(payload, &context).await;
            let duration_ms = millis(started.elapsed());
            match &done {
                Ok(_) => tracing::info!(duration_ms, "done"),
                Err(error) => tracing::error!(duration_ms, %error, "failed"),
            }
            done
        };
        let done = done.instrument(span).await;
        process.telemetry.flush(&context);
        done
    });
    Runtime::new(service).run().await
}
