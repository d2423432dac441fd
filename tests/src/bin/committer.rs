//! Commits to a table until it is killed, and says which commits returned: one number per line.
//! `committer <database>`.

use std::io::Write as _;
use std::sync::Arc;

use embedded::sqlite::SqliteTable;
use host::SystemClock;
use store::{Commit, Expect, Key, Table, Write};

/// How many commits are under way at once.
const CONCURRENT: u64 = 32;

#[tokio::main]
async fn main() {
    let path = std::env::args_os().nth(1).expect("the path of the database");
    let table = SqliteTable::open(path, Arc::new(SystemClock::default())).expect("the table opens");
    let lanes = (0..CONCURRENT).map(|lane| commit_forever(&table, lane));
    futures::future::join_all(lanes).await;
}

/// Two items per commit, so that half of one would show.
async fn commit_forever(table: &SqliteTable, lane: u64) {
    for number in (lane..).step_by(usize::try_from(CONCURRENT).expect("it is small")) {
        let put = |pk: &str| Write::Put {
            key: Key { pk: pk.to_owned(), sk: format!("{number:020}") },
            body: number.to_string(),
            index: None,
            expires: None,
            expect: Expect::Absent,
        };
        let commit = Commit { name: "test.put", writes: vec![put("left"), put("right")] };
        table.commit(commit).await.expect("the commit returns");
        // One write for the line: it is there whole or not at all when the process dies.
        let text = format!("{number}\n");
        std::io::stdout().lock().write_all(text.as_bytes()).expect("somebody reads");
        std::io::stdout().lock().flush().expect("somebody reads");
    }
}
