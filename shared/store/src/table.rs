//! The narrow waist between what is stored and where it is stored.

use std::collections::BTreeSet;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::Timestamp;

/// The most writes one commit may hold: what `TransactWriteItems` takes.
pub const MAX_WRITES: usize = 100;

/// The most bytes a body may have: a DynamoDB item is 400 KB with its keys and attributes.
pub const MAX_BODY: usize = 390 * 1024;

/// The most bytes of all bodies of one commit: what `TransactWriteItems` takes is 4 MB, with a hundred
/// items' keys and attributes.
pub const MAX_COMMIT: usize = 3 * 1024 * 1024;

/// The most bytes of either half of a key, of the table or of the index. Neither half is empty.
pub const MAX_KEY: usize = 1024;

/// The most keys of one [`Table::batch_get`]: what `BatchGetItem` takes.
pub const MAX_BATCH: usize = 100;

/// The most items of one page.
pub const MAX_LIMIT: usize = 1000;

/// The most bytes of bodies in one page, unless its first item alone has more: what a DynamoDB query
/// reads at once, and what keeps a page from filling the memory.
pub const MAX_PAGE: usize = 1024 * 1024;

/// Where an item is: a partition and a place in its order. Made by [`crate::keys`] only.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The partition.
    pub pk: String,
    /// The place, ordered by bytes.
    pub sk: String,
}

/// A second place under which an item is found: sparse, and on DynamoDB eventually consistent. No
/// two items share one: of two that did, a page that ends between them would hide the second.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Index {
    /// The partition of the index.
    pub pk: String,
    /// The place in it, ordered by bytes.
    pub sk: String,
}

/// What is stored under a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Where it is.
    pub key: Key,
    /// 1 when first put, one more at each put or add since.
    pub version: u64,
    /// The document, opaque to the table.
    pub body: String,
    /// A counter, for items that [`Write::Add`] made; 0 otherwise.
    pub count: i64,
}

/// What must be true of an item for its write to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// It does not exist.
    Absent,
    /// It exists, at this version.
    Version(u64),
}

/// One write of a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Puts a document. Its version becomes 1, or one more than expected.
    Put {
        /// Where.
        key: Key,
        /// What, at most [`MAX_BODY`] bytes.
        body: String,
        /// Where else it is found. Replaces what was there.
        index: Option<Index>,
        /// When it stops being found by itself. Replaces what was there.
        expires: Option<Timestamp>,
        /// What must be there before.
        expect: Expect,
    },
    /// Removes an item.
    Delete {
        /// Which.
        key: Key,
        /// What must be there before.
        expect: Expect,
    },
    /// Changes nothing, and makes the commit depend on an item.
    Check {
        /// Which.
        key: Key,
        /// What must be there.
        expect: Expect,
    },
    /// Adds to the counter of an item, which is made with an empty body where it is absent. Happens
    /// only if the sum stays within the bounds: never a lost update, never an overshoot.
    Add {
        /// Which.
        key: Key,
        /// How much, may be negative.
        delta: i64,
        /// The least the sum may be.
        at_least: i64,
        /// The most the sum may be.
        at_most: i64,
    },
}

impl Write {
    /// The item it is about.
    pub fn key(&self) -> &Key {
        match self {
            Self::Put { key, .. }
            | Self::Delete { key, .. }
            | Self::Check { key, .. }
            | Self::Add { key, .. } => key,
        }
    }
}

/// Writes that happen together or not at all.
#[derive(Clone, Debug, Default)]
pub struct Commit {
    /// What it is for, as `noun.verb`: names it in metrics, traces and fault tests.
    pub name: &'static str,
    /// At least one, at most [`MAX_WRITES`], each about another item; their bodies have at most
    /// [`MAX_COMMIT`] bytes together.
    pub writes: Vec<Write>,
}

impl Commit {
    /// Refuses what breaks a limit of this module. Every table asks this first.
    pub fn check(&self) -> Result<(), Error> {
        if self.writes.is_empty() {
            return Err(Error::Invalid("a commit holds at least one write"));
        }
        if self.writes.len() > MAX_WRITES {
            return Err(Error::Invalid("a commit holds at most 100 writes"));
        }
        let (mut seen, mut bytes) = (BTreeSet::new(), 0);
        for write in &self.writes {
            write.key().check()?;
            if !seen.insert(write.key()) {
                return Err(Error::Invalid("two writes of a commit are about one item"));
            }
            if let Write::Put { body, index, .. } = write {
                if body.len() > MAX_BODY {
                    return Err(Error::Invalid("a body has at most 390 KiB"));
                }
                bytes += body.len();
                if bytes > MAX_COMMIT {
                    return Err(Error::Invalid("the bodies of a commit have at most 3 MiB"));
                }
                if let Some(index) = index {
                    check_key(&index.pk, &index.sk)?;
                }
            }
        }
        Ok(())
    }
}

impl Key {
    /// Refuses a key that is empty or too long. Every table asks this first.
    pub fn check(&self) -> Result<(), Error> {
        check_key(&self.pk, &self.sk)
    }
}

