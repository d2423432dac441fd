//! The loop that invokes the workers: at every nudge and when something falls due.

use std::sync::Arc;
use std::time::Duration;

use app::App;
use app::containers::Reconciled;
use app::ports::Clock;
use domain::Timestamp;
use embedded::feed::Nudge;
use embedded::sqlite::SqliteTable;
use embedded::uploads::FileUploads;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The longest nap: what a lost nudge costs at most.
const NAP: Duration = Duration::from_secs(5);

/// How often expired items are removed, and how many at a time.
const SWEEP: (Duration, usize) = (Duration::from_mins(1), 1000);

/// How often what runs is compared with what should: what else tells of an end may be lost.
const RECONCILE: Duration = Duration::from_mins(1);

/// How often figures are summed up.
const UPKEEP: Duration = Duration::from_secs(5);

/// Runs the scheduler until `stop`; what it has started is tracked by `errands`.
pub(crate) async fn run(
    app: App,
    nudge: Arc<Nudge>,
    clock: Arc<dyn Clock>,
    errands: TaskTracker,
    stop: CancellationToken,
) {
    while !stop.is_cancelled() {
        let next = match workers::scheduler::tick(&app, |errand| drop(errands.spawn(errand))).await
        {
            Ok(next) => next,
            Err(error) => {
                tracing::error!(%error, "a tick failed");
                Some(clock.now().after(Duration::from_millis(200)))
            }
        };
        let nap = next.map_or(NAP, |next: Timestamp| next.since(clock.now()).min(NAP));
        tokio::select! {
            () = nudge.nudged() => {}
            () = clock.wait(nap) => {}
            () = stop.cancelled() => {}
        }
    }
}

/// Removes what has expired, until `stop`.
pub(crate) async fn sweep(
    table: Arc<SqliteTable>,
    uploads: FileUploads,
    clock: Arc<dyn Clock>,
    stop: CancellationToken,
) {
    loop {
        if let Err(error) = uploads.sweep() {
            tracing::warn!(%error, "a sweep of uploads failed");
        }
        match table.sweep_expired(SWEEP.1).await {
            // There may be more.
            Ok(removed) if removed == SWEEP.1 => continue,
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "a sweep failed"),
        }
        tokio::select! {
            () = clock.wait(SWEEP.0) => {}
            () = stop.cancelled() => return,
        }
    }
}

/// Compares what runs with what should, until `stop`: for the first time a while after the start, which
/// did so itself.
pub(crate) async fn reconcile(app: App, clock: Arc<dyn Clock>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = clock.wait(RECONCILE) => {}
            () = stop.cancelled() => return,
        }
        match app.containers().reconcile().await {
            Ok(Reconciled { removed: 0, over: 0, left: 0, .. }) => {}
            Ok(Reconciled { kept, removed, over, left }) => {
                tracing::info!(kept, removed, over, left, "reconciled");
            }
            Err(error) => tracing::warn!(%error, "what runs could not be compared"),
        }
    }
}

/// Sums figures up, until `stop`: each would be kept by itself until somebody asks for them.
pub(crate) async fn upkeep(
    metrics: PrometheusHandle,
    clock: Arc<dyn Clock>,
    stop: CancellationToken,
) {
    loop {
        tokio::select! {
            () = clock.wait(UPKEEP) => metrics.run_upkeep(),
            () = stop.cancelled() => return,
        }
    }
}
