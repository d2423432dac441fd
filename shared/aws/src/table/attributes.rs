//! How an item is written down.
//!
//! | attribute    | type | what                                                                 |
//! |--------------|------|----------------------------------------------------------------------|
//! | `pk`, `sk`   | S    | its key                                                              |
//! | `ipk`, `isk` | S    | its place in the index, where it has one                             |
//! | `version`    | N    | its version                                                          |
//! | `body`       | S    | its document                                                         |
//! | `count`      | N    | its counter, once something was added                                |
//! | `expires_ms` | N    | when it stops being found, where it does: milliseconds since 1970    |
//! | `expires`    | N    | the same in seconds, rounded up: when DynamoDB may remove it (TTL)   |
//! | `by`         | B    | the commit that put it, where it put nothing else                    |

use aws_sdk_dynamodb::types::AttributeValue;
use domain::Timestamp;
use store::{Error, Index, Item, Key};

/// The attributes of an item, as the SDK has them.
#[expect(clippy::disallowed_types, reason = "the SDK's type")]
pub(super) type Attributes = std::collections::HashMap<String, AttributeValue>;

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

/// An item that was put.
pub(super) fn put(
    at: &Key,
    version: u64,
    body: &str,
    index: Option<&Index>,
    expires: Option<Timestamp>,
) -> Attributes {
    let mut item = key(at);
    item.insert("version".to_owned(), number(version));
    item.insert("body".to_owned(), text(body));
    if let Some(index) = index {
        item.insert("ipk".to_owned(), text(&index.pk));
        item.insert("isk".to_owned(), text(&index.sk));
    }
    if let Some(expires) = expires {
        item.insert("expires_ms".to_owned(), number(expires.as_millis()));
        item.insert("expires".to_owned(), number(expires.as_secs_ceil()));
    }
    item
}

/// An item that an add made.
pub(super) fn counter(at: &Key, count: i64) -> Attributes {
    let mut item = put(at, 1, "", None, None);
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
    let Some(AttributeValue::S(body)) = item.remove("body") else {
        return Err(super::unavailable(Malformed("body")));
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
