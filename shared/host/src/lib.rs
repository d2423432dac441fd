//! What every platform has alike: time and chance from the operating system, which no other crate
//! asks it for, and servers outside.

mod address;
pub mod fetch;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use app::ports::{Clock, Ids};
use domain::Timestamp;
use domain::id::Ulid;

/// The time of the machine, except that it never goes back while this value lives: where the
/// machine's clock is set back, time stands still until it has caught up.
#[derive(Debug, Default)]
pub struct SystemClock {
    last: AtomicU64,
}

#[async_trait::async_trait]
impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that asks the machine")]
    fn now(&self) -> Timestamp {
        // A clock before 1970 stands still like one that was set back.
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let millis = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        Timestamp::from_millis(self.last.fetch_max(millis, Ordering::Relaxed).max(millis))
    }

    #[expect(clippy::disallowed_methods, reason = "this is the timer that the port promises")]
    async fn wait(&self, time: std::time::Duration) {
        tokio::time::sleep(time).await;
    }
}

/// ULIDs that increase strictly, and secrets.
///
/// Within a millisecond, and while time stands still, an id is its predecessor plus one: ids are
/// names, not secrets.
#[derive(Debug, Default)]
pub struct OsIds {
    last: Mutex<u128>,
}

impl Ids for OsIds {
    fn ulid(&self, now: Timestamp) -> Ulid {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        // Chance is a system call: once in a millisecond is enough.
        *last = if Ulid(*last).timestamp_ms() < now.as_millis() {
            let mut random = [0; 16];
            fill(&mut random[6..]);
            Ulid::from_parts(now.as_millis(), u128::from_be_bytes(random)).0
        } else {
            last.saturating_add(1)
        };
        Ulid(*last)
    }

    fn secret(&self) -> [u8; 32] {
        let mut secret = [0; 32];
        fill(&mut secret);
        secret
    }
}

fn fill(bytes: &mut [u8]) {
    // Linux fails this only where the system call itself is forbidden. To go on with predictable
    // secrets would be worse than to stop.
    getrandom::fill(bytes).expect("the operating system gives random bytes");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_never_goes_back() {
        let clock = SystemClock::default();
        let now = clock.now();
        assert!(now > Timestamp::from_millis(1_700_000_000_000));
        clock.last.store(now.as_millis() + 60_000, Ordering::Relaxed);
        assert_eq!(clock.now(), now.after(std::time::Duration::from_mins(1)));
    }

    #[test]
    fn ids_increase_within_a_millisecond_and_when_time_goes_back() {
        let ids = OsIds::default();
        let mut last = ids.ulid(Timestamp::from_millis(0));
        for millis in (0..1000).map(|_| 7).chain([9, 8, 1, 10]) {
            let next = ids.ulid(Timestamp::from_millis(millis));
            assert!(next > last, "{next} after {last}");
            last = next;
        }
        assert_eq!(last.timestamp_ms(), 10);
    }

    #[test]
    fn secrets_differ() {
        let ids = OsIds::default();
        assert_ne!(ids.secret(), ids.secret());
    }
}
