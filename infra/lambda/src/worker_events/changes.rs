//! The table's change stream.
//!
//! What holds here: changes of one partition come in the order of their commits, and one that failed
//! comes again with all that are behind it. So whatever is done with a change may be done twice.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::time::Duration;

use app::App;
use app::stream::{Change, Delivery};
use aws::table::Body;
use aws::{FARTHEST, Nudges};
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
    dynamodb: Changed,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Changed {
    sequence_number: String,
    // None where the item was removed.
    new_image: Option<Image>,
}

/// An item of the table, as it is stored. A counter has no body.
#[derive(Deserialize)]
struct Image {
    pk: Text,
    sk: Text,
    body: Option<Body>,
}

#[derive(Deserialize)]
struct Text {
    #[serde(rename = "S")]
    text: String,
}

/// Takes changes for as long as the process lives.
///
/// Who publishes again must begin where it began before, so a batch is done with as a whole or comes
/// again as a whole. Nudges and positions may be given any number of times, and come first.
pub(super) async fn serve(process: Process, app: App) -> Result<(), Error> {
    let nudges = Nudges::new(process.sdk()?, process.environment.errands_queue()?);
    let clock = process.clock.clone();
    each(process, async |batch: Batch, _| {
        let mut response = DynamoDbEventResponse::default();
        if let Err(error) = take(&app, &nudges, &batch, clock.now()).await {
            tracing::error!(%error, "a batch of changes is to come again");
            let mut item = DynamoDbBatchItemFailure::default();
            item.item_identifier =
                batch.records.first().map(|first| first.dynamodb.sequence_number.clone());
            response.batch_item_failures.push(item);
        }
        Ok(response)
    })
    .await
}

/// Key and body of a document that was written.
type Written<'a> = (&'a str, &'a str, Cow<'a, str>);

async fn take(app: &App, nudges: &Nudges, batch: &Batch, now: Timestamp) -> Result<(), Error> {
    let written: Vec<_> = batch.written().collect();
    let delays = delays(&written, now);
    if !delays.is_empty() && !nudges.send(&delays).await.is_empty() {
        return Err("nudges were not sent".into());
    }
    let changes = written.iter().filter_map(|(pk, sk, body)| Change::read(pk, sk, body));
    // What does not parse now never will, and is not to hold up what is behind it.
    let changes: Vec<_> = changes
        .filter_map(|change| {
            change.inspect_err(|error| tracing::error!(%error, "a change does not parse")).ok()
        })
        .collect();
    if !changes.is_empty() {
        app.stream().sequence(&changes).await?;
        app.stream().publish(changes, Delivery::Again).await?;
    }
    Ok(())
}

impl Batch {
    /// Each document that was written.
    fn written(&self) -> impl Iterator<Item = Written<'_>> {
        self.records.iter().filter_map(|record| {
            let Image { pk, sk, body } = record.dynamodb.new_image.as_ref()?;
            let body = body.as_ref()?.text();
            let body = body.inspect_err(|error| tracing::error!(%error, pk = pk.text, "a change"));
            Some((&*pk.text, &*sk.text, body.ok()?))
        })
    }
}

/// The seconds after which the scheduler is to look. One look finds all that is due by then, so one
/// message for each second is enough.
fn delays(written: &[Written<'_>], now: Timestamp) -> BTreeSet<u32> {
    let errands = written.iter().filter_map(|(pk, sk, body)| store::due::from_change(pk, sk, body));
    errands
        .filter_map(|due| match due {
            // Somebody has it: should that one die, the schedule finds it soon enough.
            Ok(due) if due.held_until.is_some() => None,
            Ok(due) => seconds(due.at.since(now)),
            // The scheduler meets it, too, and says so.
            Err(error) => {
                tracing::error!(%error, "an errand does not parse");
                None
            }
        })
        .collect()
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
