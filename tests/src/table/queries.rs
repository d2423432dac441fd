//! What a query finds, over its pages, and a batch.

use store::{Cursor, Direction, Expect, Query, Range, Table, Write};

use super::{add, all, commit, fill, key, put_indexed, sks};

cases! {
    for_queries in queries:

    /// Order is that of bytes, either way, at any page size.
    async fn a_partition_reads_in_byte_order_over_pages(table, p) {
        let mut sorted = vec![
            "!", "0000000002", "0000000009", "0000000010", "A", "B", "Z", "_", "a", "aa", "é",
            "\u{ffff}", "😀",
        ];
        let mut scrambled = sorted.clone();
        scrambled.reverse();
        scrambled.swap(1, 7);
        fill(table, p, &scrambled).await;
        sorted.sort_by_key(|sk| sk.as_bytes());
        for limit in 1..=sorted.len() + 1 {
            let upwards = Query { limit, ..all(p) };
            assert_eq!(sks(table, upwards.clone()).await, sorted, "by {limit}");
            let mut found = sks(table, Query { direction: Direction::Descending, ..upwards }).await;
            found.reverse();
            assert_eq!(found, sorted, "downwards by {limit}");
        }
    }

    /// A page that holds all there is says that it is the last.
    async fn the_last_page_says_so(table, p) {
        fill(table, p, &["a", "b"]).await;
        for (limit, more) in [(1, true), (2, false), (3, false)] {
            for direction in [Direction::Ascending, Direction::Descending] {
                let page = table.query(Query { limit, direction, ..all(p) }).await.unwrap();
                assert_eq!((page.items.len(), page.next.is_some()), (limit.min(2), more));
            }
        }
        let none = table.query(all(&format!("{p}#none"))).await.unwrap();
        assert_eq!((none.items.len(), none.next), (0, None));
    }

    /// A cursor is a place, not an item: nothing has to be there.
    async fn after_is_a_place_whether_or_not_an_item_is_there(table, p) {
        fill(table, p, &["b", "d", "f"]).await;
        let behind = |sk: &str, direction| Query {
            after: Some(Cursor::behind(sk)),
            direction,
            ..all(p)
        };
        for (sk, upwards, downwards) in [
            ("a", vec!["b", "d", "f"], vec![]),
            ("b", vec!["d", "f"], vec![]),
            ("b!", vec!["d", "f"], vec!["b"]),
            ("c", vec!["d", "f"], vec!["b"]),
            ("d", vec!["f"], vec!["b"]),
            ("f", vec![], vec!["d", "b"]),
            ("g", vec![], vec!["f", "d", "b"]),
        ] {
            assert_eq!(sks(table, behind(sk, Direction::Ascending)).await, upwards, "{sk}");
            assert_eq!(sks(table, behind(sk, Direction::Descending)).await, downwards, "{sk}");
        }
    }

    /// Items that come and go between two pages neither hide nor double the others.
    async fn paging_holds_while_items_come_and_go(table, p) {
        fill(table, p, &["b", "d", "f"]).await;
        let first = table.query(Query { limit: 2, ..all(p) }).await.unwrap();
        let delete = Write::Delete { key: key(p, "d"), expect: Expect::Version(1) };
        commit(table, vec![delete]).await.unwrap();
        fill(table, p, &["a", "e"]).await;
        let rest = sks(table, Query { after: first.next, ..all(p) }).await;
        assert_eq!(rest, ["e", "f"]);
    }

    /// A cursor outside the range reads what of the range is behind it.
    async fn after_and_the_range_both_hold(table, p) {
        fill(table, p, &["a1", "b1", "b2", "c1"]).await;
        let prefix = |after: &str, direction| Query {
            range: Range::Prefix("b".into()),
            after: Some(Cursor::behind(after)),
            direction,
            ..all(p)
        };
        assert_eq!(sks(table, prefix("a", Direction::Ascending)).await, ["b1", "b2"]);
        assert_eq!(sks(table, prefix("b1", Direction::Ascending)).await, ["b2"]);
        assert_eq!(sks(table, prefix("c", Direction::Ascending)).await, [""; 0]);
        assert_eq!(sks(table, prefix("c1", Direction::Descending)).await, ["b2", "b1"]);
        assert_eq!(sks(table, prefix("b2", Direction::Descending)).await, ["b1"]);
        assert_eq!(sks(table, prefix("a1", Direction::Descending)).await, [""; 0]);
    }

    /// A prefix finds what begins with it and nothing else, at the ends of Unicode too.
    async fn a_prefix_finds_only_what_begins_with_it(table, p) {
        let items = [
            "a", "a#", "a#1", "a#2", "a$", "aé", "aê", "a\u{d7ff}", "a\u{e000}", "a\u{ffff}x",
            "a\u{10ffff}", "a\u{10ffff}x", "b", "\u{10ffff}", "\u{10ffff}x", "%", "_", "'", "*",
        ];
        fill(table, p, &items).await;
        for prefix in items.into_iter().chain(["", "a\u{10ffff}\u{10ffff}", "zz", "a#1\u{1}"]) {
            let mut expected = items.to_vec();
            expected.retain(|sk| sk.starts_with(prefix));
            expected.sort_unstable();
            let query = Query { range: Range::Prefix(prefix.to_owned()), limit: 2, ..all(p) };
            assert_eq!(sks(table, query.clone()).await, expected, "{prefix:?}");
            let mut down = sks(table, Query { direction: Direction::Descending, ..query }).await;
            down.reverse();
            assert_eq!(down, expected, "{prefix:?} downwards");
        }
    }

    /// Between takes its first end and leaves its second.
    async fn between_takes_the_first_end_and_leaves_the_second(table, p) {
        fill(table, p, &["a", "b", "c", "d"]).await;
        for (from, to, expected) in [
            ("a", "d", vec!["a", "b", "c"]),
            ("b", "b!", vec!["b"]),
            ("b", "b", vec![]),
            ("c", "a", vec![]),
            ("", "\u{10ffff}", vec!["a", "b", "c", "d"]),
            ("aa", "bb", vec!["b"]),
        ] {
            let query = Query { range: Range::Between(from.into(), to.into()), limit: 1, ..all(p) };
            assert_eq!(sks(table, query.clone()).await, expected, "{from} to {to}");
            let mut down = sks(table, Query { direction: Direction::Descending, ..query }).await;
            down.reverse();
            assert_eq!(down, expected, "{from} to {to} downwards");
        }
    }

    /// A partition ends at its name: one that begins with it is another.
    async fn partitions_do_not_mix(table, p) {
        let longer = format!("{p}#");
        fill(table, p, &["a"]).await;
        fill(table, &longer, &["b"]).await;
        assert_eq!(sks(table, all(p)).await, ["a"]);
        assert_eq!(sks(table, all(&longer)).await, ["b"]);
        assert_eq!(sks(table, all(&p.to_lowercase())).await, [""; 0]);
    }

    /// The index holds who says so, under what it says last.
    async fn the_index_is_sparse_and_follows_the_item(table, p) {
        let (red, blue) = (format!("{p}#red"), format!("{p}#blue"));
        let on = |pk: &str| Query { on_index: true, ..all(pk) };
        commit(table, vec![
            put_indexed(key(p, "1"), Some((&red, "z")), Expect::Absent),
            put_indexed(key(p, "2"), Some((&red, "y")), Expect::Absent),
            put_indexed(key(p, "3"), None, Expect::Absent),
        ]).await.unwrap();
        assert_eq!(sks(table, on(&red)).await, ["2", "1"]);
        assert_eq!(sks(table, all(&red)).await, [""; 0], "the index is not the table");

        let moved = put_indexed(key(p, "1"), Some((&blue, "x")), Expect::Version(1));
        commit(table, vec![moved]).await.unwrap();
        assert_eq!(sks(table, on(&red)).await, ["2"]);
        assert_eq!(sks(table, on(&blue)).await, ["1"]);

        commit(table, vec![add(key(p, "1"), 1, 0, 1)]).await.unwrap();
        assert_eq!(sks(table, on(&blue)).await, ["1"], "an add leaves the index");
        commit(table, vec![put_indexed(key(p, "1"), None, Expect::Version(3))]).await.unwrap();
        assert_eq!(sks(table, on(&blue)).await, [""; 0], "a put without an index leaves it");

        let delete = Write::Delete { key: key(p, "2"), expect: Expect::Version(1) };
        commit(table, vec![delete]).await.unwrap();
        assert_eq!(sks(table, on(&red)).await, [""; 0]);
    }

    /// The index is read like the table: by prefix, either way, by pages whose cursors are its own.
    async fn the_index_pages_in_its_own_order(table, p) {
        let places = ["A#3", "A#2", "A#1", "B#1", "A#4"];
        for (n, place) in places.iter().enumerate() {
            let key = key(&format!("{p}#{n}"), &n.to_string());
            commit(table, vec![put_indexed(key, Some((p, place)), Expect::Absent)]).await.unwrap();
        }
        for limit in 1..5 {
            let range = Range::Prefix("A#".into());
            let query = Query { on_index: true, range, limit, ..all(p) };
            assert_eq!(sks(table, query.clone()).await, ["2", "1", "0", "4"], "by {limit}");
            let down = Query { direction: Direction::Descending, ..query };
            assert_eq!(sks(table, down).await, ["4", "0", "1", "2"], "downwards by {limit}");
        }
        let page = table.query(Query { on_index: true, limit: 1, ..all(p) }).await.unwrap();
        assert_eq!(page.items[0].key, key(&format!("{p}#2"), "2"));
        assert_eq!(page.items[0].body, "indexed");
        assert_eq!(page.next, Some(Cursor::behind("A#1")));
    }

    /// A batch answers in the order of its keys, each as often as it is asked.
    async fn a_batch_answers_in_the_order_of_its_keys(table, p) {
        let other = format!("{p}#other");
        fill(table, p, &["a", "b"]).await;
        fill(table, &other, &["c"]).await;
        let keys = [key(p, "b"), key(p, "missing"), key(&other, "c"), key(p, "a"), key(p, "b")];
        let found = table.batch_get(&keys).await.unwrap();
        let bodies: Vec<_> = found.iter().map(|i| i.as_ref().map(|i| i.body.as_str())).collect();
        assert_eq!(bodies, [Some("b"), None, Some("c"), Some("a"), Some("b")]);
        for (key, item) in keys.iter().zip(&found) {
            assert!(item.as_ref().is_none_or(|item| item.key == *key));
        }
        assert!(table.batch_get(&[]).await.unwrap().is_empty());
    }
}
