//! The stream of a session's events: each once, in order, for whoever may, as fast as they read.

use std::collections::BTreeMap;

use futures::StreamExt;
use futures::future::join_all;
use serde_json::{Value, json};
use tests::given::is_over;
use tests::http::{Client, Event};
use tests::reeve::{Options, Reeve};
use tokio::time::timeout;

const BURST: usize = 5000;

fn path(session: &str) -> String {
    format!("/v1/sessions/{session}/events")
}

/// What a subscriber sees until `run` is over.
async fn follow(client: &Client, session: &str, after: Option<u64>, run: &str) -> Vec<Event> {
    let mut events = client.events(&path(session), after).await;
    let mut seen = Vec::new();
    loop {
        let event = events.next().await.expect("the stream goes on");
        let last = is_over(&event) && event.data["runId"] == run;
        seen.push(event);
        if last {
            return seen;
        }
    }
}

/// The durable ones must follow each other from `first` on, and say what the past says.
fn assert_whole(seen: &[Event], past: &[Value], first: u64) {
    let durable: Vec<_> = seen.iter().filter(|event| event.id.is_some()).collect();
    for (at, event) in durable.iter().enumerate() {
        assert_eq!(event.id, Some(first + at as u64), "no gap, no double");
        assert_eq!(event.data["seq"], event.id.unwrap());
        assert_eq!(event.data["type"], event.kind);
    }
    let behind = usize::try_from(first).unwrap() - 1;
    let said: Vec<_> = durable.iter().map(|event| &event.data).collect();
    assert!(said == past[behind..].iter().collect::<Vec<_>>(), "the stream is the past");
}

#[tokio::test]
async fn a_burst_reaches_everybody_whole_wherever_they_begin() {
    let reeve = Reeve::start(Options::default()).await;
    let client = reeve.client();
    let session = client.conversation().await;
    let run = client.prompt(&session, &format!("!events {BURST}")).await;
    // They come one after the other, so they begin in different places of the burst.
    let (mut early, mut subscribers) = (client.events(&path(&session), None).await, Vec::new());
    for n in 0..20_u64 {
        for _ in 0..50 {
            early.next().await.unwrap();
        }
        let after = [None, Some(n), Some(n * 40)][usize::try_from(n % 3).unwrap()];
        let (client, session, run) = (client.clone(), session.clone(), run.clone());
        subscribers.push(async move {
            (after.unwrap_or_default(), follow(&client, &session, after, &run).await)
        });
    }
    let seen = join_all(subscribers).await;
    let past = client.past(&session).await;
    assert!(past.len() > BURST);
    for (after, seen) in &seen {
        assert_whole(seen, &past, after + 1);
    }
    let titles = past.iter().filter_map(|event| event["data"]["title"].as_str());
    assert!(titles.eq((0..BURST).map(|n| format!("event {n}")).collect::<Vec<_>>()));
    // From a page to a stream and back: the numbers mean the same.
    let page = client.get(&format!("{}?after=100&limit=7", path(&session))).await.is(200);
    assert_eq!(page["items"].as_array().unwrap()[..], past[100..107]);
    let by_query = client.request(reqwest::Method::GET, &format!("{}?after=4999", path(&session)));
    let by_query = by_query.header("accept", "text/event-stream").send().await.unwrap();
    let first = timeout(tests::http::PATIENCE, by_query.bytes_stream().next()).await.unwrap();
    assert!(first.unwrap().unwrap().starts_with(b"id: 5000\n"));
    assert_eq!(follow(&client, &session, Some(5001), &run).await[0].id, Some(5002));
}

#[tokio::test]
async fn whoever_reads_slowly_holds_nobody_up_and_misses_nothing() {
    let reeve = Reeve::start(Options::default()).await;
    let client = reeve.client();
    let session = client.conversation().await;
    client.ask(&session, "!say first").await;
    // They open the stream and take nothing until the run is over.
    let mut slow = client.events(&path(&session), None).await;
    slow.next().await.unwrap();
    let run = client.prompt(&session, &format!("!events {BURST}\n!chunks 2000 200")).await;
    assert_eq!(client.ended(&run).await["state"], "completed");
    let past = client.past(&session).await;
    let mut expected = 2;
    loop {
        let event = slow.next().await.expect("the stream goes on");
        let Some(id) = event.id else { continue };
        assert_eq!(id, expected);
        assert_eq!(event.data, past[usize::try_from(id).unwrap() - 1]);
        expected += 1;
        if is_over(&event) && event.data["runId"] == run.as_str() {
            break;
        }
    }
    assert_eq!(expected, past.len() as u64 + 1);
}

