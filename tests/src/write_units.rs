//! What commits cost on DynamoDB, counted over any table.
//!
//! The rules are the developer guide's:
//!
//! - An item has the bytes of its attributes' names and values; of a number, one for every two digits
//!   and one more ("DynamoDB item sizes and formats").
//! - A write takes a unit for each KB begun of the item, before or behind it, whichever is larger;
//!   in a transaction two ("DynamoDB read and write operations", "Capacity management for
//!   transactions"). All our commits are transactions, but for those of one put, which says in its item
//!   whose it is: see `aws::table`. A check takes what a write would that changes nothing, and a refused
//!   write what one would that is not.
//! - An index takes a unit for each KB begun of what is written into it or removed from it, both
//!   where an item moves in it, and none where what is in it stays. That is not part of the
//!   transaction ("Using global secondary indexes: write capacity").
//!
//! A test holds the sum against what the emulator says it consumed. Deliberately absent: reads.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use domain::Timestamp;
use store::{Commit, Error, Index, Item, Key, Page, Query, Table, Write};

/// A unit is for as much of an item.
const KB: usize = 1024;

/// A table that counts the write units its commits would take on DynamoDB. It has to be there from
/// the first commit on: what it did not see written it takes for absent.
#[derive(Debug)]
pub struct WriteUnits<T> {
    inner: T,
    counted: Mutex<Counted>,
}

#[derive(Debug, Default)]
struct Counted {
    items: BTreeMap<Key, Stored>,
    units: BTreeMap<&'static str, u64>,
}

/// What of an item is paid for.
#[derive(Clone, Debug)]
struct Stored {
    version: u64,
    body: usize,
    count: Option<i64>,
    index: Option<Index>,
    expires: Option<Timestamp>,
    /// Whether it says whose it is.
    signed: bool,
}

impl Stored {
    fn bytes(&self, key: &Key) -> usize {
        let text = |name: &str, bytes: usize| name.len() + bytes;
        let mut bytes = text("pk", key.pk.len())
            + text("sk", key.sk.len())
            + text("body", self.body)
            + number("version", self.version);
        if let Some(Index { pk, sk }) = &self.index {
            bytes += text("ipk", pk.len()) + text("isk", sk.len());
        }
        if let Some(count) = self.count {
            bytes += number("count", count.unsigned_abs()) + usize::from(count < 0);
        }
        if let Some(expires) = self.expires {
            bytes += number("expires", expires.as_secs_ceil());
            bytes += number("expires_ms", expires.as_millis());
        }
        if self.signed {
            bytes += text("by", 16);
        }
        bytes
    }
}

fn number(name: &str, number: u64) -> usize {
    let digits = number.to_string();
    // Neither the zeros before a number nor those behind it are kept.
    name.len() + digits.trim_end_matches('0').len().div_ceil(2) + 1
}

fn units(bytes: usize) -> u64 {
    u64::try_from(bytes.div_ceil(KB).max(1)).unwrap_or(u64::MAX)
}

/// What is there once a write has happened, of which it is said whether it was `alone`.
fn behind(before: Option<&Stored>, write: &Write, alone: bool) -> Option<Stored> {
    match write {
        Write::Put { body, index, expires, expect, .. } => Some(Stored {
            version: match expect {
                store::Expect::Absent => 1,
                store::Expect::Version(version) => version + 1,
            },
            body: body.len(),
            count: None,
            index: index.clone(),
            expires: *expires,
            signed: alone,
        }),
        Write::Delete { .. } => None,
        Write::Check { .. } => before.cloned(),
        Write::Add { delta, .. } => {
            let absent = Stored {
                version: 0,
                body: 0,
                count: None,
                index: None,
                expires: None,
                signed: false,
            };
            let before = before.cloned().unwrap_or(absent);
            Some(Stored {
                version: before.version + 1,
                count: Some(before.count.unwrap_or(0) + delta),
                ..before
            })
        }
    }
}

/// What a write takes in the table, `times` as much as outside a transaction, and, where it happens, in
/// the index.
fn cost(
    key: &Key,
    before: Option<&Stored>,
    behind: Option<&Stored>,
    changes: bool,
    times: u64,
) -> u64 {
    let bytes = |stored: Option<&Stored>| stored.map_or(0, |stored| stored.bytes(key));
    let table = times * units(bytes(before).max(bytes(behind)));
    let place = |stored: Option<&Stored>| stored.and_then(|stored| stored.index.clone());
    let index = match (place(before), place(behind)) {
        _ if !changes => 0,
        (None, None) => 0,
        (Some(_), None) => units(bytes(before)),
        (None, Some(_)) => units(bytes(behind)),
        (Some(old), Some(new)) if old != new => units(bytes(before)) + units(bytes(behind)),
        (Some(_), Some(_)) => units(bytes(before).max(bytes(behind))),
    };
    table + index
}

impl<T: Table> WriteUnits<T> {
    /// Counts what `inner`, which is empty, is given.
    pub fn new(inner: T) -> Self {
        Self { inner, counted: Mutex::default() }
    }

    /// The table itself.
    pub const fn inner(&self) -> &T {
        &self.inner
    }

    /// The units that were taken so far, for each kind of commit.
    pub fn units(&self) -> BTreeMap<&'static str, u64> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner).units.clone()
    }

    /// The units that were taken so far.
    pub fn total(&self) -> u64 {
        self.units().values().sum()
    }

    fn count(&self, name: &'static str, writes: &[Write], happened: bool) {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        let alone = matches!(writes, [Write::Put { .. }]);
        let times = if alone { 1 } else { 2 };
        let mut sum = 0;
        for write in writes {
            let key = write.key();
            let before = counted.items.get(key).cloned();
            let behind = behind(before.as_ref(), write, alone);
            let changes = happened && !matches!(write, Write::Check { .. });
            let paid = if happened { behind.as_ref() } else { before.as_ref() };
            sum += cost(key, before.as_ref(), paid, changes, times);
            if changes {
                match behind {
                    Some(stored) => counted.items.insert(key.clone(), stored),
                    None => counted.items.remove(key),
                };
            }
        }
        *counted.units.entry(name).or_default() += sum;
    }
}

#[async_trait::async_trait]
impl<T: Table> Table for WriteUnits<T> {
    async fn get(&self, key: &Key) -> Result<Option<Item>, Error> {
        self.inner.get(key).await
    }

    async fn batch_get(&self, keys: &[Key]) -> Result<Vec<Option<Item>>, Error> {
        self.inner.batch_get(keys).await
    }

    async fn query(&self, query: Query) -> Result<Page, Error> {
        self.inner.query(query).await
    }

    async fn commit(&self, commit: Commit) -> Result<(), Error> {
        let (name, writes) = (commit.name, commit.writes.clone());
        let done = self.inner.commit(commit).await;
        match done {
            Ok(()) => self.count(name, &writes, true),
            Err(Error::Conflict(_)) => self.count(name, &writes, false),
            Err(Error::Invalid(_) | Error::Unavailable(_)) => {}
        }
        done
    }
}
