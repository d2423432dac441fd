//! Appends a realm's log where the table does not do so by itself.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use domain::{RealmId, Timestamp};
use store::log::{self, Entry, Place};

use super::connection::scope;
use super::publish::passed;
use super::{Change, Stream};
use crate::Error;
use crate::commit::retry_conflict;

/// How many entries are looked at at a time.
const TAIL: usize = 100;

/// The most entries of one commit.
const SOME: usize = 50;

/// How far the clocks of two processes may be apart.
const SKEW: Duration = Duration::from_secs(10);

/// A batch that is to have its position.
struct New {
    place: Place,
    count: u64,
    time: Timestamp,
}

impl Stream<'_> {
    /// Gives the batches among `changes` their positions in the logs of their realms, in the order of
    /// `changes`. Whatever has its position keeps it, so that it may be said again. A log that does not
    /// read is said and passed over. One read and one commit for each realm, and one more for every fifty
    /// batches.
    pub async fn sequence(&self, changes: &[Change]) -> Result<(), Error> {
        let mut realms = BTreeMap::<RealmId, Vec<New>>::new();
        for change in changes {
            let Change::Events(batch) = change else { continue };
            let (Some(agent), Some(first)) = (batch.agent, batch.events.first()) else { continue };
            realms.entry(batch.realm).or_default().push(New {
                place: Place { agent, session: batch.session, first: first.seq },
                count: batch.events.len() as u64,
                time: first.time,
            });
        }
        for (realm, batches) in realms {
            for some in batches.chunks(SOME) {
                passed(retry_conflict(self.0, || self.append(realm, some)).await)?;
            }
        }
        Ok(())
    }

    async fn append(&self, realm: RealmId, batches: &[New]) -> Result<(), Error> {
        let oldest = batches.iter().map(|new| new.time.as_millis()).min().unwrap_or_default();
        let skew = u64::try_from(SKEW.as_millis()).unwrap_or_default();
        let oldest = Timestamp::from_millis(oldest.saturating_sub(skew));
        let (mut known, mut head, mut before) = (BTreeSet::new(), None, None);
        // Which agents a stretch has something of: the tail holds the last one whole.
        let mut begun = BTreeSet::new();
        // An entry of a batch is not older than the batch: what comes before that needs no look.
        loop {
            let tail = log::tail(self.0.table(), scope(realm), before, TAIL).await?;
            head = head.or_else(|| tail.first().map(Entry::last));
            for entry in &tail {
                if let Some(batch) = entry.batch {
                    known.insert(batch);
                    begun.insert((log::stretch(entry.first), batch.agent));
                }
            }
            match tail.last() {
                Some(last) if tail.len() == TAIL && last.time >= oldest => {
                    before = Some(last.first);
                }
                _ => break,
            }
        }
        let (mut next, mut writes) = (head.unwrap_or_default() + 1, Vec::new());
        let time = self.0.now();
        for New { place, count, .. } in batches {
            if known.insert(*place) {
                let shown = begun.insert((log::stretch(next), place.agent));
                let (first, count, batch) = (next, *count, Some(*place));
                let entry = Entry { realm, first, count, time, batch, shown };
                writes.push(log::append(&entry));
                next += count;
            }
        }
        if writes.is_empty() {
            return Ok(());
        }
        self.0.commit_own("log.append", writes).await
    }
}