#[tokio::test]
async fn what_is_being_said_is_live_only_and_the_whole_follows() {
    let reeve = Reeve::start(Options::default()).await;
    let client = reeve.client();
    let session = client.conversation().await;
    let mut events = client.events(&path(&session), None).await;
    let run = client.prompt(&session, "!think hm\n!chunks 20\n!tool look\n!say done").await;
    let (mut live, mut said) = (BTreeMap::<String, String>::new(), Vec::new());
    loop {
        let event = events.next().await.unwrap();
        if event.kind.ends_with("_delta") {
            assert_eq!(event.id, None, "{event:?}");
            assert!(event.data.get("seq").is_none() && event.data["runId"] == run.as_str());
        } else {
            assert!(event.id.is_some(), "{event:?}");
        }
        match event.kind.as_str() {
            "agent_message_delta" => {
                let text = event.data["data"]["text"].as_str().unwrap();
                live.entry(event.data["data"]["messageId"].to_string()).or_default().push_str(text);
            }
            "agent_message_chunk" => {
                let text = event.data["data"]["content"]["text"].as_str().unwrap().to_owned();
                let pieces = live.remove(&event.data["data"]["messageId"].to_string());
                assert_eq!(pieces.as_ref(), Some(&text), "the message is what was said");
                said.push(text);
            }
            _ => {}
        }
        if is_over(&event) {
            break;
        }
    }
    assert_eq!(said, ["abc ".repeat(20), "done".to_owned()]);
    let kinds = client.past(&session).await;
    assert!(kinds.iter().all(|event| !event["type"].as_str().unwrap().ends_with("_delta")));
    // An old stream of a finished run changes nothing of it.
    let before = client.get(&format!("/v1/runs/{run}")).await.is(200);
    follow(&client, &session, None, &run).await;
    assert_eq!(client.get(&format!("/v1/runs/{run}")).await.is(200), before);
}

#[tokio::test]
async fn a_stream_ends_with_the_right_to_read_it() {
    let reeve = Reeve::start(Options::default()).await;
    let client = reeve.realm().await;
    let session = client.conversation().await;
    client.ask(&session, "!say on").await;
    let made = client.post("/v1/keys", json!({ "name": "reader" })).await;
    let reader = client.with_key(Some(&made.text("/apiKey")));
    let mut theirs = reader.events(&path(&session), None).await;
    let mut ours = client.events(&path(&session), None).await;
    theirs.until("agent_message_chunk").await;
    client.delete(&format!("/v1/keys/{}", made.text("/id"))).await.is(204);
    while theirs.next().await.is_some() {}
    // It was that key alone.
    client.ask(&session, "!say still").await;
    ours.until("agent_message_chunk").await;
    let realm = client.get("/v1/me").await.text("/realm/id");
    reeve.client().post(&format!("/v1/realms/{realm}/suspend"), Value::Null).await.is(200);
    while ours.next().await.is_some() {}
}

#[tokio::test]
async fn a_quiet_stream_is_kept_awake() {
    let reeve = Reeve::start(Options::default()).await;
    let client = reeve.client();
    let session = client.conversation().await;
    let request = client.request(reqwest::Method::GET, &path(&session));
    let reply = request.header("accept", "text/event-stream").send().await.unwrap();
    assert_eq!(reply.headers()["content-type"], "text/event-stream");
    let first = timeout(tests::http::PATIENCE, reply.bytes_stream().next()).await.unwrap();
    assert!(first.unwrap().unwrap().starts_with(b":"), "a comment is no event");
}

#[tokio::test]
async fn the_form_of_the_answer_is_the_one_that_is_asked_for() {
    let reeve = Reeve::start(Options::default()).await;
    let client = reeve.client();
    let session = client.conversation().await;
    let get = async |name: &str, value: &str| {
        let request = client.request(reqwest::Method::GET, &path(&session));
        client.send(request.header(name, value)).await
    };
    for accept in ["application/json", "*/*", "text/html, */*;q=0.1", "application/*"] {
        assert_eq!(get("accept", accept).await.is(200)["items"], json!([]), "{accept}");
    }
    for accept in ["text/html", "image/png", "nonsense"] {
        assert_eq!(get("accept", accept).await.is(406)["code"], "not_acceptable", "{accept}");
    }
    for id in ["x", "-1", "1.5", "99999999999999999999999"] {
        assert_eq!(get("last-event-id", id).await.is(400)["code"], "invalid_parameter", "{id}");
    }
}
