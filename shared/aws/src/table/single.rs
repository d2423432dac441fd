//! A commit of one put: a `PutItem`, at half the write units of a transaction.
//!
//! What holds here: an attempt whose answer was lost never reads as a conflict with itself. The item
//! says whose it is, by a token that is fresh for the commit, and a refused attempt is told what is there
//! instead. Where that is somebody else's, and may stand on ours, nobody knows whether ours happened, and
//! the table says that it does not know.
//!
//! Deliberately absent: other commits of one write. A delete leaves nothing that could say whose it was,
//! and an add would count twice.

use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::put_item::builders::PutItemFluentBuilder;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValuesOnConditionCheckFailure};
use domain::Timestamp;
use store::{Commit, Conflict, Error, Expect, Write};

use super::attributes::{self, Attributes, BY};
use super::patience::passes;
use super::transaction::condition;
use super::{DynamoTable, unavailable};

/// Somebody else's item may stand on ours.
#[derive(Debug, thiserror::Error)]
#[error("the answer to a put was lost, and the item has been changed since")]
struct Overtaken;

/// One put, the same in every attempt at it.
struct Single {
    item: Attributes,
    by: AttributeValue,
    expect: Expect,
    now: Timestamp,
}

impl Single {
    /// The one put that a commit is; none where it is anything else.
    fn of(commit: &Commit, now: Timestamp) -> Option<Self> {
        let [Write::Put { key, body, index, expires, expect }] = commit.writes.as_slice() else {
            return None;
        };
        let token = super::token();
        let item = attributes::put(key, *expect, body, index.as_ref(), *expires, Some(token));
        Some(Self { item, by: attributes::by(token), expect: *expect, now })
    }

    fn request(&self, request: PutItemFluentBuilder) -> PutItemFluentBuilder {
        let request = request
            .set_item(Some(self.item.clone()))
            .condition_expression(condition(self.expect))
            .expression_attribute_values(":now", attributes::number(self.now.as_millis()))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        match self.expect {
            Expect::Absent => request,
            Expect::Version(version) => request
                .expression_attribute_names("#version", "version")
                .expression_attribute_values(":expected", attributes::number(version)),
        }
    }

    /// What it means that `found` was there, where an earlier attempt may have happened.
    fn refused(&self, found: Option<&Attributes>, lost: bool) -> Result<(), Error> {
        if found.and_then(|found| found.get(BY)) == Some(&self.by) {
            return Ok(());
        }
        let conflict = Conflict { index: 0 };
        if !lost {
            return Err(conflict.into());
        }
        // What somebody put in the very place that ours would have had kept ours out.
        let version = found.map(attributes::version).transpose()?.flatten();
        match (self.expect, version) {
            (Expect::Absent, Some(1)) => Err(conflict.into()),
            (Expect::Version(expected), Some(found)) if found <= expected.saturating_add(1) => {
                Err(conflict.into())
            }
            (Expect::Absent | Expect::Version(_), _) => Err(unavailable(Overtaken)),
        }
    }
}

impl DynamoTable {
    /// Puts the one item that `commit` is about. None where it is another commit.
    pub(super) async fn put(&self, commit: &Commit) -> Option<Result<(), Error>> {
        let single = Single::of(commit, self.clock.now())?;
        Some(self.put_until_known(commit.name, &single).await)
    }

    async fn put_until_known(&self, name: &'static str, single: &Single) -> Result<(), Error> {
        let (mut patience, mut lost) = (self.patience(), false);
        loop {
            let request = single.request(self.client.put_item().table_name(&self.name));
            let Err(error) = request.send().await else { return Ok(()) };
            if let Some(PutItemError::ConditionalCheckFailedException(failed)) =
                error.as_service_error()
            {
                return single.refused(failed.item(), lost);
            }
            if !passes(&error) {
                return Err(unavailable(error));
            }
            lost |= may_have_happened(&error);
            tracing::debug!(commit = name, code = error.code(), "a put is tried again");
            if !patience.wait().await {
                return Err(unavailable(error));
            }
        }
    }
}

/// Whether what failed so may have been done. A refusal says that it was not.
fn may_have_happened(error: &SdkError<PutItemError>) -> bool {
    match error {
        SdkError::ServiceError(refused) => refused.raw().status().as_u16() >= 500,
        SdkError::TimeoutError(_)
        | SdkError::DispatchFailure(_)
        | SdkError::ResponseError(_)
        | SdkError::ConstructionFailure(_)
        | _ => true,
    }
}
