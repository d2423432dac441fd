//! The table on DynamoDB: what every table does, and what it does on a bad day.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use app::ports::{Clock, Ids};
use aws::DynamoTable;
use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use domain::KeyId;
use domain::key::PresentedKey;
use gate::Gate;
use host::{OsIds, SystemClock};
use saphyr::{LoadableYamlNode, Yaml};
use serde_json::{Value, json};
use store::{Commit, Error, Expect, Index, Query, Table, Write};
use tests::emulator::{Emulator, dynamo};
use tests::fault_proxy::{Fault, FaultProxy, Held};
use tests::table::{add, all, commit, fill, fresh, key, put, put_until, sks};
use tests::write_units::WriteUnits;
use tower::ServiceExt;

use crate::in_process::app_over;

async fn table() -> (DynamoTable, Emulator) {
    let emulator = Emulator::start().await;
    (emulator.table().await, emulator)
}

mod any {
    tests::for_table!(async { super::table().await });
}

/// However often it is tried.
const ALWAYS: usize = usize::MAX;

/// A table behind a proxy.
struct Bad {
    table: DynamoTable,
    proxy: FaultProxy,
    name: String,
    emulator: Emulator,
}

async fn bad() -> Bad {
    let emulator = Emulator::start().await;
    let proxy = FaultProxy::start(emulator.endpoint()).await;
    let name = fresh();
    let table = dynamo(&proxy.endpoint(), &name, Arc::new(SystemClock::default()));
    table.create().await.unwrap();
    Bad { table, proxy, name, emulator }
}

impl Bad {
    /// The tokens of the commits that came so far, in order.
    fn tokens(&self) -> Vec<String> {
        let calls = self.proxy.calls("TransactWriteItems");
        let token = |body: &Value| body["ClientRequestToken"].as_str().unwrap().to_owned();
        calls.iter().map(|call| token(&call.body)).collect()
    }
}

fn canceled(reasons: &[&str]) -> Fault {
    let reasons: Vec<_> = reasons.iter().map(|code| json!({ "Code": code })).collect();
    Fault::Answer(
        StatusCode::BAD_REQUEST,
        json!({
            "__type": "com.amazonaws.dynamodb.v20120810#TransactionCanceledException",
            "message": "cancelled by the test",
            "CancellationReasons": reasons,
        }),
    )
}

/// What passes by itself, whatever is asked.
fn passing() -> Vec<Fault> {
    vec![
        Fault::throttling(),
        Fault::error(400, "ProvisionedThroughputExceededException"),
        Fault::error(400, "RequestLimitExceeded"),
        Fault::error(500, "InternalServerError"),
        Fault::error(503, "ServiceUnavailable"),
        Fault::LoseCall,
        Fault::LoseAnswer,
    ]
}

#[tokio::test]
async fn what_passes_by_itself_is_waited_for_and_a_commit_happens_once() {
    let bad = bad().await;
    let transactions = [
        canceled(&["None", "TransactionConflict"]),
        canceled(&["ThrottlingError", "None"]),
        Fault::error(400, "TransactionInProgressException"),
    ];
    for (round, fault) in passing().into_iter().chain(transactions).enumerate() {
        let before = bad.tokens().len();
        bad.proxy.fault("TransactWriteItems", fault.clone(), 2);
        let expect = if round == 0 { Expect::Absent } else { Expect::Version(round as u64) };
        let writes = vec![put(key("p", "a"), "x", expect), add(key("p", "n"), 1, 0, 100)];
        commit(&bad.table, writes).await.unwrap();

        let tokens = bad.tokens().split_off(before);
        assert_eq!(tokens.len(), 3, "{fault:?}");
        assert!(tokens.iter().all(|token| *token == tokens[0]), "{fault:?}: {tokens:?}");
        let now = round as u64 + 1;
        assert_eq!(bad.table.get(&key("p", "a")).await.unwrap().unwrap().version, now);
        let counter = bad.table.get(&key("p", "n")).await.unwrap().unwrap();
        assert_eq!((counter.version, counter.count.unsigned_abs()), (now, now), "{fault:?}");
    }
    let mut tokens = bad.tokens();
    tokens.dedup();
    assert_eq!(tokens.len(), 10, "each commit has a token of its own");
}

