//! A table whose every commit is held against the rules of the domain, at once.

use std::sync::{Arc, Mutex};

use app::ports::Clock as _;
use async_trait::async_trait;
use store::{Commit, Error, Item, Key, MAX_BATCH, Page, Query, Table};
use tests::clock::Hand;

use super::fate::{Dead, Fate};
use super::ledger::Ledger;
use crate::table::model::Model;

#[derive(Debug)]
pub(super) struct Watched {
    pub(super) clock: Arc<Hand>,
    pub(super) fate: Arc<Fate>,
    pub(super) kept: Mutex<(Model, Ledger)>,
}

impl Watched {
    pub(super) fn new(clock: Arc<Hand>, fate: Arc<Fate>) -> Self {
        Self { clock, fate, kept: Mutex::default() }
    }

    /// Shows what is known of all that was committed.
    pub(super) fn ledger<T>(&self, show: impl FnOnce(&Ledger) -> T) -> T {
        show(&self.kept.lock().unwrap().1)
    }

    async fn read<T>(&self, read: impl FnOnce(&Model) -> T) -> Result<T, Error> {
        self.fate.pace().await;
        if self.fate.is_dead() {
            return Err(dead(Dead));
        }
        Ok(read(&self.kept.lock().unwrap().0))
    }
}

fn dead(dead: Dead) -> Error {
    Error::Unavailable(Box::new(dead))
}

#[async_trait]
impl Table for Watched {
    async fn get(&self, key: &Key) -> Result<Option<Item>, Error> {
        key.check()?;
        let now = self.clock.now();
        self.read(|model| model.find(key, now).map(|row| row.item.clone())).await
    }

    async fn batch_get(&self, keys: &[Key]) -> Result<Vec<Option<Item>>, Error> {
        assert!(keys.len() <= MAX_BATCH, "a batch of {}", keys.len());
        let now = self.clock.now();
        let find = |model: &Model| {
            keys.iter().map(|key| model.find(key, now).map(|row| row.item.clone())).collect()
        };
        self.read(find).await
    }

    async fn query(&self, query: Query) -> Result<Page, Error> {
        query.check()?;
        let now = self.clock.now();
        self.read(|model| model.query(&query, now)).await
    }

    async fn commit(&self, commit: Commit) -> Result<(), Error> {
        let limits = commit.check();
        assert!(limits.is_ok(), "{}: {limits:?}", commit.name);
        self.fate.pace().await;
        let now = self.clock.now();
        let done = self.fate.pass(|| {
            let mut kept = self.kept.lock().unwrap();
            let (model, ledger) = &mut *kept;
            let done = model.commit(&commit.writes, now);
            if done.is_ok() {
                ledger.book(&commit, model);
            }
            done
        });
        let answer = done.map_err(dead)?.map_err(Error::Conflict);
        self.fate.pace().await;
        answer
    }
}
