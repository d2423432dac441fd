//! What others build on: problem codes, route ids, and items as they are stored. A change of one of
//! these snapshots is a change of a promise.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use regex::Regex;
use rusqlite::Connection;
use serde_json::Value;
use strum::VariantArray;
use wire::ProblemKind;

use crate::in_process::InProcess;

#[test]
fn problems_keep_their_codes() {
    let mut table = String::new();
    for kind in ProblemKind::VARIANTS {
        let _ = writeln!(table, "{} {:24} {}", kind.status(), kind.code(), kind.title());
    }
    insta::assert_snapshot!(table);
}

#[test]
fn routes_keep_their_ids() {
    let mut table = String::new();
    for route in routes::routes() {
        let (id, verb, status) = (route.id, route.verb.as_str(), route.status());
        let _ = writeln!(table, "{id:20} {verb:6} {status} {} {:?}", route.path, route.access);
    }
    insta::assert_snapshot!(table);
}

#[tokio::test]
async fn items_are_stored_as_they_were() {
    let reeve = InProcess::start().await;
    reeve.everything().await;
    let file = Connection::open(reeve.dir.path().join("reeve.db")).unwrap();
    let mut query = file.prepare("SELECT pk, sk, body FROM items ORDER BY pk, sk").unwrap();
    let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
    let rows: Vec<(String, String, String)> =
        query.query_map([], row).unwrap().map(Result::unwrap).collect();
    let ulid = Regex::new("[0-7][0-9A-HJKMNP-TV-Z]{25}").unwrap();
    // The id of an agent of the catalog, which is in small letters.
    let small = Regex::new("-[0-7][0-9a-hjkmnp-tv-z]{25}").unwrap();
    let time = Regex::new(r"\d{4}-\d\d-\d\dT[\d:.]+Z").unwrap();
    let number = Regex::new(r"[0-9a-f]{64}|\d{12,}").unwrap();
    let hide = |text: &str| {
        let text = ulid.replace_all(text, "ULID");
        let text = small.replace_all(&text, "-ULID");
        let text = time.replace_all(&text, "TIME");
        number.replace_all(&text, "N").into_owned()
    };
    let shard = Regex::new("^DUE#[0-9]+").unwrap();
    // One of each kind of key.
    let mut kinds: BTreeMap<String, Value> = BTreeMap::new();
    for (pk, sk, body) in &rows {
        let key = hide(&format!("{} {sk}", shard.replace(pk, "DUE#n")));
        let body = serde_json::from_str(&hide(body)).unwrap_or(Value::Null);
        kinds.entry(key).or_insert(body);
    }
    insta::assert_json_snapshot!(kinds);
}