#[tokio::test]
async fn an_answer_that_was_lost_is_no_conflict() {
    let bad = bad().await;
    fill(&bad.table, "p", &["put", "deleted"]).await;
    for (call, write) in [
        ("PutItem", put(key("p", "new"), "x", Expect::Absent)),
        ("PutItem", put(key("p", "put"), "x", Expect::Version(1))),
        (
            "TransactWriteItems",
            Write::Delete { key: key("p", "deleted"), expect: Expect::Version(1) },
        ),
        ("TransactWriteItems", add(key("p", "counted"), 1, 0, 1)),
    ] {
        let before = bad.proxy.calls(call).len();
        bad.proxy.fault(call, Fault::LoseAnswer, 2);
        commit(&bad.table, vec![write]).await.unwrap();
        assert_eq!(bad.proxy.calls(call).len(), before + 3, "{call}");
    }
    assert_eq!(sks(&bad.table, all("p")).await, ["counted", "new", "put"]);
    assert_eq!(bad.table.get(&key("p", "counted")).await.unwrap().unwrap().count, 1);
    for (sk, version) in [("new", 1), ("put", 2)] {
        assert_eq!(bad.table.get(&key("p", sk)).await.unwrap().unwrap().version, version);
    }
    // It is one all the same where somebody else was faster.
    bad.proxy.fault("PutItem", Fault::LoseAnswer, 1);
    let late = commit(&bad.table, vec![put(key("p", "put"), "y", Expect::Version(1))]).await;
    assert!(matches!(late, Err(Error::Conflict(conflict)) if conflict.index == 0), "{late:?}");
    let late = commit(&bad.table, vec![put(key("p", "new"), "y", Expect::Absent)]).await;
    assert!(matches!(late, Err(Error::Conflict(conflict)) if conflict.index == 0), "{late:?}");
    assert_eq!(bad.table.get(&key("p", "put")).await.unwrap().unwrap().body, "x");
}

/// Whether a put happened whose answer was lost cannot be known once somebody has built on what is
/// there, or has taken it away: then it is not said.
#[tokio::test]
async fn what_cannot_be_known_of_a_lost_answer_is_not_said() {
    let bad = bad().await;
    fill(&bad.table, "p", &["built on", "removed"]).await;
    let direct = dynamo(bad.emulator.endpoint(), &bad.name, Arc::new(SystemClock::default()));
    let second = Expect::Version(2);
    for (sk, theirs) in [
        ("built on", put(key("p", "built on"), "theirs", second)),
        ("removed", Write::Delete { key: key("p", "removed"), expect: second }),
    ] {
        let held = Held::default();
        bad.proxy.fault("PutItem", Fault::HoldAnswer(held.clone()), 1);
        let ours = commit(&bad.table, vec![put(key("p", sk), "ours", Expect::Version(1))]);
        let others = async {
            held.came(1).await;
            // Carried out before its answer is held; asked for again when that does not come.
            commit(&direct, vec![theirs.clone()]).await.unwrap();
        };
        let (ours, ()) = futures::future::join(ours, others).await;
        assert!(matches!(ours, Err(Error::Unavailable(_))), "{sk}: {ours:?}");
        held.let_go();
    }
}

#[tokio::test]
async fn a_put_alone_is_tried_again_until_it_is_known() {
    let bad = bad().await;
    for (round, fault) in passing().into_iter().enumerate() {
        bad.proxy.fault("PutItem", fault.clone(), 2);
        let expect = if round == 0 { Expect::Absent } else { Expect::Version(round as u64) };
        commit(&bad.table, vec![put(key("p", "a"), "x", expect)]).await.unwrap();
        let item = bad.table.get(&key("p", "a")).await.unwrap().unwrap();
        assert_eq!(item.version, round as u64 + 1, "{fault:?}");
    }
    assert!(bad.tokens().is_empty(), "no transaction was needed");
    bad.proxy.fault("PutItem", Fault::error(400, "TransactionConflictException"), 1);
    commit(&bad.table, vec![put(key("p", "b"), "x", Expect::Absent)]).await.unwrap();
}

#[tokio::test]
async fn a_conflict_is_not_tried_again() {
    let bad = bad().await;
    fill(&bad.table, "p", &["a"]).await;
    let before = bad.tokens().len();
    let writes =
        vec![put(key("p", "b"), "x", Expect::Absent), put(key("p", "a"), "y", Expect::Absent)];
    let lost = commit(&bad.table, writes).await;
    assert!(matches!(lost, Err(Error::Conflict(conflict)) if conflict.index == 1), "{lost:?}");
    assert_eq!(bad.tokens().len(), before + 1);
    // Whether a write before it would have failed too is not known yet.
    bad.proxy.fault(
        "TransactWriteItems",
        canceled(&["TransactionConflict", "ConditionalCheckFailed"]),
        1,
    );
    let writes =
        vec![put(key("p", "a"), "x", Expect::Absent), put(key("p", "a2"), "y", Expect::Version(1))];
    let lost = commit(&bad.table, writes).await;
    assert!(matches!(lost, Err(Error::Conflict(conflict)) if conflict.index == 0), "{lost:?}");
}

