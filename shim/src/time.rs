//! Waiting for a moment, where the moment is what is waited for; and what time it is, for whoever
//! measures.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// Waits for `duration`.
#[expect(clippy::disallowed_methods, reason = "the one place where time itself is the event")]
pub(crate) async fn pass(duration: Duration) {
    tokio::time::sleep(duration).await;
}

/// Microseconds since 1970.
#[expect(clippy::disallowed_methods, reason = "a script says it to be compared with another clock")]
pub(crate) fn micros() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// Waits until `moment`; for ever where there is none.
pub(crate) async fn reach(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
