//! What is too much, and what is not.

use std::collections::BTreeSet;

use store::{
    Direction, Expect, Index, Key, MAX_BATCH, MAX_BODY, MAX_COMMIT, MAX_KEY, MAX_LIMIT, MAX_PAGE,
    MAX_WRITES, Query, Table, Write,
};

use super::{all, assert_invalid, commit, fill, item, key, put, put_indexed, sks};

cases! {
    for_limits in limits:

    /// A hundred writes are a commit; one more, or none, are not.
    async fn a_commit_has_from_one_to_a_hundred_writes(table, p) {
        let writes = |count: usize, expect| -> Vec<_> {
            (0..count).map(|n| put(key(p, &format!("{n:03}")), "x", expect)).collect()
        };
        assert_invalid(&commit(table, writes(MAX_WRITES + 1, Expect::Absent)).await);
        assert_invalid(&commit(table, vec![]).await);
        assert_eq!(sks(table, all(p)).await, [""; 0]);
        commit(table, writes(MAX_WRITES, Expect::Absent)).await.unwrap();
        assert_eq!(sks(table, all(p)).await.len(), MAX_WRITES);
        commit(table, writes(MAX_WRITES, Expect::Version(1))).await.unwrap();
    }

    /// The largest body is taken, in bytes and not in characters; one byte more is not.
    async fn a_body_has_a_largest_size(table, p) {
        let largest = "é".repeat(MAX_BODY / 2);
        commit(table, vec![put(key(p, "a"), &largest, Expect::Absent)]).await.unwrap();
        assert_eq!(item(table, &key(p, "a")).await.unwrap().body, largest);
        let larger = format!("{largest}x");
        assert_invalid(&commit(table, vec![put(key(p, "b"), &larger, Expect::Absent)]).await);
    }

    /// As many bodies as a commit may hold are taken together; one byte more is not.
    async fn a_commit_has_a_largest_size(table, p) {
        let writes = |last: usize, expect| -> Vec<_> {
            let sizes = std::iter::repeat_n(MAX_BODY, MAX_COMMIT / MAX_BODY).chain([last]);
            let put = |(n, size)| put(key(p, &format!("{n:03}")), &"x".repeat(size), expect);
            sizes.enumerate().map(put).collect()
        };
        let rest = MAX_COMMIT % MAX_BODY;
        assert_invalid(&commit(table, writes(rest + 1, Expect::Absent)).await);
        assert_eq!(table.query(Query { limit: 1, ..all(p) }).await.unwrap().items, []);
        commit(table, writes(rest, Expect::Absent)).await.unwrap();
        let last = key(p, &format!("{:03}", MAX_COMMIT / MAX_BODY));
        assert_eq!(item(table, &last).await.unwrap().body.len(), rest);
    }

    /// Two writes on one item would depend on their order.
    async fn a_commit_writes_an_item_once(table, p) {
        let check = Write::Check { key: key(p, "a"), expect: Expect::Absent };
        let twice = vec![check, put(key(p, "a"), "x", Expect::Absent)];
        assert_invalid(&commit(table, twice).await);
        assert_eq!(item(table, &key(p, "a")).await, None);
    }

    /// Neither half of a key is empty or longer than a thousand bytes and some.
    async fn keys_have_a_size(table, p) {
        let long = "x".repeat(MAX_KEY);
        let longest = Key { pk: p.to_owned(), sk: long.clone() };
        commit(table, vec![put(longest.clone(), "x", Expect::Absent)]).await.unwrap();
        assert!(item(table, &longest).await.is_some());
        assert_eq!(table.query(Query { limit: 1, ..all(p) }).await.unwrap().items[0].key, longest);
        let longer = format!("{long}x");
        for (pk, sk) in [("", "a"), (p, ""), (&longer, "a"), (p, &longer)] {
            let bad = Key { pk: pk.to_owned(), sk: sk.to_owned() };
            assert_invalid(&table.get(&bad).await);
            assert_invalid(&table.batch_get(std::slice::from_ref(&bad)).await);
            assert_invalid(&commit(table, vec![put(bad, "x", Expect::Absent)]).await);
            let indexed = put_indexed(key(p, "a"), Some((pk, sk)), Expect::Absent);
            assert_invalid(&commit(table, vec![indexed]).await);
        }
        assert_invalid(&table.query(all("")).await);
        assert_invalid(&table.query(all(&longer)).await);
    }

    /// A page has from one to a thousand items.
    async fn a_page_has_a_size(table, p) {
        for limit in [0, MAX_LIMIT + 1, usize::MAX] {
            assert_invalid(&table.query(Query { limit, ..all(p) }).await);
        }
        assert!(table.query(Query { limit: MAX_LIMIT, ..all(p) }).await.is_ok());
    }

    /// A page of large bodies ends early and says so; paging still finds all, once.
    async fn a_page_of_large_bodies_ends_early(table, p) {
        let body = "x".repeat(MAX_BODY);
        for sk in ["a", "b", "c", "d", "e"] {
            commit(table, vec![put(key(p, sk), &body, Expect::Absent)]).await.unwrap();
        }
        for direction in [Direction::Ascending, Direction::Descending] {
            let (mut query, mut found) = (Query { direction, ..all(p) }, BTreeSet::new());
            loop {
                let page = table.query(query.clone()).await.unwrap();
                assert!(!page.items.is_empty() && page.items.len() * MAX_BODY <= MAX_PAGE);
                for item in page.items {
                    assert!(found.insert(item.key.sk));
                }
                if page.next.is_none() {
                    break;
                }
                query.after = page.next;
            }
            assert_eq!(found.into_iter().collect::<String>(), "abcde");
        }
    }

    /// A hundred keys are a batch; one more are not.
    async fn a_batch_has_at_most_a_hundred_keys(table, p) {
        let keys: Vec<_> = (0..=MAX_BATCH).map(|n| key(p, &format!("{n:03}"))).collect();
        fill(table, p, &["007"]).await;
        let found = table.batch_get(&keys[..MAX_BATCH]).await.unwrap();
        assert_eq!(found.len(), MAX_BATCH);
        assert_eq!(found.iter().flatten().count(), 1);
        assert!(found[7].is_some());
        assert_invalid(&table.batch_get(&keys).await);
    }

    /// The empty body is a body.
    async fn a_body_may_be_empty(table, p) {
        commit(table, vec![put(key(p, "a"), "", Expect::Absent)]).await.unwrap();
        assert_eq!(item(table, &key(p, "a")).await.unwrap().body, "");
        commit(table, vec![put(key(p, "a"), "", Expect::Version(1))]).await.unwrap();
    }

    /// Any text is a key or a body, and none is code.
    async fn any_text_is_a_key_or_a_body(table, p) {
        let texts = [
            "'", "''; DROP TABLE items; --", "\"", "\\", "%", "_", "?1", ":a", "#", " ", "\n", "\t",
            "ключ", "鍵", "🔑", "e\u{301}", "é", "\u{feff}", "null", "NaN", "0x10", "1e3", "007",
            "{}",
        ];
        for text in texts {
            let pk = format!("{p}{text}");
            let write = Write::Put {
                key: key(&pk, text),
                body: text.to_owned(),
                index: Some(Index { pk: pk.clone(), sk: text.to_owned() }),
                expires: None,
                expect: Expect::Absent,
            };
            commit(table, vec![write]).await.unwrap();
        }
        for text in texts {
            let pk = format!("{p}{text}");
            assert_eq!(item(table, &key(&pk, text)).await.unwrap().body, text);
            assert_eq!(sks(table, all(&pk)).await, [text]);
            assert_eq!(sks(table, Query { on_index: true, ..all(&pk) }).await, [text]);
        }
    }
}
