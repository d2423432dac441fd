//! How long what passes by itself is waited for.

use std::time::Duration;

use app::ports::Clock;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use domain::Timestamp;

/// The longest wait before the second attempt; it doubles with each, up to the second.
const FIRST: Duration = Duration::from_millis(20);
const LONGEST: Duration = Duration::from_secs(1);

/// What DynamoDB says where the same request may do the next time, beside every failure of the
/// service itself.
const PASSING: [&str; 7] = [
    "LimitExceededException",
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "ThrottlingException",
    "TransactionConflictException",
    "TransactionInProgressException",
    "InternalServerError",
];

/// Waits between attempts, with full jitter, until a deadline.
pub(super) struct Patience<'a> {
    clock: &'a dyn Clock,
    until: Timestamp,
    longest: Duration,
}

impl<'a> Patience<'a> {
    pub(super) fn new(clock: &'a dyn Clock, deadline: Duration) -> Self {
        Self { clock, until: clock.now().after(deadline), longest: FIRST }
    }

    /// Waits a while, unless there is no time left to try again.
    pub(super) async fn wait(&mut self) -> bool {
        let wait = jitter(self.longest);
        self.longest = (self.longest * 2).min(LONGEST);
        let now = self.clock.now();
        if now.after(wait) >= self.until {
            return false;
        }
        self.clock.wait(wait).await;
        true
    }
}

/// Any time up to `longest`: those who were refused together do not come again together.
fn jitter(longest: Duration) -> Duration {
    let mut chance = [0; 4];
    // Without chance, everybody waits as long as may be.
    if getrandom::fill(&mut chance).is_err() {
        return longest;
    }
    longest.mul_f64(f64::from(u32::from_be_bytes(chance)) / f64::from(u32::MAX))
}

/// Whether the same request may do the next time. An answer that was lost counts as such: who asks
/// again must be sure that it does no harm.
pub(super) fn passes<E: ProvideErrorMetadata>(error: &SdkError<E>) -> bool {
    match error {
        SdkError::TimeoutError(_) | SdkError::DispatchFailure(_) | SdkError::ResponseError(_) => {
            true
        }
        SdkError::ServiceError(refused) => {
            let status = refused.raw().status().as_u16();
            let code = refused.err().code();
            status >= 500 || status == 429 || code.is_some_and(|code| PASSING.contains(&code))
        }
        // Not sent at all, or of a kind that is not known here.
        SdkError::ConstructionFailure(_) | _ => false,
    }
}
