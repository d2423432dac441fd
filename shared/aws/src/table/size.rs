//! What an item takes, as DynamoDB counts it.
//!
//! An item has the bytes of its attributes' names and values; of a number, one for every two digits and
//! one more ("DynamoDB item sizes and formats"). A write takes a unit for each KB begun of them.

use aws_sdk_dynamodb::types::AttributeValue;
use store::Write;

use super::attributes::{self, Attributes};

/// A write unit is for as much of an item.
const KB: usize = 1024;

/// The write units of an item of so many bytes, outside a transaction and without its index.
pub fn units(bytes: usize) -> u64 {
    u64::try_from(bytes.div_ceil(KB).max(1)).unwrap_or(u64::MAX)
}

/// The bytes of the item that a put leaves in the table; none where `write` puts nothing. A put that is
/// `alone` in its commit says in its item whose it is.
pub fn of_put(write: &Write, alone: bool) -> Option<usize> {
    let Write::Put { key, body, index, expires, expect } = write else { return None };
    let by = alone.then_some([0; 16]);
    Some(bytes(&attributes::put(key, *expect, body, index.as_ref(), *expires, by)))
}

/// The bytes of a number, which is an integer.
pub fn of_number(digits: &str) -> usize {
    let (sign, digits) = digits.strip_prefix('-').map_or((0, digits), |digits| (1, digits));
    // Neither the zeros before a number nor those behind it are kept.
    let kept = digits.trim_start_matches('0').trim_end_matches('0');
    kept.len().div_ceil(2) + 1 + sign
}

/// The bytes of an item.
pub(super) fn bytes(item: &Attributes) -> usize {
    item.iter().map(|(name, value)| name.len() + of_value(value)).sum()
}

fn of_value(value: &AttributeValue) -> usize {
    match value {
        AttributeValue::S(text) => text.len(),
        AttributeValue::N(digits) => of_number(digits),
        AttributeValue::B(bytes) => bytes.as_ref().len(),
        // No item of ours has one.
        AttributeValue::Bool(_)
        | AttributeValue::Bs(_)
        | AttributeValue::L(_)
        | AttributeValue::M(_)
        | AttributeValue::Ns(_)
        | AttributeValue::Null(_)
        | AttributeValue::Ss(_)
        | _ => 0,
    }
}
