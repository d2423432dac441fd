//! What a client may say and how much, and the document that says so.

use std::collections::BTreeSet;
use std::path::Path;

use futures::SinkExt;
use serde_json::{Value, json};
use tests::asyncapi::{self, DOCUMENT, check_said, check_told, resolve};
use tests::http::Client;
use tests::reeve::{Options, Reeve};
use tests::stream::Stream;

async fn refused(stream: &mut Stream, code: &str) -> Value {
    let frame = stream.next().await.expect("it stays open");
    assert_eq!(frame["problem"]["code"], code, "{frame:#}");
    frame
}

#[tokio::test]
async fn what_is_malformed_is_answered_and_changes_nothing() {
    let reeve = Reeve::start(Options::default()).await;
    let client = reeve.realm().await;
    let session = client.conversation().await;
    let topic = format!("session:{session}");
    let mut stream = client.stream().await;
    stream.subscribe(&topic, Some(0)).await;
    stream.until("subscribed").await;
    let long = format!("{{\"type\":\"ping\"{}}}", " ".repeat(4096));
    for text in [
        "",
        "x",
        "[]",
        "null",
        "{}",
        "{\"type\":\"ping\"",
        "{\"type\":1}",
        "{\"type\":\"publish\",\"topic\":\"realm\"}",
        "{\"type\":\"PING\"}",
        "{\"type\":\"ping\",\"surprise\":1}",
        "{\"type\":\"subscribe\"}",
        "{\"type\":\"subscribe\",\"topic\":\"everything\"}",
        "{\"type\":\"subscribe\",\"topic\":\"session:*\"}",
        "{\"type\":\"subscribe\",\"topic\":\"realm\",\"after\":-1}",
        "{\"type\":\"subscribe\",\"topic\":\"realm\",\"after\":1.5}",
        "{\"type\":\"subscribe\",\"topic\":\"realm\",\"after\":\"1\"}",
        "{\"type\":\"subscribe\",\"topic\":\"realm\",\"after\":18446744073709551616}",
        "{\"type\":\"subscribe\",\"topic\":\"realm\",\"realm\":\"rlm_01JD3Z6V0QK5S8M2W4X7Y9ABCD\"}",
        "{\"type\":\"unsubscribe\",\"topic\":\"realm\",\"after\":1}",
        &long,
        &"[".repeat(4000),
    ] {
        stream.send(text).await;
        refused(&mut stream, "invalid_body").await;
    }
    // What is followed is followed as before.
    client.ask(&session, "!say on").await;
    assert_eq!(stream.until("events").await["events"][0]["seq"], 1);
    // A megabyte is not read to its end.
    stream.send(&" ".repeat(1 << 20)).await;
    stream.ended().await;
    assert!(!reeve.log().contains("\"ERROR\""), "{}", reeve.log());
}

#[tokio::test]
async fn a_connection_follows_a_hundred_topics_each_once() {
    let reeve = Reeve::start(Options::default()).await;
    let client = reeve.realm().await;
    let agent = client.agent().await;
    let mut stream = client.stream().await;
    let mut last = String::new();
    for n in 0..=100 {
        last = format!("session:{}", client.session(&agent).await);
        stream.subscribe(&last, Some(0)).await;
        if n < 100 {
            assert_eq!(stream.next().await.unwrap()["type"], "subscribed", "{n}");
        }
    }
    assert_eq!(refused(&mut stream, "quota_reached").await["topic"], last.as_str());
    let session = last.trim_start_matches("session:");
    let mut other = client.stream().await;
    other.subscribe(&last, Some(0)).await;
    other.until("subscribed").await;
    other.subscribe(&last, Some(0)).await;
    assert_eq!(refused(&mut other, "invalid_value").await["topic"], last.as_str());
    client.ask(session, "!say once").await;
    let first = other.until("events").await;
    assert_eq!(first["events"][0]["seq"], 1);
    // One goes, another may come.
    let agents = format!("agent:{agent}");
    stream.subscribe(&agents, None).await;
    refused(&mut stream, "quota_reached").await;
    let listed = client.get("/v1/sessions?limit=1&order=asc").await.text("/items/0/id");
    stream.say(json!({ "type": "unsubscribe", "topic": format!("session:{listed}") })).await;
    stream.until("unsubscribed").await;
    stream.subscribe(&agents, None).await;
    assert_eq!(stream.next().await.unwrap()["type"], "subscribed");
}