#[tokio::test]
async fn reads_are_asked_again() {
    let bad = bad().await;
    fill(&bad.table, "p", &["a", "b"]).await;
    for fault in passing() {
        for call in ["GetItem", "BatchGetItem", "Query"] {
            bad.proxy.fault(call, fault.clone(), 2);
        }
        assert!(bad.table.get(&key("p", "a")).await.unwrap().is_some(), "{fault:?}");
        let both = [key("p", "b"), key("p", "a")];
        let both = bad.table.batch_get(&both).await.unwrap();
        assert_eq!(both.iter().flatten().count(), 2, "{fault:?}");
        assert_eq!(sks(&bad.table, all("p")).await, ["a", "b"], "{fault:?}");
    }
    assert_eq!(bad.proxy.calls("Query").len(), 3 * passing().len());
    assert!(bad.proxy.calls("Scan").is_empty());
}

#[tokio::test]
async fn keys_that_were_left_over_are_asked_for_again() {
    let bad = bad().await;
    fill(&bad.table, "p", &["a", "b", "c"]).await;
    let name = |sk: &str| json!({ "pk": { "S": "p" }, "sk": { "S": sk } });
    let left_over = |found: &[&str], rest: &[&str]| {
        let found: Vec<_> = found
            .iter()
            .map(|sk| {
                let mut item = name(sk);
                item["version"] = json!({ "N": "1" });
                item["body"] = json!({ "S": sk });
                item
            })
            .collect();
        let rest: Vec<_> = rest.iter().map(|sk| name(sk)).collect();
        Fault::Answer(
            StatusCode::OK,
            json!({
                "Responses": { &bad.name: found },
                "UnprocessedKeys": { &bad.name: { "Keys": rest, "ConsistentRead": true } },
            }),
        )
    };
    bad.proxy.fault("BatchGetItem", left_over(&[], &["a", "b", "c"]), 1);
    bad.proxy.fault("BatchGetItem", left_over(&["b"], &["a", "c"]), 1);
    let keys = [key("p", "c"), key("p", "b"), key("p", "a")];
    let found = bad.table.batch_get(&keys).await.unwrap();
    let bodies: Vec<_> = found.iter().flatten().map(|item| item.body.as_str()).collect();
    assert_eq!(bodies, ["c", "b", "a"]);
    let calls = bad.proxy.calls("BatchGetItem");
    let asked: Vec<_> = calls
        .iter()
        .map(|call| call.body["RequestItems"][&bad.name]["Keys"].as_array().unwrap().len())
        .collect();
    assert_eq!(asked, [3, 3, 2]);
}

