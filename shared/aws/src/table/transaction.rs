//! The writes of a commit in DynamoDB's words, and what a cancelled transaction says about them.

use std::collections::BTreeSet;

use aws_sdk_dynamodb::types::{
    CancellationReason, ConditionCheck, Delete, Put, ReturnValuesOnConditionCheckFailure,
    TransactWriteItem, Update,
};
use domain::Timestamp;
use store::{Conflict, Error, Expect, Write};

use super::{attributes, malformed};

/// An item that is not there, or whose time is over.
const ABSENT: &str = "attribute_not_exists(pk) OR expires_ms <= :now";

/// An item that is there at a version, its time not over.
const VERSION: &str =
    "#version = :expected AND (attribute_not_exists(expires_ms) OR expires_ms > :now)";

/// One more for the counter and its version; what is absent begins at nothing.
const ADD: &str = "SET #count = if_not_exists(#count, :zero) + :delta, \
    #version = if_not_exists(#version, :zero) + :one, #body = if_not_exists(#body, :empty)";

/// A counter within bounds, its time not over.
const WITHIN: &str = "#count >= :least AND #count <= :most \
    AND (attribute_not_exists(expires_ms) OR expires_ms > :now)";

/// The same, or no counter yet.
const WITHIN_OR_NONE: &str = "(attribute_not_exists(#count) OR (#count >= :least AND \
    #count <= :most)) AND (attribute_not_exists(expires_ms) OR expires_ms > :now)";

/// The writes of one commit, as of one moment: repeated, they are the same to the letter, as their
/// token demands.
pub(super) struct Transaction<'a> {
    writes: &'a [Write],
    now: Timestamp,
    token: String,
    /// The adds that put a new item in the place of an expired one. No update does both: whether it
    /// goes on or begins again would depend on what it finds.
    anew: BTreeSet<usize>,
}

/// What a cancelled transaction means. Nothing was written.
pub(super) enum Canceled {
    /// A write did not find what it expects.
    Conflict(Conflict),
    /// These adds, and no others, have to make their items anew.
    Otherwise(BTreeSet<usize>),
    /// Another transaction was about the same item, or there was too much to do.
    Passes,
    /// DynamoDB does not take it.
    Refused,
}

impl<'a> Transaction<'a> {
    pub(super) fn new(writes: &'a [Write], now: Timestamp) -> Self {
        Self { writes, now, token: token(), anew: BTreeSet::new() }
    }

    /// The same commit as another transaction, after the first was cancelled.
    pub(super) fn anew(self, anew: BTreeSet<usize>) -> Self {
        Self { token: token(), anew, ..self }
    }

    pub(super) fn token(&self) -> &str {
        &self.token
    }

    pub(super) fn items(&self, table: &str) -> Result<Vec<TransactWriteItem>, Error> {
        let writes = self.writes.iter().enumerate();
        writes.map(|(at, write)| self.item(table, at, write).map_err(malformed)).collect()
    }

