//! What is in the file under a running reeve, read past it.

use rusqlite::{Connection, OpenFlags};
use serde_json::Value;
use tests::reeve::Reeve;

fn rows(reeve: &Reeve, needle: &str) -> Vec<(String, String)> {
    let path = reeve.data().join("reeve.db");
    let file = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let sql = "SELECT pk || ' ' || sk, body FROM items
        WHERE instr(pk || ' ' || sk || ' ' || ifnull(idx_pk, '') || ifnull(idx_sk, '') || body, ?1)";
    let mut query = file.prepare(sql).unwrap();
    let rows = query.query_map([needle], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    rows.map(Result::unwrap).collect()
}

/// The document that has `id` for the place in its partition.
pub(crate) fn document(reeve: &Reeve, id: &str) -> Option<Value> {
    let mut rows = rows(reeve, id).into_iter().filter(|(key, _)| key.ends_with(&format!(" {id}")));
    rows.next().map(|(_, body)| serde_json::from_str(&body).unwrap())
}

/// The keys of everything that mentions `needle`, but for the audit log, which keeps what was done,
/// and timers, which find nothing when their time comes.
pub(crate) fn mentions(reeve: &Reeve, needle: &str) -> Vec<String> {
    let keys = rows(reeve, needle).into_iter().map(|(key, _)| key);
    keys.filter(|key| !key.contains("aud_") && !key.starts_with("DUE#")).collect()
}

/// The keys under which events of a session are. Places stay taken for a while where there were some.
pub(crate) fn events(reeve: &Reeve, session: &str) -> Vec<String> {
    let (of, empty) = (format!("#SES#{session}#EVT "), r#""events":[]"#);
    let all = rows(reeve, session).into_iter();
    all.filter(|(key, body)| key.contains(&of) && !body.contains(empty))
        .map(|(key, _)| key)
        .collect()
}

/// How many containers of a realm have room to run, as it is counted; and its containers, as they were
/// at the same moment.
pub(crate) fn running(reeve: &Reeve, realm: &str) -> (i64, Vec<Value>) {
    let path = reeve.data().join("reeve.db");
    let mut file = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    // One moment: the count of now beside the rows of a moment ago would prove nothing.
    let moment = file.transaction().unwrap();
    let counted = moment.query_row(
        "SELECT count FROM items WHERE pk = ?1 AND sk = 'COUNT#running'",
        [format!("RLM#{realm}")],
        |row| row.get(0),
    );
    let mut query = moment.prepare("SELECT body FROM items WHERE pk = ?1").unwrap();
    let rows = query.query_map([format!("RLM#{realm}#CTR")], |row| row.get::<_, String>(0));
    let rows = rows.unwrap().map(|body| serde_json::from_str::<Value>(&body.unwrap()).unwrap());
    (counted.unwrap_or(0), rows.map(|row| row["doc"].clone()).collect())
}
