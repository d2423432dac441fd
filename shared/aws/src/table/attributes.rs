//! How an item is written down.
//!
//! | attribute    | type | what                                                                 |
//! |--------------|------|----------------------------------------------------------------------|
//! | `pk`, `sk`   | S    | its key                                                              |
//! | `ipk`, `isk` | S    | its place in the index, where it has one                             |
//! | `version`    | N    | its version                                                          |
//! | `body`       | S, B | its document; as bytes it is packed, where that takes fewer units    |
//! | `count`      | N    | its counter, once something was added                                |
//! | `expires_ms` | N    | when it stops being found, where it does: milliseconds since 1970    |
//! | `expires`    | N    | the same in seconds, rounded up: when DynamoDB may remove it (TTL)   |
//! | `by`         | B    | the commit that put it, where it put nothing else                    |

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use domain::Timestamp;
use store::{Error, Expect, Index, Item, Key};

use super::{packed, size};

/// The attributes of an item, as the SDK has them.
#[expect(clippy::disallowed_types, reason = "the SDK's type")]
pub(super) type Attributes = std::collections::HashMap<String, AttributeValue>;

/// The attribute that says whose a put was.
pub(super) const BY: &str = "by";

/// What is stored is not what this module writes.
#[derive(Debug, thiserror::Error)]
#[error("an item's attribute `{0}` is missing or of another kind")]
struct Malformed(&'static str);

/// The names of the keys of the table, or of the index.
pub(super) const fn key_names(on_index: bool) -> (&'static str, &'static str) {
    if on_index { ("ipk", "isk") } else { ("pk", "sk") }
}

pub(super) fn text(text: impl Into<String>) -> AttributeValue {
    AttributeValue::S(text.into())
}

#[expect(clippy::needless_pass_by_value, reason = "integers")]
pub(super) fn number(number: impl ToString) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

pub(super) fn key(key: &Key) -> Attributes {
    [("pk", &key.pk), ("sk", &key.sk)].map(|(name, half)| (name.to_owned(), text(half))).into()
}

/// The name of a commit that put an item and nothing else.
pub(super) fn by(commit: [u8; 16]) -> AttributeValue {
    AttributeValue::B(Blob::new(commit))
}

/// An item that is put. The same each time it is asked for, as a commit that is tried again demands.
pub(super) fn put(
    at: &Key,
    expect: Expect,
    body: &str,
    index: Option<&Index>,
    expires: Option<Timestamp>,
    commit: Option<[u8; 16]>,
) -> Attributes {
    let mut item = key(at);
    let version = match expect {
        Expect::Absent => 1,
        Expect::Version(version) => version.saturating_add(1),
    };
    item.insert("version".to_owned(), number(version));
    if let Some(index) = index {
        item.insert("ipk".to_owned(), text(&index.pk));
        item.insert("isk".to_owned(), text(&index.sk));
    }
    if let Some(expires) = expires {
        item.insert("expires_ms".to_owned(), number(expires.as_millis()));
        item.insert("expires".to_owned(), number(expires.as_secs_ceil()));
    }
    if let Some(commit) = commit {
        item.insert(BY.to_owned(), by(commit));
    }
    let rest = size::bytes(&item) + "body".len();
    item.insert("body".to_owned(), written(body, rest));
    item
}

/// How a body is written beside `rest` bytes of its item. What is short stays as it is, for whoever looks
/// at the table.
fn written(body: &str, rest: usize) -> AttributeValue {
    let plain = size::units(rest + body.len());
    if plain > 1
        && let Some(packed) = packed::pack(body)
        && size::units(rest + packed.len()) < plain
    {
        return AttributeValue::B(Blob::new(packed));
    }
    text(body)
}

/// An item that an add made.
pub(super) fn counter(at: &Key, count: i64) -> Attributes {
    let mut item = put(at, Expect::Absent, "", None, None, None);
    item.insert("count".to_owned(), number(count));
    item
}

/// Whether an item's time is over.
pub(super) fn is_expired(item: &Attributes, now: Timestamp) -> Result<bool, Error> {
    Ok(integer::<u64>(item, "expires_ms")?.is_some_and(|expires| expires <= now.as_millis()))
}

/// An item's version.
pub(super) fn version(item: &Attributes) -> Result<Option<u64>, Error> {
    integer(item, "version")
}

/// Where in the table or the index an item stands.
pub(super) fn place(item: &Attributes, on_index: bool) -> Result<&str, Error> {
    string(item, key_names(on_index).1)
}

/// An item that was found, unless its time is over.
pub(super) fn live(item: Option<Attributes>, now: Timestamp) -> Result<Option<Item>, Error> {
    let Some(mut item) = item else { return Ok(None) };
    if is_expired(&item, now)? {
        return Ok(None);
    }
    let version = version(&item)?.ok_or_else(|| super::unavailable(Malformed("version")))?;
    let count = integer(&item, "count")?.unwrap_or(0);
    // The one that may be long is not copied.
    let body = match item.remove("body") {
        Some(AttributeValue::S(body)) => body,
        Some(AttributeValue::B(body)) => {
            packed::unpack(body.as_ref()).map_err(super::unavailable)?
        }
        _ => return Err(super::unavailable(Malformed("body"))),
    };
    let key = Key { pk: string(&item, "pk")?.to_owned(), sk: string(&item, "sk")?.to_owned() };
    Ok(Some(Item { key, version, body, count }))
}

fn string<'a>(item: &'a Attributes, name: &'static str) -> Result<&'a str, Error> {
    match item.get(name) {
        Some(AttributeValue::S(text)) => Ok(text),
        _ => Err(super::unavailable(Malformed(name))),
    }
}

fn integer<T: std::str::FromStr>(
    item: &Attributes,
    name: &'static str,
) -> Result<Option<T>, Error> {
    let malformed = || super::unavailable(Malformed(name));
    match item.get(name) {
        None => Ok(None),
        Some(AttributeValue::N(number)) => number.parse().map(Some).map_err(|_| malformed()),
        Some(_) => Err(malformed()),
    }
}
