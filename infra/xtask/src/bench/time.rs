//! The clock that this process shares with the agents.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Microseconds since 1970, as the echo agent says them with `!rate`.
#[expect(clippy::disallowed_methods, reason = "what is compared is two processes' clocks")]
pub(crate) fn micros() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64() * 1e6
}

/// Milliseconds since `start`.
pub(crate) fn millis_since(start: Instant) -> f64 {
    millis(start.elapsed())
}

/// A duration in milliseconds.
pub(crate) fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// A number of milliseconds, to calculate with.
pub(crate) fn millis_of(count: u64) -> f64 {
    millis(Duration::from_millis(count))
}