#[tokio::test]
async fn what_no_frame_can_hold_is_told_without_its_data() {
    let reeve = Reeve::start(Options::default()).await;
    let client = reeve.realm().await;
    let session = client.conversation().await;
    // More bytes than any frame has, and no more characters than a prompt may have.
    let prompt = format!("!say ok\n{}", "€\t".repeat(45_000));
    let run = client.prompt(&session, &prompt).await;
    client.ended(&run).await;
    let mut stream = client.stream().await;
    stream.subscribe(&format!("session:{session}"), Some(0)).await;
    let frame = stream.until("events").await;
    let past = client.past(&session).await;
    let told = frame["events"].as_array().unwrap();
    let cut = told.iter().position(|event| event["truncated"] == true).expect("one is too large");
    assert_eq!(past[cut]["type"], "user_message_chunk");
    assert_eq!(past[cut]["data"]["content"]["text"], prompt.as_str());
    for field in ["seq", "type", "runId", "time"] {
        assert_eq!(told[cut][field], past[cut][field]);
    }
    assert_eq!(told[cut]["data"], json!({}));
}

/// What the document says by way of example.
fn examples(operation: &str) -> Vec<&'static Value> {
    let messages = DOCUMENT["operations"][operation]["messages"].as_array().unwrap();
    let messages = messages.iter().map(|message| resolve(resolve(message)));
    messages
        .flat_map(|message| {
            let examples = message["examples"].as_array().expect("each message has an example");
            examples.iter().map(|example| &example["payload"])
        })
        .collect()
}

#[test]
fn the_document_is_what_it_says_it_is() {
    let schemas =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("browser/node_modules/@asyncapi/specs");
    let schema = std::fs::read_to_string(schemas.join("schemas/3.0.0-without-$id.json"))
        .expect("no AsyncAPI schema: run ./tests/run once");
    let schema: Value = serde_json::from_str(&schema).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let wrong: Vec<_> = validator
        .iter_errors(&DOCUMENT)
        .map(|error| format!("{error} at {}", error.instance_path()))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for example in examples("listen") {
        check_said(example).unwrap();
        serde_json::from_value::<wire::stream::Asked>(example.clone()).unwrap();
        assert!(check_told(example).is_err(), "{example}");
    }
    for example in examples("tell") {
        check_told(example).unwrap();
    }
    let event = &resolve(&DOCUMENT["components"]["schemas"]["Event"])["else"]["allOf"];
    let told = event.as_array().unwrap().iter();
    let told: BTreeSet<_> =
        told.map(|one| one["if"]["properties"]["type"]["const"].as_str().unwrap()).collect();
    assert_eq!(told, domain::event::OURS.into());
    // A schema that takes anything would prove nothing.
    for bad in [
        json!({ "type": "subscribed", "topic": "realm" }),
        json!({ "type": "events", "topic": "realm", "cursor": 1, "events": [] }),
        json!({ "type": "pong", "more": 1 }),
        json!({ "type": "news" }),
    ] {
        assert!(asyncapi::check_told(&bad).is_err(), "{bad}");
    }
}

/// Every code of the HTTP API may come in a problem here; its shape is the same.
#[test]
fn a_problem_is_a_problem() {
    let problem = wire::Problem::new(wire::ProblemKind::InvalidValue, "no").at("topic", "no");
    check_told(&json!({ "type": "problem", "topic": "realm", "problem": problem })).unwrap();
}

/// What a gateway in between may send of its own accord does not disturb.
#[tokio::test]
async fn a_stream_answers_pings_of_both_kinds() {
    let reeve = Reeve::start(Options::default()).await;
    let client: Client = reeve.client();
    let mut stream = client.stream().await;
    stream.socket().send(tokio_tungstenite::tungstenite::Message::Ping("x".into())).await.unwrap();
    stream.say(json!({ "type": "ping" })).await;
    assert_eq!(stream.next().await.unwrap(), json!({ "type": "pong" }));
    stream.socket().send(tokio_tungstenite::tungstenite::Message::binary("x")).await.unwrap();
    stream.ended().await;
}
