//! The table on DynamoDB.
//!
//! What holds here: a commit is one `TransactWriteItems` with a client token that is fresh for the
//! commit and the same for every attempt at it, so an attempt whose answer was lost is not applied a
//! second time and never reads as a conflict with itself. A commit of one put is a `PutItem` that keeps
//! the same promise by what it leaves in the item, for half the write units: see the module `single`.
//!
//! What passes by itself (throttles, transactions that touch the same item, failures of the service
//! and of the way to it) is tried again with full jitter until a deadline; then the table is
//! unavailable. What somebody else decided is a conflict at once.
//!
//! Reads of the table are consistent, reads of the index eventually so, as DynamoDB has it. An item
//! past its time is told by `expires_ms`, in conditions and in what is read: DynamoDB removes it,
//! by `expires`, some time later.
//!
//! Deliberately absent: scans, and any write without a condition.

mod attributes;
mod definition;
mod image;
mod packed;
mod patience;
mod range;
mod single;
pub mod size;
mod transaction;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use app::ports::Clock;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::Builder;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::KeysAndAttributes;
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;
use store::{Commit, Cursor, Direction, Error, Item, Key, MAX_BATCH, MAX_PAGE, Page, Query, Table};

use crate::{Environment, EnvironmentError, Sdk};
use attributes::Attributes;
pub use definition::definition;
pub use image::{Body, BodyError};
use patience::{Patience, passes};
use range::Bounds;
use transaction::{Canceled, Transaction};

/// The name of the index.
const INDEX: &str = "index";

/// How long what passes by itself is waited for.
const DEADLINE: Duration = Duration::from_secs(5);

/// How long a connection may take, and one attempt. The table answers in milliseconds; who waits
/// longer waits for an answer that got lost.
const CONNECT: Duration = Duration::from_secs(1);
const ATTEMPT: Duration = Duration::from_secs(3);

/// How many items are read to find out whether anything follows a page that is nearly full.
const LOOK_AHEAD: usize = 4;

/// DynamoDB as a [`Table`]. Cheap to clone.
#[derive(Clone, Debug)]
pub struct DynamoTable {
    client: Client,
    name: String,
    clock: Arc<dyn Clock>,
    deadline: Duration,
}

impl DynamoTable {
    /// The table that `environment` names. Asks nothing of it yet.
    pub fn new(
        sdk: &Sdk,
        environment: &Environment,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, EnvironmentError> {
        let timeouts =
            TimeoutConfig::builder().connect_timeout(CONNECT).operation_attempt_timeout(ATTEMPT);
        // Tried again here, where it is known what may be: the SDK does not look into transactions.
        let config = Builder::from(sdk.config())
            .retry_config(RetryConfig::disabled())
            .timeout_config(timeouts.build());
        let client = Client::from_conf(config.build());
        Ok(Self { client, name: environment.table()?.to_owned(), clock, deadline: DEADLINE })
    }

    /// The same table, that begins no attempt later than this after the first.
    #[must_use]
    pub const fn within(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Makes the table as [`definition`] has it, and returns once it is there. For tests: elsewhere
    /// the template does.
    pub async fn create(&self) -> Result<(), Error> {
        definition::create(&self.client, &self.name).await
    }

    fn patience(&self) -> Patience<'_> {
        Patience::new(&*self.clock, self.deadline)
    }

    /// Asks until there is an answer or no time left.
    async fn ask<T, E, Asked>(
        &self,
        patience: &mut Patience<'_>,
        send: impl Fn() -> Asked + Send + Sync,
    ) -> Result<T, Error>
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
        Asked: Future<Output = Result<T, SdkError<E>>> + Send,
    {
        loop {
            match send().await {
                Ok(answer) => return Ok(answer),
                Err(error) if passes(&error) && patience.wait().await => {
                    tracing::debug!(code = error.code(), "the table is asked again");
                }
                Err(error) => return Err(unavailable(error)),
            }
        }
    }

    /// One request for a part of a page: what it found, and where DynamoDB stopped.
    async fn part(
        &self,
        patience: &mut Patience<'_>,
        query: &Query,
        bounds: &Bounds,
        from: Option<Attributes>,
        limit: usize,
    ) -> Result<(Vec<Attributes>, Option<Attributes>), Error> {
        let (pk, sk) = attributes::key_names(query.on_index);
        let (condition, places) = bounds.condition(pk, sk);
        let limit = i32::try_from(limit).unwrap_or(i32::MAX);
        let mut request = self
            .client
            .query()
            .table_name(&self.name)
            .key_condition_expression(condition)
            .expression_attribute_values(":pk", attributes::text(&query.pk))
            .scan_index_forward(query.direction == Direction::Ascending)
            .limit(limit)
            .set_exclusive_start_key(from);
        for (name, place) in places {
            request = request.expression_attribute_values(name, attributes::text(place));
        }
        request =
            if query.on_index { request.index_name(INDEX) } else { request.consistent_read(true) };
        let answer = self.ask(patience, || request.clone().send()).await?;
        Ok((answer.items.unwrap_or_default(), answer.last_evaluated_key))
    }

    async fn transact(&self, writes: &Transaction<'_>) -> Result<Attempt, Error> {
        let sent = self
            .client
            .transact_write_items()
            .set_transact_items(Some(writes.items(&self.name)?))
            .client_request_token(writes.token())
            .send();
        let Err(error) = sent.await else { return Ok(Attempt::Applied) };
        if let Some(TransactWriteItemsError::TransactionCanceledException(canceled)) =
            error.as_service_error()
        {
            match writes.read(canceled.cancellation_reasons()) {
                Canceled::Conflict(conflict) => return Err(conflict.into()),
                Canceled::Otherwise(adds) => return Ok(Attempt::Otherwise(adds)),
                Canceled::Passes => return Ok(Attempt::Passes(Box::new(error))),
                Canceled::Refused => {}
            }
        } else if passes(&error) {
            return Ok(Attempt::Passes(Box::new(error)));
        }
        Err(unavailable(error))
    }
}

/// What became of one attempt at a commit.
enum Attempt {
    Applied,
    /// It may do the next time.
    Passes(Box<SdkError<TransactWriteItemsError>>),
    /// It has to be said in another way: these of its adds make their items anew.
    Otherwise(BTreeSet<usize>),
}

#[async_trait::async_trait]
impl Table for DynamoTable {
    async fn get(&self, key: &Key) -> Result<Option<Item>, Error> {
        key.check()?;
        let now = self.clock.now();
        let request = self.client.get_item().table_name(&self.name).consistent_read(true);
        let request = request.set_key(Some(attributes::key(key)));
        let answer = self.ask(&mut self.patience(), || request.clone().send()).await?;
        attributes::live(answer.item, now)
    }

