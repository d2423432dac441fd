//! What commits cost on DynamoDB, counted over any table.
//!
//! The bytes of what is put are those of the item that [`aws::table`] writes, made by the same code. The
//! rules are the developer guide's:
//!
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

use aws::table::size;
use store::{Commit, Error, Expect, Index, Item, Key, Page, Query, Table, Write};

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
    /// The bytes of all that a put says, but for the version's.
    put: usize,
    version: u64,
    count: Option<i64>,
    index: Option<Index>,
}

impl Stored {
    /// What a put leaves, of which it is said whether it is `alone` in its commit.
    fn put(write: &Write, alone: bool) -> Option<Self> {
        let Write::Put { index, expect, .. } = write else { return None };
        let version = match expect {
            Expect::Absent => 1,
            Expect::Version(version) => version + 1,
        };
        let put = size::of_put(write, alone)? - size::of_number(&version.to_string());
        Some(Self { put, version, count: None, index: index.clone() })
    }

    /// What an add makes of nothing.
    fn counter(key: &Key) -> Option<Self> {
        let empty = Write::Put {
            key: key.clone(),
            body: String::new(),
            index: None,
            expires: None,
            expect: Expect::Absent,
        };
        Some(Self { version: 0, ..Self::put(&empty, false)? })
    }

    fn bytes(&self) -> usize {
        let count = |count: i64| "count".len() + size::of_number(&count.to_string());
        self.put + size::of_number(&self.version.to_string()) + self.count.map_or(0, count)
    }
}

/// What is there once a write has happened, of which it is said whether it was `alone`.
fn behind(before: Option<&Stored>, write: &Write, alone: bool) -> Option<Stored> {
    match write {
        Write::Put { .. } => Stored::put(write, alone),
        Write::Delete { .. } => None,
        Write::Check { .. } => before.cloned(),
        Write::Add { key, delta, .. } => {
            let before = before.cloned().or_else(|| Stored::counter(key))?;
            let count = Some(before.count.unwrap_or(0) + delta);
            Some(Stored { version: before.version + 1, count, ..before })
        }
    }
}

/// What a write takes in the table, `times` as much as outside a transaction, and, where it happens, in
/// the index.
fn cost(before: Option<&Stored>, behind: Option<&Stored>, changes: bool, times: u64) -> u64 {
    let bytes = |stored: Option<&Stored>| stored.map_or(0, Stored::bytes);
    let units = size::units;
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
            sum += cost(before.as_ref(), paid, changes, times);
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
