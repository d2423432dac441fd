//! Reads, on the task that asks.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use domain::Timestamp;
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, params};
use store::{Cursor, Direction, Error, Item, Key, MAX_PAGE, Page, Query, Range};

use super::recent::Recent;
use super::writer::millis;

const GET: &str = "SELECT version, body, count, expires_ms FROM items
    WHERE pk = ?1 AND sk = ?2 AND (expires_ms IS NULL OR expires_ms > ?3)";

const TABLE_ASCENDING: &str = "SELECT version, body, count, sk FROM items
    WHERE pk = ?1 AND sk >= ?2 AND sk < ?3 AND (expires_ms IS NULL OR expires_ms > ?4)
    ORDER BY sk LIMIT ?5";

const TABLE_DESCENDING: &str = "SELECT version, body, count, sk FROM items
    WHERE pk = ?1 AND sk >= ?2 AND sk < ?3 AND (expires_ms IS NULL OR expires_ms > ?4)
    ORDER BY sk DESC LIMIT ?5";

const INDEX_ASCENDING: &str = "SELECT version, body, count, sk, pk, idx_sk
    FROM items INDEXED BY items_by_index
    WHERE idx_pk = ?1 AND idx_sk >= ?2 AND idx_sk < ?3 AND (expires_ms IS NULL OR expires_ms > ?4)
    ORDER BY idx_sk LIMIT ?5";

const INDEX_DESCENDING: &str = "SELECT version, body, count, sk, pk, idx_sk
    FROM items INDEXED BY items_by_index
    WHERE idx_pk = ?1 AND idx_sk >= ?2 AND idx_sk < ?3 AND (expires_ms IS NULL OR expires_ms > ?4)
    ORDER BY idx_sk DESC LIMIT ?5";

/// A few connections that only read.
pub(super) struct Readers {
    recent: Arc<Recent>,
    connections: Vec<Mutex<Connection>>,
    // Whose turn it is to be waited for, when all are busy.
    turn: AtomicUsize,
}

impl Readers {
    pub(super) fn open(
        recent: Arc<Recent>,
        connect: impl Fn() -> rusqlite::Result<Connection>,
    ) -> rusqlite::Result<Self> {
        // A read holds its connection while it runs and never across an await: more than the
        // threads that can run would be of no use.
        let threads = std::thread::available_parallelism().map_or(2, usize::from);
        let connections = (0..threads.clamp(2, 16))
            .map(|_| connect().map(Mutex::new))
            .collect::<rusqlite::Result<_>>()?;
        Ok(Self { recent, connections, turn: AtomicUsize::new(0) })
    }

    /// Closes every connection: nobody reads any more.
    pub(super) fn close(&mut self) {
        self.connections.clear();
    }

    pub(super) fn get(&self, key: &Key, now: Timestamp) -> Result<Option<Item>, Error> {
        let before = match self.recent.get(key) {
            Ok(item) => return Ok(Some(item)),
            Err(before) => before,
        };
        let found = get(&self.connection(), key, now).map_err(unavailable)?;
        if let Some((item, None)) = &found {
            self.recent.keep(item, before);
        }
        Ok(found.map(|(item, _)| item))
    }

    pub(super) fn batch_get(
        &self,
        keys: &[Key],
        now: Timestamp,
    ) -> Result<Vec<Option<Item>>, Error> {
        let connection = self.connection();
        let snapshot = connection.unchecked_transaction().map_err(unavailable)?;
        let items = keys
            .iter()
            .map(|key| Ok(get(&snapshot, key, now)?.map(|(item, _)| item)))
            .collect::<Result<_, _>>();
        snapshot.commit().map_err(unavailable)?;
        items.map_err(unavailable)
    }

    pub(super) fn query(&self, query: Query, now: Timestamp) -> Result<Page, Error> {
        page(&self.connection(), query, now).map_err(unavailable)
    }

