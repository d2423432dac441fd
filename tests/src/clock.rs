//! A clock that the test moves.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use app::ports::Clock;
use domain::Timestamp;

/// Stands where it was put. Waiting lets the others go first, and takes no time.
#[derive(Debug)]
pub struct Hand(AtomicU64);

impl Default for Hand {
    /// On a day of 2025.
    fn default() -> Self {
        Self(AtomicU64::new(1_763_715_612_345))
    }
}

impl Hand {
    /// Lets time pass.
    pub fn advance(&self, by: Duration) {
        self.0.fetch_add(u64::try_from(by.as_millis()).unwrap(), Ordering::Relaxed);
    }
}

#[async_trait::async_trait]
impl Clock for Hand {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::Relaxed))
    }

    async fn wait(&self, _: Duration) {
        tokio::task::yield_now().await;
    }
}
