//! The queue whose messages invoke the scheduler, each at its time.
//!
//! What holds here: a message says nothing but that something may be due. One that is lost is made
//! good by the schedule, one that comes twice finds nothing.

use std::collections::BTreeSet;
use std::time::Duration;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::SendMessageBatchRequestEntry;
use aws_smithy_types::error::display::DisplayErrorContext;

use crate::Sdk;

/// The longest a queue keeps a message back. Whatever is due later, the schedule finds.
pub const FARTHEST: Duration = Duration::from_mins(15);

/// The most messages of one call.
const AT_ONCE: usize = 10;

/// The queue.
#[derive(Clone, Debug)]
pub struct Nudges {
    client: Client,
    queue: String,
}

impl Nudges {
    /// The queue of this URL.
    pub fn new(sdk: &Sdk, queue: impl Into<String>) -> Self {
        Self { client: Client::new(sdk.config()), queue: queue.into() }
    }

    /// Sends one message for each of `delays`, which are whole seconds of at most [`FARTHEST`].
    /// Answers with those it could not send. One call for ten.
    pub async fn send(&self, delays: &BTreeSet<u32>) -> BTreeSet<u32> {
        let mut failed = BTreeSet::new();
        let delays: Vec<u32> = delays.iter().copied().collect();
        for some in delays.chunks(AT_ONCE) {
            failed.extend(self.send_some(some).await);
        }
        failed
    }

    async fn send_some(&self, delays: &[u32]) -> Vec<u32> {
        let mut batch = self.client.send_message_batch().queue_url(&self.queue);
        for (id, &delay) in delays.iter().enumerate() {
            let entry = SendMessageBatchRequestEntry::builder()
                .id(id.to_string())
                .message_body("due")
                .delay_seconds(i32::try_from(delay).unwrap_or(i32::MAX))
                .build();
            match entry {
                Ok(entry) => batch = batch.entries(entry),
                Err(error) => tracing::error!(%error, "a nudge cannot be written"),
            }
        }
        match batch.send().await {
            Ok(sent) => {
                let failed = sent.failed();
                if let Some(first) = failed.first() {
                    tracing::warn!(
                        code = first.code(),
                        count = failed.len(),
                        "nudges were refused"
                    );
                }
                let ids = failed.iter().filter_map(|entry| entry.id().parse::<usize>().ok());
                ids.filter_map(|id| delays.get(id).copied()).collect()
            }
            Err(error) => {
                tracing::warn!(error = %DisplayErrorContext(&error), "nudges were not sent");
                delays.to_vec()
            }
        }
    }
}
