//! Waiting for a moment, where the moment is what is waited for.

use std::time::Duration;

use tokio::time::Instant;

/// Waits for `duration`.
#[expect(clippy::disallowed_methods, reason = "the one place where time itself is the event")]
pub(crate) async fn pass(duration: Duration) {
    tokio::time::sleep(duration).await;
}

/// Waits until `moment`; for ever where there is none.
pub(crate) async fn reach(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
