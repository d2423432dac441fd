//! The workers behind what invokes them: queues, schedules, change streams, the platform.

mod bootstrap;
mod changes;
mod tasks;

use std::sync::Arc;
use std::time::Duration;

use gate::Function;
use serde::de::IgnoredAny;

use crate::Error;
use crate::invocation::{each, left};
use crate::ports::{self, Wanted};
use crate::process::Process;

/// What is kept back of a scheduler's time: nothing new is begun in it.
const RESERVE: Duration = Duration::from_secs(10);

/// Serves `function` for as long as the process lives.
pub(crate) async fn serve(process: Process, function: &'static Function) -> Result<(), Error> {
    let app = ports::app(&process, &Wanted::of_function(function)).await?;
    match function.id {
        "workers.scheduler" => {
            let clock = Arc::clone(&process.clock);
            each(process, async |_: IgnoredAny, context| {
                let until = clock.now().after(left(&*clock, context, RESERVE));
                let carried_out = ::workers::scheduler::drain(&app, &*clock, until).await?;
                tracing::info!(carried_out, "drained");
                Ok(())
            })
            .await
        }
        "workers.changes" => changes::serve(process, app).await,
        "workers.tasks" => tasks::serve(process, app).await,
        "workers.bootstrap" => bootstrap::serve(process, app).await,
        id => Err(format!("{id} has no handler").into()),
    }
}