    fn item(
        &self,
        table: &str,
        at: usize,
        write: &Write,
    ) -> Result<TransactWriteItem, aws_smithy_types::error::operation::BuildError> {
        let item = TransactWriteItem::builder();
        let now = attributes::number(self.now.as_millis());
        Ok(match write {
            Write::Put { key, body, index, expires, expect } => {
                let put = attributes::put(key, *expect, body, index.as_ref(), *expires, None);
                let mut put = Put::builder()
                    .table_name(table)
                    .set_item(Some(put))
                    .condition_expression(condition(*expect))
                    .expression_attribute_values(":now", now);
                if let Expect::Version(version) = expect {
                    put = put
                        .expression_attribute_names("#version", "version")
                        .expression_attribute_values(":expected", attributes::number(version));
                }
                item.put(put.build()?)
            }
            Write::Delete { key, expect } => {
                let mut delete = Delete::builder()
                    .table_name(table)
                    .set_key(Some(attributes::key(key)))
                    .condition_expression(condition(*expect))
                    .expression_attribute_values(":now", now);
                if let Expect::Version(version) = expect {
                    delete = delete
                        .expression_attribute_names("#version", "version")
                        .expression_attribute_values(":expected", attributes::number(version));
                }
                item.delete(delete.build()?)
            }
            Write::Check { key, expect } => {
                let mut check = ConditionCheck::builder()
                    .table_name(table)
                    .set_key(Some(attributes::key(key)))
                    .condition_expression(condition(*expect))
                    .expression_attribute_values(":now", now);
                if let Expect::Version(version) = expect {
                    check = check
                        .expression_attribute_names("#version", "version")
                        .expression_attribute_values(":expected", attributes::number(version));
                }
                item.condition_check(check.build()?)
            }
            Write::Add { key, delta, .. } if self.anew.contains(&at) => {
                let put = Put::builder()
                    .table_name(table)
                    .set_item(Some(attributes::counter(key, *delta)))
                    .condition_expression(ABSENT)
                    .expression_attribute_values(":now", now);
                item.put(put.build()?)
            }
            Write::Add { key, delta, at_least, at_most } => {
                // What the counter must be before; as wide as any sum of two.
                let before = |sum: i64| attributes::number(i128::from(sum) - i128::from(*delta));
                let fits = (*at_least..=*at_most).contains(delta);
                let update = Update::builder()
                    .table_name(table)
                    .set_key(Some(attributes::key(key)))
                    .update_expression(ADD)
                    .condition_expression(if fits { WITHIN_OR_NONE } else { WITHIN })
                    .expression_attribute_names("#count", "count")
                    .expression_attribute_names("#version", "version")
                    .expression_attribute_names("#body", "body")
                    .expression_attribute_values(":zero", attributes::number(0))
                    .expression_attribute_values(":one", attributes::number(1))
                    .expression_attribute_values(":delta", attributes::number(delta))
                    .expression_attribute_values(":empty", attributes::text(""))
                    .expression_attribute_values(":least", before(*at_least))
                    .expression_attribute_values(":most", before(*at_most))
                    .expression_attribute_values(":now", now)
                    // Says whether it failed because the item's time is over.
                    .return_values_on_condition_check_failure(
                        ReturnValuesOnConditionCheckFailure::AllOld,
                    );
                item.update(update.build()?)
            }
        }
        .build())
    }

    /// What the reasons say, of which there is one for each write.
    pub(super) fn read(&self, reasons: &[CancellationReason]) -> Canceled {
        let mut anew = self.anew.clone();
        let mut unknown = false;
        for (index, (write, reason)) in self.writes.iter().zip(reasons).enumerate() {
            match reason.code() {
                None | Some("None") => {}
                Some("ConditionalCheckFailed") => match write {
                    // Somebody made it in the meantime: it may be added to again.
                    Write::Add { .. } if self.anew.contains(&index) => {
                        anew.remove(&index);
                        unknown = true;
                    }
                    Write::Add { delta, at_least, at_most, .. }
                        if (*at_least..=*at_most).contains(delta) && self.found_expired(reason) =>
                    {
                        anew.insert(index);
                    }
                    // Whether it is the first that fails, the next attempt says.
                    Write::Put { .. }
                    | Write::Delete { .. }
                    | Write::Check { .. }
                    | Write::Add { .. }
                        if unknown =>
                    {
                        break;
                    }
                    Write::Put { .. }
                    | Write::Delete { .. }
                    | Write::Check { .. }
                    | Write::Add { .. } => return Canceled::Conflict(Conflict { index }),
                },
                Some(
                    "TransactionConflict"
                    | "ProvisionedThroughputExceeded"
                    | "ThrottlingError"
                    | "InternalServerError",
                ) => return Canceled::Passes,
                Some(_) => return Canceled::Refused,
            }
        }
        if anew == self.anew { Canceled::Refused } else { Canceled::Otherwise(anew) }
    }

    fn found_expired(&self, reason: &CancellationReason) -> bool {
        reason.item().is_some_and(|item| attributes::is_expired(item, self.now).unwrap_or(false))
    }
}

pub(super) fn condition(expect: Expect) -> &'static str {
    match expect {
        Expect::Absent => ABSENT,
        Expect::Version(_) => VERSION,
    }
}

/// The token of a transaction, as DynamoDB takes it.
fn token() -> String {
    format!("{:032x}", u128::from_be_bytes(super::token()))
}