    fn connection(&self) -> MutexGuard<'_, Connection> {
        // Always from the first: the one that was used last has its pages at hand.
        for connection in &self.connections {
            match connection.try_lock() {
                Ok(connection) => return connection,
                Err(TryLockError::Poisoned(poisoned)) => return poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => {}
            }
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % self.connections.len();
        self.connections[turn].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn unavailable(error: rusqlite::Error) -> Error {
    Error::Unavailable(Box::new(error))
}

/// An item, and when it expires.
fn get(
    connection: &Connection,
    key: &Key,
    now: Timestamp,
) -> rusqlite::Result<Option<(Item, Option<i64>)>> {
    connection
        .prepare_cached(GET)?
        .query_row(params![key.pk, key.sk, millis(now)], |row| {
            Ok((item(row, || Ok(key.clone()))?, row.get(3)?))
        })
        .optional()
}

/// The item of a row that begins with version, body and count.
fn item(row: &Row<'_>, key: impl FnOnce() -> rusqlite::Result<Key>) -> rusqlite::Result<Item> {
    let version: i64 = row.get(0)?;
    Ok(Item { key: key()?, version: version.unsigned_abs(), body: row.get(1)?, count: row.get(2)? })
}

fn page(connection: &Connection, query: Query, now: Timestamp) -> rusqlite::Result<Page> {
    let (sql, order) = match (query.on_index, query.direction) {
        (false, Direction::Ascending) => (TABLE_ASCENDING, 3),
        (false, Direction::Descending) => (TABLE_DESCENDING, 3),
        (true, Direction::Ascending) => (INDEX_ASCENDING, 5),
        (true, Direction::Descending) => (INDEX_DESCENDING, 5),
    };
    let (from, to) = bounds(query.range, query.direction, query.after);
    // A blob is larger than every text: the end of the partition.
    let to = to.map_or_else(|| Value::Blob(Vec::new()), Value::Text);
    // One more than asked for says whether anything follows.
    let limit = i64::try_from(query.limit + 1).unwrap_or(i64::MAX);

    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params![query.pk, from, to, millis(now), limit])?;
    let (mut items, mut bytes, mut last) = (Vec::new(), 0, String::new());
    while let Some(row) = rows.next()? {
        bytes += row.get_ref(1)?.as_str()?.len();
        if items.len() == query.limit || (bytes > MAX_PAGE && !items.is_empty()) {
            return Ok(Page { items, next: Some(Cursor::behind(last)) });
        }
        items.push(item(row, || {
            let pk = if query.on_index { row.get(4)? } else { query.pk.clone() };
            Ok(Key { pk, sk: row.get(3)? })
        })?);
        row.get_ref(order)?.as_str()?.clone_into(&mut last);
    }
    Ok(Page { items, next: None })
}

/// The first sort key to read and the first behind the last; none where the partition ends there.
fn bounds(range: Range, direction: Direction, after: Option<Cursor>) -> (String, Option<String>) {
    let (from, to) = match range {
        Range::Prefix(prefix) => {
            let behind = behind(&prefix);
            (prefix, behind)
        }
        Range::Between(from, to) => (from, Some(to)),
    };
    let Some(after) = after else { return (from, to) };
    let after = after.sk().to_owned();
    match direction {
        // The smallest text behind another is that one and a NUL.
        Direction::Ascending => (from.max(after + "\0"), to),
        Direction::Descending => {
            let to = to.map_or_else(|| after.clone(), |to| to.min(after.clone()));
            (from, Some(to))
        }
    }
}

/// The smallest text that is larger than every text that begins with `prefix`. UTF-8 orders by
/// code point: it is the prefix with its last character replaced by the next.
fn behind(prefix: &str) -> Option<String> {
    let mut text = prefix.to_owned();
    while let Some(last) = text.pop() {
        // Stepping through a range of characters skips the surrogates.
        if let Some(next) = (last..=char::MAX).nth(1) {
            text.push(next);
            return Some(text);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_behind_a_prefix() {
        for (prefix, expected) in [
            ("", None),
            ("a", Some("b")),
            ("a#", Some("a$")),
            ("é", Some("ê")),
            ("a\u{7f}", Some("a\u{80}")),
            ("a\u{d7ff}", Some("a\u{e000}")),
            ("a\u{10ffff}", Some("b")),
            ("\u{10ffff}", None),
        ] {
            assert_eq!(behind(prefix).as_deref(), expected, "{prefix:?}");
        }
    }
}
