//! How an entity becomes a document and a document an entity: JSON with the version of its shape.

use domain::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::{Error, Expect, Index, Item, Key, Page, Query, Table, Write};

/// The shape that is written. A reader takes every shape up to this one.
const SHAPE: u32 = 1;

/// What is stored under a key is not what its kind looks like.
#[derive(Debug, thiserror::Error)]
#[error("the document at {pk} {sk} does not read")]
pub struct Malformed {
    pk: String,
    sk: String,
    #[source]
    source: serde_json::Error,
}

impl Malformed {
    pub(crate) fn new(pk: &str, sk: &str, source: serde_json::Error) -> Self {
        Self { pk: pk.to_owned(), sk: sk.to_owned(), source }
    }
}

/// An entity as it was read, with the version to expect when it is written back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded<T> {
    /// The entity.
    pub value: T,
    /// Its version.
    pub version: u64,
}

impl<T> Loaded<T> {
    /// What a write that replaces it expects.
    pub const fn expect(&self) -> Expect {
        Expect::Version(self.version)
    }
}

/// What a stored entity says of its place.
pub trait Document: Serialize + DeserializeOwned {
    /// Where it is.
    fn key(&self) -> Key;

    /// Where else it is found.
    fn index(&self) -> Option<Index> {
        None
    }
}

#[derive(Serialize)]
struct Written<'a, T> {
    v: u32,
    doc: &'a T,
}

#[derive(Deserialize)]
struct Read<T> {
    doc: T,
}

/// The document of an entity.
pub(crate) fn encode<T: Serialize>(value: &T) -> String {
    serde_json::to_string(&Written { v: SHAPE, doc: value })
        .unwrap_or_else(|_| unreachable!("entities have string keys and always serialise"))
}

/// The entity of an item.
pub(crate) fn decode<T: DeserializeOwned>(item: &Item) -> Result<Loaded<T>, Error> {
    let read: Read<T> = serde_json::from_str(&item.body).map_err(|source| {
        Error::Unavailable(Box::new(Malformed::new(&item.key.pk, &item.key.sk, source)))
    })?;
    Ok(Loaded { value: read.doc, version: item.version })
}

/// The entity of a body that was seen where the table told its changes.
pub(crate) fn from_body<T: DeserializeOwned>(
    pk: &str,
    sk: &str,
    body: &str,
) -> Result<T, Malformed> {
    serde_json::from_str::<Read<T>>(body)
        .map(|read| read.doc)
        .map_err(|source| Malformed::new(pk, sk, source))
}

/// The entity of an item that was read.
pub fn read<T: Document>(item: &Item) -> Result<Loaded<T>, Error> {
    decode(item)
}

/// Writes an entity, with what must be there before.
pub fn put<T: Document>(value: &T, expect: Expect) -> Write {
    Write::Put {
        key: value.key(),
        body: encode(value),
        index: value.index(),
        expires: None,
        expect,
    }
}

/// Writes an entity that goes by itself at `expires`, with what must be there before.
pub fn put_until<T: Document>(value: &T, expires: Timestamp, expect: Expect) -> Write {
    Write::Put {
        key: value.key(),
        body: encode(value),
        index: value.index(),
        expires: Some(expires),
        expect,
    }
}

/// Removes an entity that was read.
pub fn delete<T: Document>(loaded: &Loaded<T>) -> Write {
    Write::Delete { key: loaded.value.key(), expect: loaded.expect() }
}

/// Makes a commit depend on an entity being as it was read.
pub fn check<T: Document>(loaded: &Loaded<T>) -> Write {
    Write::Check { key: loaded.value.key(), expect: loaded.expect() }
}

/// Reads one entity: one round trip.
pub async fn get<T: Document>(table: &dyn Table, key: &Key) -> Result<Option<Loaded<T>>, Error> {
    table.get(key).await?.as_ref().map(decode).transpose()
}

/// Reads two entities: one round trip.
pub async fn get_both<A: Document, B: Document>(
    table: &dyn Table,
    one: &Key,
    other: &Key,
) -> Result<(Option<Loaded<A>>, Option<Loaded<B>>), Error> {
    let found = table.batch_get(&[one.clone(), other.clone()]).await?;
    let at = |index: usize| found.get(index).and_then(Option::as_ref);
    Ok((at(0).map(decode).transpose()?, at(1).map(decode).transpose()?))
}

/// Reads a page of entities: one round trip.
pub async fn list<T: Document>(table: &dyn Table, query: Query) -> Result<Listed<T>, Error> {
    let Listed { items, next } = list_versions(table, query).await?;
    Ok(Listed { items: items.into_iter().map(|loaded: Loaded<T>| loaded.value).collect(), next })
}

/// Reads a page of entities with their versions: one round trip.
pub async fn list_versions<T: Document>(
    table: &dyn Table,
    query: Query,
) -> Result<Listed<Loaded<T>>, Error> {
    let Page { items, next } = table.query(query).await?;
    Ok(Listed { items: items.iter().map(decode).collect::<Result<_, _>>()?, next })
}

/// A page of entities.
#[derive(Clone, Debug)]
pub struct Listed<T> {
    /// The entities, in the order of reading.
    pub items: Vec<T>,
    /// Where the next page begins.
    pub next: Option<crate::Cursor>,
}
