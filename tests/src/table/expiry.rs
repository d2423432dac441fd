//! Items that go by themselves.

use store::{Expect, Index, Query, Table, Write};

use super::{FAR, PAST, add, all, assert_conflict, commit, item, key, put, put_until, sks};

cases! {
    for_expiry in expiry:

    /// An expired item is found by nothing.
    async fn an_expired_item_is_not_found(table, p) {
        let expiring = |sk: &str, expires, index: &str| Write::Put {
            key: key(p, sk),
            body: sk.to_owned(),
            expires: Some(expires),
            index: Some(Index { pk: format!("{p}#i"), sk: index.to_owned() }),
            expect: Expect::Absent,
        };
        commit(table, vec![expiring("gone", PAST, "1"), expiring("here", FAR, "2")]).await.unwrap();
        assert_eq!(item(table, &key(p, "gone")).await, None);
        assert!(item(table, &key(p, "here")).await.is_some());
        let batch = table.batch_get(&[key(p, "gone"), key(p, "here")]).await.unwrap();
        assert_eq!(batch.iter().map(Option::is_some).collect::<Vec<_>>(), [false, true]);
        assert_eq!(sks(table, Query { limit: 1, ..all(p) }).await, ["here"]);
        let on_index = Query { on_index: true, limit: 1, ..all(&format!("{p}#i")) };
        assert_eq!(sks(table, on_index).await, ["here"]);
    }

    /// An expired item counts as absent for who expects something.
    async fn an_expired_item_counts_as_absent(table, p) {
        for sk in ["put", "checked", "deleted", "counted"] {
            let expired = put_until(key(p, sk), "old", PAST, Expect::Absent);
            commit(table, vec![expired]).await.unwrap();
        }
        let stale = commit(table, vec![put(key(p, "put"), "new", Expect::Version(1))]).await;
        assert_conflict(&stale, 0);
        let stale = Write::Delete { key: key(p, "deleted"), expect: Expect::Version(1) };
        assert_conflict(&commit(table, vec![stale]).await, 0);
        commit(table, vec![
            put(key(p, "put"), "new", Expect::Absent),
            Write::Check { key: key(p, "checked"), expect: Expect::Absent },
            Write::Delete { key: key(p, "deleted"), expect: Expect::Absent },
            add(key(p, "counted"), 3, 0, 3),
        ]).await.unwrap();
        let new = item(table, &key(p, "put")).await.unwrap();
        assert_eq!((new.version, new.body.as_str()), (1, "new"));
        let counted = item(table, &key(p, "counted")).await.unwrap();
        assert_eq!((counted.version, counted.body.as_str(), counted.count), (1, "", 3));
        assert_eq!(sks(table, all(p)).await, ["counted", "put"]);
    }

    /// A put says anew when an item expires; an add does not.
    async fn a_put_replaces_the_expiry(table, p) {
        commit(table, vec![put_until(key(p, "a"), "x", FAR, Expect::Absent)]).await.unwrap();
        commit(table, vec![add(key(p, "a"), 1, 0, 1)]).await.unwrap();
        assert!(item(table, &key(p, "a")).await.is_some());
        commit(table, vec![put_until(key(p, "a"), "x", PAST, Expect::Version(2))]).await.unwrap();
        assert_eq!(item(table, &key(p, "a")).await, None);
        commit(table, vec![put(key(p, "a"), "x", Expect::Absent)]).await.unwrap();
        assert!(item(table, &key(p, "a")).await.is_some());
    }
}
