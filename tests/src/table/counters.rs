//! Counters that stay within bounds.

use futures::future::join_all;
use store::{Expect, Table};

use super::{add, all, assert_conflict, commit, fill, item, key, put, sks};

cases! {
    for_counters in counters:

    /// However many add at once, the sum is right and stays within its bounds.
    async fn adds_never_overshoot(table, p) {
        let results = join_all((0..200).map(|_| {
            commit(table, vec![add(key(p, "n"), 1, 0, 50)])
        })).await;
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 50);
        for result in results.into_iter().filter(Result::is_err) {
            assert_conflict(&result, 0);
        }
        let counter = item(table, &key(p, "n")).await.unwrap();
        assert_eq!((counter.count, counter.version, counter.body.as_str()), (50, 50, ""));
        let results = join_all((0..80).map(|_| {
            commit(table, vec![add(key(p, "n"), -1, 0, 50)])
        })).await;
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 50);
        assert_eq!(item(table, &key(p, "n")).await.unwrap().count, 0);
    }

    /// Both bounds are the last that is allowed, from absence on and to the ends of the numbers.
    async fn adds_keep_both_bounds(table, p) {
        let n = || key(p, "n");
        assert_conflict(&commit(table, vec![add(n(), 11, 0, 10)]).await, 0);
        assert_conflict(&commit(table, vec![add(n(), -1, 0, 10)]).await, 0);
        assert_eq!(item(table, &n()).await, None, "a refused add makes nothing");
        commit(table, vec![add(n(), 10, 0, 10)]).await.unwrap();
        assert_conflict(&commit(table, vec![add(n(), 1, 0, 10)]).await, 0);
        commit(table, vec![add(n(), -10, 0, 10)]).await.unwrap();
        commit(table, vec![add(n(), -5, -5, 10)]).await.unwrap();
        commit(table, vec![add(n(), 5, 0, 0)]).await.unwrap();
        commit(table, vec![add(n(), i64::MAX, 0, i64::MAX)]).await.unwrap();
        assert_conflict(&commit(table, vec![add(n(), 1, i64::MIN, i64::MAX)]).await, 0);
        assert_eq!(item(table, &n()).await.unwrap().count, i64::MAX);
    }

    /// An add leaves the body of an item that a put made; a put begins the count again.
    async fn adds_and_puts_share_an_item(table, p) {
        fill(table, p, &["a"]).await;
        commit(table, vec![add(key(p, "a"), 7, 0, 10)]).await.unwrap();
        let both = item(table, &key(p, "a")).await.unwrap();
        assert_eq!((both.version, both.body.as_str(), both.count), (2, "a", 7));
        commit(table, vec![put(key(p, "a"), "b", Expect::Version(2))]).await.unwrap();
        let replaced = item(table, &key(p, "a")).await.unwrap();
        assert_eq!((replaced.version, replaced.body.as_str(), replaced.count), (3, "b", 0));
    }

    /// A counted admission: what is put and what is counted agree, whoever loses.
    async fn an_add_and_a_put_happen_together(table, p) {
        let admit = |n: usize| commit(table, vec![
            put(key(p, &format!("item{:02}", n % 30)), "x", Expect::Absent),
            add(key(&format!("{p}#count"), "n"), 1, 0, 20),
        ]);
        let results = join_all((0..60).map(admit)).await;
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 20);
        assert_eq!(sks(table, all(p)).await.len(), 20);
        let counter = item(table, &key(&format!("{p}#count"), "n")).await.unwrap();
        assert_eq!(counter.count, 20);
    }
}
