//! What a commit changes, and what it expects.

use futures::future::join_all;
use store::{Error, Expect, Item, Query, Range, Table, Write};

use super::{add, all, assert_conflict, commit, fill, item, key, put, sks, version};

cases! {
    for_commits in commits:

    /// What is put is found as it was put.
    async fn an_item_reads_back_as_it_was_written(table, p) {
        let key = key(p, "a");
        assert_eq!(item(table, &key).await, None);
        commit(table, vec![put(key.clone(), "{\"a\":1}", Expect::Absent)]).await.unwrap();
        let expected = Item { key: key.clone(), version: 1, body: "{\"a\":1}".into(), count: 0 };
        assert_eq!(item(table, &key).await, Some(expected.clone()));
        assert_eq!(table.query(all(p)).await.unwrap().items, [expected]);
    }

    /// Of many who put the same new item, one does.
    async fn absent_lets_only_one_in(table, p) {
        let attempts = (0..50).map(|n| {
            commit(table, vec![put(key(p, "a"), &n.to_string(), Expect::Absent)])
        });
        let results = join_all(attempts).await;
        let winners: Vec<_> = (0..50).filter(|&n| results[n].is_ok()).collect();
        assert_eq!(winners.len(), 1);
        for result in results.into_iter().filter(Result::is_err) {
            assert_conflict(&result, 0);
        }
        let item = item(table, &key(p, "a")).await.unwrap();
        assert_eq!((item.version, item.body), (1, winners[0].to_string()));
    }

    /// Of many who replace the same version, one does.
    async fn a_version_lets_only_one_in(table, p) {
        fill(table, p, &["a"]).await;
        for round in 1..5 {
            let attempts = (0..20).map(|n| {
                commit(table, vec![put(key(p, "a"), &n.to_string(), Expect::Version(round))])
            });
            let results = join_all(attempts).await;
            assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
            assert_eq!(version(table, &key(p, "a")).await, Some(round + 1));
        }
    }

    /// Read, change, write back, try again: no increment is lost.
    async fn no_update_is_lost(table, p) {
        fill(table, p, &["a"]).await;
        let increment = || async {
            loop {
                let before = item(table, &key(p, "a")).await.unwrap();
                let next = before.body.parse::<u64>().unwrap_or(0) + 1;
                let expect = Expect::Version(before.version);
                match commit(table, vec![put(before.key, &next.to_string(), expect)]).await {
                    Ok(()) => return,
                    Err(Error::Conflict(_)) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        };
        join_all((0..10).map(|_| increment())).await;
        assert_eq!(item(table, &key(p, "a")).await.unwrap().body, "10");
    }

    /// A version grows by one with each put and add, and begins again after a delete.
    async fn versions_increase(table, p) {
        let key = key(p, "a");
        for expected in 1..4 {
            let expect = match expected {
                1 => Expect::Absent,
                n => Expect::Version(n - 1),
            };
            commit(table, vec![put(key.clone(), "x", expect)]).await.unwrap();
            assert_eq!(version(table, &key).await, Some(expected));
        }
        commit(table, vec![add(key.clone(), 1, 0, 1)]).await.unwrap();
        assert_eq!(version(table, &key).await, Some(4));
        for wrong in [0, 3, 5, u64::MAX] {
            let stale = commit(table, vec![put(key.clone(), "y", Expect::Version(wrong))]).await;
            assert_conflict(&stale, 0);
        }
        let delete = Write::Delete { key: key.clone(), expect: Expect::Version(4) };
        commit(table, vec![delete]).await.unwrap();
        assert_eq!(version(table, &key).await, None);
        commit(table, vec![put(key.clone(), "z", Expect::Absent)]).await.unwrap();
        assert_eq!(version(table, &key).await, Some(1));
    }

    /// Whatever comes before or behind a write that fails does not happen.
    async fn a_refused_commit_writes_nothing(table, p) {
        fill(table, p, &["kept", "counted"]).await;
        let refused = commit(table, vec![
            put(key(p, "new"), "x", Expect::Absent),
            put(key(p, "kept"), "changed", Expect::Version(1)),
            add(key(p, "counted"), 5, 0, 10),
            Write::Check { key: key(p, "missing"), expect: Expect::Version(1) },
            put(key(p, "newer"), "x", Expect::Absent),
        ]).await;
        assert_conflict(&refused, 3);
        assert_eq!(sks(table, all(p)).await, ["counted", "kept"]);
        assert_eq!(item(table, &key(p, "kept")).await.unwrap().body, "kept");
        let counted = item(table, &key(p, "counted")).await.unwrap();
        assert_eq!((counted.version, counted.count), (1, 0));
    }

    /// A commit may span partitions, and happens in all of them.
    async fn a_commit_spans_partitions(table, p) {
        let (left, right) = (format!("{p}#left"), format!("{p}#right"));
        let both = || vec![
            put(key(&left, "a"), "1", Expect::Absent),
            put(key(&right, "a"), "1", Expect::Absent),
        ];
        commit(table, both()).await.unwrap();
        assert_conflict(&commit(table, both()).await, 0);
        assert_eq!(sks(table, all(&left)).await, ["a"]);
        assert_eq!(sks(table, all(&right)).await, ["a"]);
    }

    /// The conflict names the first write that failed, of several that would.
    async fn a_conflict_names_the_first_that_failed(table, p) {
        fill(table, p, &["a"]).await;
        let refused = commit(table, vec![
            Write::Check { key: key(p, "a"), expect: Expect::Version(1) },
            put(key(p, "b"), "x", Expect::Absent),
            put(key(p, "c"), "x", Expect::Version(1)),
            Write::Delete { key: key(p, "d"), expect: Expect::Version(1) },
        ]).await;
        assert_conflict(&refused, 2);
    }

    /// Checks alone are a commit, and write nothing.
    async fn a_commit_may_only_check(table, p) {
        fill(table, p, &["a"]).await;
        let there = Write::Check { key: key(p, "a"), expect: Expect::Version(1) };
        let absent = Write::Check { key: key(p, "b"), expect: Expect::Absent };
        commit(table, vec![there, absent.clone()]).await.unwrap();
        assert_eq!(version(table, &key(p, "a")).await, Some(1));
        assert_eq!(item(table, &key(p, "b")).await, None);
        let not_there = Write::Check { key: key(p, "a"), expect: Expect::Absent };
        assert_conflict(&commit(table, vec![absent, not_there]).await, 1);
        let newer = Write::Check { key: key(p, "a"), expect: Expect::Version(2) };
        assert_conflict(&commit(table, vec![newer]).await, 0);
    }

    /// A delete says what it expects, like everything else.
    async fn a_delete_needs_the_version(table, p) {
        fill(table, p, &["a"]).await;
        let delete = |expect| vec![Write::Delete { key: key(p, "a"), expect }];
        assert_conflict(&commit(table, delete(Expect::Version(2))).await, 0);
        assert_conflict(&commit(table, delete(Expect::Absent)).await, 0);
        commit(table, delete(Expect::Version(1))).await.unwrap();
        assert_eq!(item(table, &key(p, "a")).await, None);
        assert_conflict(&commit(table, delete(Expect::Version(1))).await, 0);
        commit(table, delete(Expect::Absent)).await.unwrap();
    }

    /// Who was told that a commit happened finds it, however many others commit.
    async fn a_read_sees_every_commit_that_returned(table, p) {
        let write_then_read = |n: usize| async move {
            let key = key(p, &format!("{n:03}"));
            commit(table, vec![put(key.clone(), "x", Expect::Absent)]).await.unwrap();
            assert_eq!(version(table, &key).await, Some(1));
            let one = Query { range: Range::Prefix(key.sk), ..all(p) };
            assert_eq!(table.query(one).await.unwrap().items.len(), 1);
        };
        join_all((0..100).map(write_then_read)).await;
    }

    /// No reader finds half of a commit in one page.
    async fn a_page_never_shows_half_a_commit(table, p) {
        let both = |body: u64, expect: fn(u64) -> Expect| vec![
            put(key(p, "left"), &body.to_string(), expect(body)),
            put(key(p, "right"), &body.to_string(), expect(body)),
        ];
        commit(table, both(0, |_| Expect::Absent)).await.unwrap();
        let write = async {
            for round in 1..100 {
                commit(table, both(round, Expect::Version)).await.unwrap();
            }
        };
        let read = async {
            for _ in 0..200 {
                let items = table.query(all(p)).await.unwrap().items;
                assert_eq!(items[0].body, items[1].body);
                tokio::task::yield_now().await;
            }
        };
        futures::future::join(write, read).await;
    }
}
