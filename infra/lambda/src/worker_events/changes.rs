//! The table's change stream.
//!
//! What holds here: changes of one partition come in the order of their commits, and one that failed
//! comes again with all that are behind it. So whatever is done with a change may be done twice.
//!
//! Batches of events get their place in their realm's log first, and then go to whoever follows: a
//! position that is told of is one that reads back.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use app::App;
use app::stream::{self, Delivery};
use aws::{FARTHEST, Nudges, Sdk};
use aws_lambda_events::streams::{DynamoDbBatchItemFailure, DynamoDbEventResponse};
use domain::Timestamp;
use serde::Deserialize;

use crate::Error;
use crate::invocation::each;
use crate::process::Process;

/// As much of a batch of changes as is read.
#[derive(Deserialize)]
struct Batch {
    #[serde(rename = "Records")]
    records: Vec<Record>,
}

#[derive(Deserialize)]
struct Record {
    dynamodb: Change,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Change {
    sequence_number: String,
    // None where the item was removed.
    new_image: Option<Image>,
}

/// An item of the table, as it is stored. A counter has no body.
#[derive(Deserialize)]
struct Image {
    pk: Text,
    sk: Text,
    body: Option<Text>,
}

#[derive(Deserialize)]
struct Text {
    #[serde(rename = "S")]
    text: String,
}

/// Takes changes for as long as the process lives.
pub(super) async fn serve(process: Process, app: App) -> Result<(), Error> {
    let sdk = Sdk::new(&process.environment)?;
    let nudges = Nudges::new(&sdk, process.environment.errands_queue()?);
    let clock = process.clock.clone();
    each(process, async |batch: Batch, _| {
        let delays = delays(&batch, clock.now());
        let mut response = DynamoDbEventResponse::default();
        if !delays.is_empty() {
            let wanted: BTreeSet<u32> = delays.keys().copied().collect();
            let failed = nudges.send(&wanted).await;
            // The earliest is enough: it comes again with all that are behind it.
            let failed = failed.iter().filter_map(|delay| delays.get(delay));
            if let Some(&first) = failed.min() {
                let mut item = DynamoDbBatchItemFailure::default();
                item.item_identifier = Some(batch.records[first].dynamodb.sequence_number.clone());
                response.batch_item_failures.push(item);
            }
        }
        // Behind the nudges, which wait for nobody. Where it fails, all of it comes again.
        tell(&app, &batch).await?;
        Ok(response)
    })
    .await
}

/// Gives events their place in the log, and everything to whoever follows it.
async fn tell(app: &App, batch: &Batch) -> Result<(), app::Error> {
    let mut changes = Vec::new();
    for record in &batch.records {
        let Some(Image { pk, sk, body: Some(body) }) = &record.dynamodb.new_image else { continue };
        match stream::Change::read(&pk.text, &sk.text, &body.text) {
            Some(Ok(change)) => changes.push(change),
            None => {}
            // Whoever reads the session meets it, too.
            Some(Err(error)) => tracing::error!(%error, "a change does not parse"),
        }
    }
    if changes.is_empty() {
        return Ok(());
    }
    app.stream().sequence(&changes).await?;
    app.stream().publish(changes, Delivery::Again).await
}

/// The seconds after which the scheduler is to look, each with the first change that asks for it. One
/// look finds all that is due by then, so one message for each second is enough.
fn delays(batch: &Batch, now: Timestamp) -> BTreeMap<u32, usize> {
    let mut delays = BTreeMap::new();
    for (at, record) in batch.records.iter().enumerate() {
        let Some(Image { pk, sk, body: Some(body) }) = &record.dynamodb.new_image else { continue };
        match store::due::from_change(&pk.text, &sk.text, &body.text) {
            // Somebody has it: should that one die, the schedule finds it soon enough.
            Some(Ok(due)) if !due.claimed => {
                if let Some(delay) = seconds(due.at.since(now)) {
                    delays.entry(delay).or_insert(at);
                }
            }
            Some(Ok(_)) | None => {}
            // The scheduler meets it, too, and says so.
            Some(Err(error)) => tracing::error!(%error, "an errand does not parse"),
        }
    }
    delays
}

/// Whole seconds, not sooner than `wait`; none where a message cannot wait so long.
fn seconds(wait: Duration) -> Option<u32> {
    let whole = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    u32::try_from(whole).ok().filter(|_| wait <= FARTHEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scheduler_is_not_to_look_too_soon() {
        assert_eq!(seconds(Duration::ZERO), Some(0));
        assert_eq!(seconds(Duration::from_millis(1)), Some(1));
        assert_eq!(seconds(Duration::from_secs(1)), Some(1));
        assert_eq!(seconds(FARTHEST), Some(900));
        assert_eq!(seconds(FARTHEST + Duration::from_millis(1)), None);
    }
}