#[tokio::test]
async fn an_answer_that_does_not_come_is_not_waited_for() {
    let bad = bad().await;
    fill(&bad.table, "p", &["a"]).await;
    bad.proxy.fault("GetItem", Fault::Delay(Duration::from_mins(1)), 1);
    let began = Instant::now();
    assert!(bad.table.get(&key("p", "a")).await.unwrap().is_some());
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

#[tokio::test]
async fn what_does_not_pass_is_unavailable_before_long() {
    let bad = bad().await;
    let deadline = Duration::from_millis(500);
    let table = bad.table.clone().within(deadline);
    for call in ["GetItem", "BatchGetItem", "Query", "PutItem", "TransactWriteItems"] {
        bad.proxy.fault(call, Fault::throttling(), ALWAYS);
    }
    let began = Instant::now();
    let read = table.get(&key("p", "a")).await;
    assert!(matches!(read, Err(Error::Unavailable(_))), "{read:?}");
    let batch = table.batch_get(&[key("p", "a")]).await;
    assert!(matches!(batch, Err(Error::Unavailable(_))), "{batch:?}");
    let page = table.query(Query { limit: 1, ..all("p") }).await;
    assert!(matches!(page, Err(Error::Unavailable(_))), "{page:?}");
    let written = commit(&table, vec![put(key("p", "a"), "x", Expect::Absent)]).await;
    assert!(matches!(written, Err(Error::Unavailable(_))), "{written:?}");
    let both =
        vec![put(key("p", "a"), "x", Expect::Absent), put(key("p", "b"), "x", Expect::Absent)];
    let written = commit(&table, both).await;
    assert!(matches!(written, Err(Error::Unavailable(_))), "{written:?}");
    // None began an attempt behind its deadline.
    assert!(began.elapsed() < 5 * deadline + Duration::from_secs(2), "{:?}", began.elapsed());
    assert!(bad.proxy.calls("PutItem").len() > 2, "it was tried again");
    assert!(bad.tokens().len() > 2, "it was tried again");
}

#[tokio::test]
async fn what_is_refused_for_good_is_not_tried_again() {
    let bad = bad().await;
    bad.proxy.fault("GetItem", Fault::error(400, "AccessDeniedException"), 1);
    let read = bad.table.get(&key("p", "a")).await;
    assert!(matches!(read, Err(Error::Unavailable(_))), "{read:?}");
    assert_eq!(bad.proxy.calls("GetItem").len(), 1);
}

/// An item that was to expire while a commit of many adds was under way.
#[tokio::test]
async fn a_counter_that_comes_and_goes_is_counted_once() {
    let bad = bad().await;
    let past = domain::Timestamp::from_millis(1);
    let expired = put_until(key("p", "n"), "old", past, Expect::Absent);
    commit(&bad.table, vec![expired]).await.unwrap();
    bad.proxy.fault("TransactWriteItems", Fault::LoseAnswer, 3);
    let writes = vec![put(key("p", "a"), "x", Expect::Absent), add(key("p", "n"), 2, 0, 3)];
    commit(&bad.table, writes).await.unwrap();
    let counter = bad.table.get(&key("p", "n")).await.unwrap().unwrap();
    assert_eq!((counter.version, counter.count, counter.body.as_str()), (1, 2, ""));
    assert_eq!(bad.table.get(&key("p", "a")).await.unwrap().unwrap().version, 1);
    // Beyond its bounds it is refused, new or not.
    let expired = put_until(key("p", "m"), "old", past, Expect::Absent);
    commit(&bad.table, vec![expired]).await.unwrap();
    let over = commit(&bad.table, vec![add(key("p", "m"), 4, 0, 3)]).await;
    assert!(matches!(over, Err(Error::Conflict(_))), "{over:?}");
}

#[tokio::test]
async fn a_caller_is_told_to_come_again() {
    let bad = bad().await;
    let clock = Arc::new(SystemClock::default());
    let deadline = Duration::from_millis(500);
    let app = app_over(Arc::new(bad.table.clone().within(deadline)), clock.clone());
    let id = KeyId::new(OsIds::default().ulid(clock.now()));
    let key = PresentedKey::spell(id, "a-secret-of-a-test");
    app.realms().bootstrap(&key.parse().unwrap()).await.unwrap();
    let router = api::router(&routes::routes(), &Gate::new(app));
    let list = || {
        let request = Request::get("/v1/agents").header("authorization", format!("Bearer {key}"));
        router.clone().oneshot(request.body(Body::empty()).unwrap())
    };
    assert_eq!(list().await.unwrap().status(), StatusCode::OK);

    bad.proxy.fault("Query", Fault::throttling(), ALWAYS);
    let began = Instant::now();
    let answer = list().await.unwrap();
    assert!(began.elapsed() < deadline + Duration::from_secs(2), "{:?}", began.elapsed());
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.headers()["retry-after"], "1");
    assert_eq!(answer.headers()["content-type"], "application/problem+json");
    let body = to_bytes(answer.into_body(), usize::MAX).await.unwrap();
    let problem: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(problem["code"], "unavailable");
    assert!(!problem.to_string().contains("Throttling"), "an inner error is shown: {problem}");
}

/// Text that packs badly.
fn dense(length: usize) -> String {
    let mut bytes = vec![0; length];
    getrandom::fill(&mut bytes).unwrap();
    bytes.into_iter().map(|byte| char::from(b'0' + byte % 64)).collect()
}

