//! Which sort keys a query reads, in DynamoDB's words.
//!
//! A cursor is a place, not an item, and on the index it does not say which item of the table it
//! belonged to; DynamoDB's own start key wants both. So a cursor becomes an end of the range.
//! DynamoDB takes one condition on the sort key, whose ends, where it has two, both belong to it:
//! it is asked for a little more than is wanted, and what is beside it is left out here.

use std::ops::{Bound, RangeBounds};

use store::{Direction, MAX_KEY, Query, Range};

/// A range of sort keys that is not empty.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    /// What everything in it begins with, where that says it all.
    prefix: Option<String>,
    from: Bound<String>,
    to: Bound<String>,
}

impl Bounds {
    /// What a query reads; none where that is nothing.
    pub(super) fn of(query: &Query) -> Option<Self> {
        let (from, to) = match &query.range {
            Range::Prefix(prefix) => {
                let to = behind(prefix).map_or(Bound::Unbounded, Bound::Excluded);
                (Bound::Included(prefix.clone()), to)
            }
            Range::Between(from, to) => {
                (Bound::Included(from.clone()), Bound::Excluded(to.clone()))
            }
        };
        let mut bounds = Self { prefix: None, from, to };
        if let Range::Prefix(prefix) = &query.range
            && !prefix.is_empty()
        {
            bounds.prefix = Some(prefix.clone());
        }
        if let Some(after) = &query.after {
            bounds.narrow(after.sk(), query.direction);
        }
        // A key is never empty, so this end is none.
        if bounds.from == Bound::Included(String::new()) {
            bounds.from = Bound::Unbounded;
        }
        let possible = bounds.prefix.as_ref().is_none_or(|prefix| prefix.len() <= MAX_KEY);
        (possible && !bounds.is_empty()).then_some(bounds)
    }

    /// Begins behind `after`, in the direction of reading.
    fn narrow(&mut self, after: &str, direction: Direction) {
        let end = match (direction, &self.from, &self.to) {
            (Direction::Ascending, Bound::Included(from), _) if after < from.as_str() => return,
            (Direction::Descending, _, Bound::Excluded(to)) if after >= to.as_str() => return,
            (Direction::Ascending, _, _) => &mut self.from,
            (Direction::Descending, _, _) => &mut self.to,
        };
        *end = Bound::Excluded(after.to_owned());
        self.prefix = None;
    }

    fn is_empty(&self) -> bool {
        match (&self.from, &self.to) {
            (Bound::Included(from) | Bound::Excluded(from), Bound::Excluded(to)) => from >= to,
            // A key is never empty.
            (Bound::Unbounded, Bound::Excluded(to)) => to.is_empty(),
            _ => false,
        }
    }

    /// Whether a sort key is in it.
    pub(super) fn contain(&self, sk: &str) -> bool {
        let (from, to) = (self.from.as_ref(), self.to.as_ref());
        RangeBounds::<str>::contains(&(from.map(String::as_str), to.map(String::as_str)), sk)
    }

    /// How many items DynamoDB may find at its ends that are not in it.
    pub(super) fn beside(&self) -> usize {
        match (&self.prefix, &self.from, &self.to) {
            (None, Bound::Excluded(_), Bound::Excluded(_)) => 2,
            (None, Bound::Included(_), Bound::Excluded(_)) => 1,
            _ => 0,
        }
    }

    /// The condition on the keys of these names, with its values but for `:pk`.
    pub(super) fn condition(&self, pk: &str, sk: &str) -> (String, Vec<(&'static str, &str)>) {
        if let Some(prefix) = &self.prefix {
            let condition = format!("{pk} = :pk AND begins_with({sk}, :from)");
            return (condition, vec![(":from", prefix)]);
        }
        // No end that is given to DynamoDB is longer than a key: the range only grows by that.
        let from = place(&self.from).map(|from| &from[..from.floor_char_boundary(MAX_KEY)]);
        let to = place(&self.to).filter(|to| to.len() <= MAX_KEY);
        match (from, to) {
            (Some(from), Some(to)) => {
                let condition = format!("{pk} = :pk AND {sk} BETWEEN :from AND :to");
                (condition, vec![(":from", from), (":to", to)])
            }
            (Some(from), None) => {
                let sign = if matches!(self.from, Bound::Excluded(_)) { ">" } else { ">=" };
                (format!("{pk} = :pk AND {sk} {sign} :from"), vec![(":from", from)])
            }
            (None, Some(to)) => (format!("{pk} = :pk AND {sk} < :to"), vec![(":to", to)]),
            (None, None) => (format!("{pk} = :pk"), Vec::new()),
        }
    }
}

/// Where an end is. An upper one never belongs to the range.
fn place(end: &Bound<String>) -> Option<&str> {
    match end {
        Bound::Included(place) | Bound::Excluded(place) => Some(place),
        Bound::Unbounded => None,
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
    use store::Cursor;

    use super::*;

    fn query(range: Range, after: Option<&str>, direction: Direction) -> Query {
        let after = after.map(Cursor::behind);
        Query { pk: "p".to_owned(), on_index: false, range, direction, after, limit: 1 }
    }

    #[test]
    fn one_condition_says_it_all() {
        use Direction::{Ascending as Up, Descending as Down};
        let prefix = |prefix: &str| Range::Prefix(prefix.to_owned());
        let between = |from: &str, to: &str| Range::Between(from.to_owned(), to.to_owned());
        for (range, after, direction, expected) in [
            (prefix(""), None, Up, ""),
            (prefix(""), Some("b"), Up, " AND sk > :from"),
            (prefix(""), Some("b"), Down, " AND sk < :to"),
            (prefix("a"), None, Down, " AND begins_with(sk, :from)"),
            (prefix("b"), Some("a"), Up, " AND begins_with(sk, :from)"),
            (prefix("a"), Some("ab"), Up, " AND sk BETWEEN :from AND :to"),
            (prefix("a"), Some("ab"), Down, " AND sk BETWEEN :from AND :to"),
            (prefix("\u{10ffff}"), Some("\u{10ffff}a"), Up, " AND sk > :from"),
            (between("a", "b"), None, Up, " AND sk BETWEEN :from AND :to"),
            (between("", "b"), None, Up, " AND sk < :to"),
        ] {
            let query = query(range, after, direction);
            let (condition, _) = Bounds::of(&query).unwrap().condition("pk", "sk");
            assert_eq!(condition, format!("pk = :pk{expected}"), "{query:?}");
        }
        for (range, after, direction) in [
            (between("b", "b"), None, Up),
            (between("c", "b"), None, Up),
            (between("", ""), None, Down),
            (prefix("a"), Some("b"), Up),
            (prefix("a"), Some("a"), Down),
            (prefix(""), Some(""), Down),
            (prefix(&"x".repeat(MAX_KEY + 1)), None, Up),
        ] {
            let query = query(range, after, direction);
            assert_eq!(Bounds::of(&query), None, "{query:?}");
        }
    }

    #[test]
    fn an_end_longer_than_a_key_is_cut_without_leaving_anything_out() {
        let long = "é".repeat(MAX_KEY);
        let range = Range::Between(long.clone(), format!("{long}x"));
        let bounds = Bounds::of(&query(range, None, Direction::Ascending)).unwrap();
        let (condition, places) = bounds.condition("pk", "sk");
        assert_eq!(condition, "pk = :pk AND sk >= :from");
        assert_eq!(places[0].1.len(), MAX_KEY);
        assert!(!bounds.contain(places[0].1));
    }
}