fn check_key(pk: &str, sk: &str) -> Result<(), Error> {
    if pk.is_empty() || sk.is_empty() {
        return Err(Error::Invalid("neither half of a key is empty"));
    }
    if pk.len() > MAX_KEY || sk.len() > MAX_KEY {
        return Err(Error::Invalid("either half of a key has at most 1024 bytes"));
    }
    Ok(())
}

/// Which way a query reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direction {
    /// Smallest sort key first.
    #[default]
    Ascending,
    /// Largest sort key first.
    Descending,
}

/// Which sort keys a query reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Range {
    /// All that begin so. The empty prefix reads the whole partition.
    Prefix(String),
    /// All at or after the first and before the second.
    Between(String, String),
}

/// A run of one partition.
#[derive(Clone, Debug)]
pub struct Query {
    /// The partition; of the table, or of the index where `on_index` says so.
    pub pk: String,
    /// Whether `pk` and the sort keys are those of the index.
    pub on_index: bool,
    /// Which sort keys.
    pub range: Range,
    /// Which way.
    pub direction: Direction,
    /// Begin behind this place (in the direction of reading), wherever or not an item is there.
    pub after: Option<Cursor>,
    /// The most items of the page, from 1 to [`MAX_LIMIT`]. A page also ends before it has more than
    /// [`MAX_PAGE`] bytes of bodies: whether it was the last, only [`Page::next`] says.
    pub limit: usize,
}

impl Query {
    /// Refuses what breaks a limit of this module. Every table asks this first.
    pub fn check(&self) -> Result<(), Error> {
        if self.pk.is_empty() || self.pk.len() > MAX_KEY {
            return Err(Error::Invalid("a partition has a name of at most 1024 bytes"));
        }
        if !(1..=MAX_LIMIT).contains(&self.limit) {
            return Err(Error::Invalid("a page has from 1 to 1000 items"));
        }
        Ok(())
    }
}

/// A place in a query's order. Opaque to callers; worthless outside its partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor(String);

/// The text is not a cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a cursor")]
pub struct NotACursor;

impl Cursor {
    /// The cursor behind the item with this sort key.
    pub fn behind(sk: impl Into<String>) -> Self {
        Self(sk.into())
    }

    /// The sort key it is behind.
    pub fn sk(&self) -> &str {
        &self.0
    }

    /// Reads a cursor that a caller brings back. At most 512 characters.
    pub fn parse(text: &str) -> Result<Self, NotACursor> {
        if text.len() > 512 {
            return Err(NotACursor);
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| NotACursor)?;
        let sk = String::from_utf8(bytes).map_err(|_| NotACursor)?;
        match sk.strip_prefix("1:") {
            Some(sk) if !sk.is_empty() && !sk.chars().any(char::is_control) => {
                Ok(Self(sk.to_owned()))
            }
            _ => Err(NotACursor),
        }
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(format!("1:{}", self.0)))
    }
}

/// A page of a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The items, in the order of reading.
    pub items: Vec<Item>,
    /// Where the next page begins; none where this one reached the end.
    pub next: Option<Cursor>,
}

/// The write at `index` did not find what it expects, or would leave its bounds. Nothing was
/// written.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
#[error("write {index} did not find what it expects")]
pub struct Conflict {
    /// Which write of the commit: the first that failed.
    pub index: usize,
}

/// Why the table did not do it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Somebody was faster. Nothing was written.
    #[error(transparent)]
    Conflict(#[from] Conflict),
    /// The commit or query itself breaks a limit stated in this module. Nothing was written; trying
    /// again does not help.
    #[error("the request breaks a limit of the table: {0}")]
    Invalid(&'static str),
    /// The table does not answer. A commit may or may not have happened; trying again may help.
    #[error("the table is unavailable")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// One table of versioned documents. Its promises are those of `tests`' conformance suite, which
/// every implementation passes.
///
/// - A commit that returned is durable: it outlives the process and the power.
/// - `get`, `batch_get` and a query on the table see every commit that returned before they began. A
///   query on the index may see it a moment later.
/// - An item past its `expires` is not found by anything, and counts as absent.
#[async_trait::async_trait]
pub trait Table: Send + Sync + fmt::Debug {
    /// Reads one item.
    async fn get(&self, key: &Key) -> Result<Option<Item>, Error>;

    /// Reads up to [`MAX_BATCH`] items in one round trip, in the order of `keys`.
    async fn batch_get(&self, keys: &[Key]) -> Result<Vec<Option<Item>>, Error>;

    /// Reads a run of one partition, in the byte order of its sort keys.
    async fn query(&self, query: Query) -> Result<Page, Error>;

    /// Applies every write or none of them.
    async fn commit(&self, commit: Commit) -> Result<(), Error>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_back_and_anything_else_is_refused() {
        let cursor = Cursor::behind("agt_01");
        assert_eq!(Cursor::parse(&cursor.to_string()), Ok(cursor));
        for bad in ["", "x", "!!!!", "MTo", "AAAA", &"A".repeat(600)] {
            assert_eq!(Cursor::parse(bad), Err(NotACursor), "{bad}");
        }
    }
}