#[tokio::test]
async fn a_commit_takes_the_units_that_are_counted() {
    let bad = bad().await;
    let meter = |body: &mut Value| body["ReturnConsumedCapacity"] = "INDEXES".into();
    for call in ["PutItem", "TransactWriteItems"] {
        bad.proxy.fault(call, Fault::Rewrite(meter), ALWAYS);
    }
    let table = WriteUnits::new(bad.table.clone());
    let (small, large) = ("x".repeat(100), dense(20_000));
    let indexed = |sk: &str, body: &str, place: &str, expect| Write::Put {
        key: key("p", sk),
        body: body.to_owned(),
        index: Some(Index { pk: "i".to_owned(), sk: place.to_owned() }),
        expires: None,
        expect,
    };
    let far = domain::Timestamp::from_millis(4_000_000_000_000);
    let (absent, version) = (Expect::Absent, Expect::Version);
    // Around the first KB, as they are and packed.
    let lengths = (960..1_100).step_by(10).chain((1_180..1_320).step_by(2));
    let edge = |length: usize| put(key("p", &length.to_string()), &dense(length), absent);
    let edges = lengths.map(|length| ("edge", vec![edge(length)]));
    let others = [
        ("small", vec![put(key("p", "a"), &small, absent)]),
        ("large", vec![put(key("p", "b"), &large, absent), put(key("p", "c"), &small, absent)]),
        ("packed", vec![put(key("p", "d"), &"x".repeat(10_000), absent)]),
        ("packed", vec![put(key("p", "d"), &"x".repeat(20_000), version(1))]),
        ("unpacked", vec![put(key("p", "d"), &small, version(2))]),
        ("shrinks", vec![put(key("p", "b"), &small, version(1))]),
        ("grows", vec![put(key("p", "a"), &large, version(1))]),
        ("enters", vec![indexed("i", &small, "1", absent), indexed("l", &large, "2", absent)]),
        ("stays", vec![indexed("i", &large, "1", version(1))]),
        ("moves", vec![indexed("l", &small, "3", version(1))]),
        ("leaves", vec![put(key("p", "i"), &small, version(2))]),
        ("until", vec![put_until(key("p", "u"), &small, far, absent)]),
        ("counts", vec![add(key("p", "n"), 12_345, 0, 99_999), add(key("p", "l"), 1, 0, 1)]),
        ("checks", vec![Write::Check { key: key("p", "a"), expect: version(2) }]),
        ("checks", vec![Write::Check { key: key("p", "none"), expect: absent }]),
        ("removes", vec![Write::Delete { key: key("p", "a"), expect: version(2) }]),
        ("removes", vec![Write::Delete { key: key("p", "l"), expect: version(3) }]),
    ];
    for (name, writes) in others.into_iter().chain(edges) {
        let before = table.total();
        let call = match writes.as_slice() {
            [Write::Put { .. }] => "PutItem",
            _ => "TransactWriteItems",
        };
        table.commit(Commit { name, writes }).await.unwrap();
        let consumed = bad.proxy.calls(call).last().unwrap().answer["ConsumedCapacity"].clone();
        // Of a transaction one for each table, of a put the one.
        let consumed = if consumed.is_array() { consumed } else { json!([consumed]) };
        let consumed: u64 = consumed
            .as_array()
            .unwrap()
            .iter()
            .map(|of| {
                of["CapacityUnits"].to_string().trim_end_matches(".0").parse::<u64>().unwrap()
            })
            .sum();
        assert_eq!(table.total() - before, consumed, "{name}");
    }
    assert_eq!(table.units()["small"], 1);
}

/// What of the template says what of the definition: everything the definition has, exactly.
fn says(template: &Yaml<'_>, definition: &Value) -> bool {
    match definition {
        Value::Object(fields) => fields.iter().all(|(name, value)| {
            template.as_mapping_get(name).is_some_and(|said| says(said, value))
        }),
        Value::Array(values) => template.as_sequence().is_some_and(|said| {
            said.len() == values.len() && said.iter().zip(values).all(|(s, v)| says(s, v))
        }),
        Value::String(text) => template.as_str() == Some(text),
        Value::Bool(flag) => template.as_bool() == Some(*flag),
        Value::Null | Value::Number(_) => false,
    }
}

#[test]
fn the_template_makes_the_table_that_is_tested() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let text = fs::read_to_string(root.join("infra/aws/state.yaml")).unwrap();
    let template = &Yaml::load_from_str(&text).unwrap()[0];
    let table = &template["Resources"]["Table"];
    assert_eq!(table["Type"].as_str(), Some("AWS::DynamoDB::Table"));
    let properties = &table["Properties"];
    for (name, value) in aws::table::definition().as_object().unwrap() {
        let said = properties.as_mapping_get(name);
        assert!(said.is_some_and(|said| says(said, value)), "{name}: {said:?} is not {value}");
    }
}
