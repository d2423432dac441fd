//! What the cluster says of its tasks.
//!
//! What holds here: an event only names a task; what became of it is asked of the cluster. One that
//! got lost is made good by the next schedule, which compares all that runs with all that should.

use app::App;
use app::containers::Reconciled;
use aws::compute::Ecs;
use serde::Deserialize;

use crate::Error;
use crate::invocation::each;
use crate::process::Process;

/// As much of an event as is read. What is not about a task is a schedule's.
#[derive(Deserialize)]
struct Event {
    #[serde(default)]
    detail: Detail,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Detail {
    task_arn: Option<String>,
}

/// Takes note of tasks for as long as the process lives.
pub(super) async fn serve(process: Process, app: App) -> Result<(), Error> {
    let cluster = Ecs::new(process.sdk()?, &process.environment)?;
    each(process, async |event: Event, _| {
        let Some(task) = event.detail.task_arn else {
            let Reconciled { kept, removed, over, left } = app.containers().reconcile().await?;
            tracing::info!(kept, removed, over, left, "reconciled");
            return Ok(());
        };
        if let Some(observed) = cluster.ended(&task).await? {
            tracing::info!(realm = %observed.realm, container.id = %observed.container, "ended");
            app.containers().exited(observed).await?;
        }
        Ok(())
    })
    .await
}