    async fn batch_get(&self, keys: &[Key]) -> Result<Vec<Option<Item>>, Error> {
        if keys.len() > MAX_BATCH {
            return Err(Error::Invalid("a batch holds at most 100 keys"));
        }
        keys.iter().try_for_each(Key::check)?;
        let now = self.clock.now();
        // DynamoDB refuses to be asked for one item twice.
        let mut open: Vec<_> =
            keys.iter().collect::<BTreeSet<_>>().into_iter().map(attributes::key).collect();
        let (mut found, mut patience) = (BTreeMap::new(), self.patience());
        while !open.is_empty() {
            let asked = KeysAndAttributes::builder()
                .set_keys(Some(open.clone()))
                .consistent_read(true)
                .build()
                .map_err(malformed)?;
            let request = self.client.batch_get_item().request_items(&self.name, asked);
            let answer = self.ask(&mut patience, || request.clone().send()).await?;
            let items = answer.responses.and_then(|mut tables| tables.remove(&self.name));
            for item in items.unwrap_or_default() {
                if let Some(item) = attributes::live(Some(item), now)? {
                    found.insert(item.key.clone(), item);
                }
            }
            let rest = answer.unprocessed_keys.and_then(|mut tables| tables.remove(&self.name));
            let rest = rest.map(|rest| rest.keys).unwrap_or_default();
            // What is left over was too much at once, or throttled.
            if rest.len() == open.len() && !patience.wait().await {
                return Err(Error::Unavailable(Box::new(Unprocessed)));
            }
            open = rest;
        }
        Ok(keys.iter().map(|key| found.get(key).cloned()).collect())
    }

    async fn query(&self, query: Query) -> Result<Page, Error> {
        query.check()?;
        let now = self.clock.now();
        let Some(bounds) = Bounds::of(&query) else {
            return Ok(Page { items: Vec::new(), next: None });
        };
        let (mut items, mut bytes, mut last) = (Vec::new(), 0, String::new());
        let (mut patience, mut from) = (self.patience(), None);
        loop {
            // One more than asked for says whether anything follows; DynamoDB's ends are inclusive.
            let mut limit = query.limit - items.len() + 1 + bounds.beside();
            if bytes > MAX_PAGE / 2 {
                limit = limit.min(LOOK_AHEAD);
            }
            let (part, next) = self.part(&mut patience, &query, &bounds, from, limit).await?;
            for found in part {
                let place = attributes::place(&found, query.on_index)?.to_owned();
                let Some(item) = attributes::live(Some(found), now)? else { continue };
                if !bounds.contain(&place) {
                    continue;
                }
                bytes += item.body.len();
                if items.len() == query.limit || (bytes > MAX_PAGE && !items.is_empty()) {
                    return Ok(Page { items, next: Some(Cursor::behind(last)) });
                }
                items.push(item);
                last = place;
            }
            // DynamoDB stops at its own limit, and before what is expired.
            if next.is_none() {
                return Ok(Page { items, next: None });
            }
            from = next;
        }
    }

    async fn commit(&self, commit: Commit) -> Result<(), Error> {
        commit.check()?;
        if let Some(done) = self.put(&commit).await {
            return done;
        }
        let mut patience = self.patience();
        let mut writes = Transaction::new(&commit.writes, self.clock.now());
        loop {
            match self.transact(&writes).await? {
                Attempt::Applied => return Ok(()),
                Attempt::Passes(error) => {
                    let code = error.code();
                    tracing::debug!(commit = commit.name, code, "a commit is tried again");
                    if !patience.wait().await {
                        return Err(unavailable(*error));
                    }
                }
                Attempt::Otherwise(adds) => {
                    if !patience.wait().await {
                        return Err(Error::Unavailable(Box::new(Restless)));
                    }
                    writes = writes.anew(adds);
                }
            }
        }
    }
}

/// Keys were left over until the deadline.
#[derive(Debug, thiserror::Error)]
#[error("the table left keys of a batch over until the deadline")]
struct Unprocessed;

/// A counter came and went until the deadline.
#[derive(Debug, thiserror::Error)]
#[error("a counter expired and was made anew until the deadline")]
struct Restless;

/// A name for one commit that nobody else's has.
fn token() -> [u8; 16] {
    let mut token = [0; 16];
    // Linux fails this only where the system call itself is forbidden. A token that is not its own
    // would let one commit be taken for another.
    getrandom::fill(&mut token).expect("the operating system gives random bytes");
    token
}

fn unavailable(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Unavailable(Box::new(error))
}

/// An SDK type that does not build: a bug of ours.
fn malformed(error: impl fmt::Display) -> Error {
    tracing::error!(%error, "a request to the table does not build");
    Error::Invalid("a request to the table does not build")
}
