//! What reads cost on DynamoDB, counted over any table.
//!
//! A consistent read takes a unit for each 4 KB begun of the item, and one where there is none; a query for
//! all items that it reads together; and one of the index, which is not consistent, half of that
//! ("DynamoDB read and write operations"). The bytes are those of the item that [`aws::table`] writes, but
//! for the place it has in the index.
//!
//! Deliberately absent: writes, which [`write_units`](crate::write_units) counts.

use std::sync::atomic::{AtomicU64, Ordering};

use aws::table::size;
use store::{Commit, Error, Expect, Item, Key, Page, Query, Table, Write};

/// A read unit is for as much of an item.
const BYTES: usize = 4 * 1024;

/// A table that counts the read units its reads would take on DynamoDB.
#[derive(Debug)]
pub struct ReadUnits<T> {
    inner: T,
    halves: AtomicU64,
}

impl<T: Table> ReadUnits<T> {
    /// Counts what `inner` is asked.
    pub const fn new(inner: T) -> Self {
        Self { inner, halves: AtomicU64::new(0) }
    }

    /// The table itself.
    pub const fn inner(&self) -> &T {
        &self.inner
    }

    /// The units that were taken so far; half a one counts as one.
    pub fn total(&self) -> u64 {
        self.halves.load(Ordering::SeqCst).div_ceil(2)
    }

    fn count<'a>(&self, items: impl IntoIterator<Item = &'a Item>, halves: u64) {
        let bytes: usize = items.into_iter().map(bytes).sum();
        let units = u64::try_from(bytes.div_ceil(BYTES).max(1)).unwrap_or(u64::MAX);
        self.halves.fetch_add(units * halves, Ordering::SeqCst);
    }
}

fn bytes(item: &Item) -> usize {
    let expect = match item.version {
        0 | 1 => Expect::Absent,
        version => Expect::Version(version - 1),
    };
    let (key, body) = (item.key.clone(), item.body.clone());
    let put = Write::Put { key, body, index: None, expires: None, expect };
    size::of_put(&put, false).unwrap_or_default()
}

#[async_trait::async_trait]
impl<T: Table> Table for ReadUnits<T> {
    async fn get(&self, key: &Key) -> Result<Option<Item>, Error> {
        let found = self.inner.get(key).await?;
        self.count(&found, 2);
        Ok(found)
    }

    async fn batch_get(&self, keys: &[Key]) -> Result<Vec<Option<Item>>, Error> {
        let found = self.inner.batch_get(keys).await?;
        for item in &found {
            self.count(item, 2);
        }
        Ok(found)
    }

    async fn query(&self, query: Query) -> Result<Page, Error> {
        let halves = if query.on_index { 1 } else { 2 };
        let page = self.inner.query(query).await?;
        self.count(&page.items, halves);
        Ok(page)
    }

    async fn commit(&self, commit: Commit) -> Result<(), Error> {
        self.inner.commit(commit).await
    }
}
