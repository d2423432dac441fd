//! Items that were read lately, so that reading them again asks no database.
//!
//! What holds here: a read sees what SQLite would show it at some moment between its beginning and
//! its end, as if this were not there. The writer takes out what a transaction changes before it
//! commits, and nothing is put in while it does or that was read before it did.
//!
//! Deliberately absent: items that expire, large ones, and the knowledge that an item is not there.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use store::{Item, Key};

/// How many parts it has, so that readers seldom wait for each other.
const SHARDS: usize = 16;

/// The most items of a part. One that is full is emptied: what is read often is soon back.
const ITEMS: usize = 64;

/// The most bytes of an item's body: all of it together stays at some megabytes.
const BODY: usize = 4096;

/// The items, by key.
#[derive(Debug, Default)]
pub(super) struct Recent {
    shards: [Mutex<Shard>; SHARDS],
}

#[derive(Debug, Default)]
struct Shard {
    items: BTreeMap<Key, (u64, String, i64)>,
    /// Transactions that are about to change something here.
    changing: usize,
    /// Counts those that did.
    changes: u64,
}

/// What was known of a part before something was read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Before(Option<u64>);

impl Recent {
    fn shard(&self, key: &Key) -> MutexGuard<'_, Shard> {
        // Ids end in what is random or counts up: either spreads them.
        let bytes = key.sk.bytes().rev().take(4).chain(key.pk.bytes().rev().take(4));
        let place = bytes.fold(0_usize, |sum, byte| sum.wrapping_mul(31) + usize::from(byte));
        // Every change of it is one call: a panic leaves it whole.
        self.shards[place % SHARDS].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The item, or what [`Self::keep`] wants to know once it was read elsewhere.
    pub(super) fn get(&self, key: &Key) -> Result<Item, Before> {
        let shard = self.shard(key);
        match shard.items.get(key) {
            Some((version, body, count)) => {
                Ok(Item { key: key.clone(), version: *version, body: body.clone(), count: *count })
            }
            None => Err(Before((shard.changing == 0).then_some(shard.changes))),
        }
    }

    /// Keeps an item that was read after `before`, unless something has changed since.
    pub(super) fn keep(&self, item: &Item, before: Before) {
        if item.body.len() > BODY {
            return;
        }
        let mut shard = self.shard(&item.key);
        if shard.changing > 0 || before.0 != Some(shard.changes) {
            return;
        }
        if shard.items.len() >= ITEMS {
            shard.items.clear();
        }
        shard.items.insert(item.key.clone(), (item.version, item.body.clone(), item.count));
    }

    /// Forgets what is about to change. Followed by [`Self::changed`] with the same keys.
    pub(super) fn change<'a>(&self, keys: impl Iterator<Item = &'a Key>) {
        for key in keys {
            let mut shard = self.shard(key);
            shard.changing += 1;
            shard.items.remove(key);
        }
    }

    /// It has changed, or has not after all.
    pub(super) fn changed<'a>(&self, keys: impl Iterator<Item = &'a Key>) {
        for key in keys {
            let mut shard = self.shard(key);
            shard.changing -= 1;
            shard.changes += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(version: u64) -> Item {
        let key = Key { pk: "p".into(), sk: "s".into() };
        Item { key, version, body: "{}".into(), count: 0 }
    }

    fn kept(recent: &Recent) -> Option<u64> {
        recent.get(&item(0).key).ok().map(|item| item.version)
    }

    #[test]
    fn what_was_read_before_a_change_is_not_kept_after_it() {
        let recent = Recent::default();
        let key = item(0).key;
        let before = recent.get(&key).unwrap_err();
        recent.keep(&item(1), before);
        assert_eq!(kept(&recent), Some(1));

        recent.change([&key].into_iter());
        assert_eq!(kept(&recent), None);
        recent.keep(&item(1), before);
        recent.keep(&item(1), recent.get(&key).unwrap_err());
        assert_eq!(kept(&recent), None, "in the middle of a change");
        let during = recent.get(&key).unwrap_err();
        recent.changed([&key].into_iter());
        recent.keep(&item(1), before);
        recent.keep(&item(1), during);
        assert_eq!(kept(&recent), None, "read before the change");
        recent.keep(&item(2), recent.get(&key).unwrap_err());
        assert_eq!(kept(&recent), Some(2));
    }

    #[test]
    fn it_stays_small() {
        let recent = Recent::default();
        for number in 0..100_000 {
            let key = Key { pk: "p".into(), sk: number.to_string() };
            let before = recent.get(&key).unwrap_err();
            recent.keep(&Item { key, ..item(1) }, before);
        }
        let kept: usize = recent.shards.iter().map(|shard| shard.lock().unwrap().items.len()).sum();
        assert!((1..=SHARDS * ITEMS).contains(&kept), "{kept}");
        let large = Item { body: "x".repeat(BODY + 1), ..item(1) };
        recent.keep(&large, recent.get(&large.key).unwrap_err());
        assert!(recent.get(&large.key).is_err());
    }
}
