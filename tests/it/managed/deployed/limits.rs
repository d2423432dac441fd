//! What the managed services take no more of, each gone over. That everything of ours keeps within
//! these is what the rest of the suite proves: the emulated account enforces them (tests/aws/mends).

use futures::SinkExt;
use reqwest::Method;
use serde_json::{Value, json};
use tests::fault_proxy::{Fault, Held};
use tests::stream::Stream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};

use super::{Follower, disturbed};

/// Says a message of so many bytes, in frames of at most so many.
async fn say(stream: &mut Stream, bytes: usize, frame: usize) {
    let message = vec![b' '; bytes];
    let count = message.chunks(frame).count();
    for (n, piece) in message.chunks(frame).enumerate() {
        let kind = if n == 0 { Data::Text } else { Data::Continue };
        let piece = Frame::message(piece.to_vec(), OpCode::Data(kind), n + 1 == count);
        // It may be over by then.
        drop(stream.socket().send(Message::Frame(piece)).await);
    }
}

#[tokio::test]
async fn a_frame_of_more_than_32_kb_ends_a_connection_and_no_more() {
    let (platform, ..) = disturbed().await;
    let client = platform.realm(json!({})).await;
    let session = client.conversation().await;
    let mut follower = Follower::of(&client, &session).await;
    // As much in two frames is only not understood.
    say(&mut follower.stream, 33 * 1024, 32 * 1024).await;
    let answer = follower.stream.until("problem").await;
    assert_eq!(answer["problem"]["code"], "invalid_body");
    say(&mut follower.stream, 33 * 1024, 33 * 1024).await;
    follower.stream.ended().await;
    assert_eq!(follower.stream.closed, Some(CloseCode::Size));
    let run = client.prompt(&session, "!say on").await;
    follower.again(&client).await;
    follower.until_over(&client, &run).await;
}

#[tokio::test]
async fn a_message_of_more_than_128_kb_ends_a_connection() {
    let (platform, ..) = disturbed().await;
    let client = platform.realm(json!({})).await;
    let mut stream = client.stream().await;
    say(&mut stream, 128 * 1024 + 1, 32 * 1024).await;
    stream.ended().await;
    assert_eq!(stream.closed, Some(CloseCode::Size));
}

#[tokio::test]
async fn what_no_message_can_hold_reaches_agents_whole_and_clients_without_its_data() {
    let (platform, ..) = disturbed().await;
    let client = platform.realm(json!({})).await;
    let session = client.conversation().await;
    let mut follower = Follower::of(&client, &session).await;
    // More bytes than a message may have, and no more characters than a prompt.
    let text = "€\t".repeat(45_000);
    let run = client.prompt(&session, &format!("!write long {text}\n!shell wc -c < long")).await;
    follower.until_over(&client, &run).await;
    assert!(client.said(&session, &run).await.contains(&text.trim_end().len().to_string()));
    let past = client.past(&session).await;
    let cut = follower.seen.iter().position(|event| event["truncated"] == true);
    let cut = cut.expect("one is larger than a message");
    assert_eq!(past[cut]["type"], "user_message_chunk");
    assert!(past[cut]["data"]["content"]["text"].as_str().unwrap().contains(&text));
    assert_eq!(follower.seen[cut]["data"], json!({}));
}

#[tokio::test]
async fn a_body_of_more_than_6_mb_is_refused_and_changes_nothing() {
    let (platform, ..) = disturbed().await;
    let client = platform.realm(json!({})).await;
    let agent = |bytes: usize| json!({ "name": "x".repeat(bytes), "driver": "acp" });
    // Ours is the smaller limit, with a problem; beyond 6 MB no function is asked.
    let ours = client.post("/v1/agents", agent(1024 * 1024 + 1)).await;
    assert_eq!(ours.is(413)["code"], "body_too_large");
    let theirs = client.post("/v1/agents", agent(6 * 1024 * 1024 + 1)).await;
    assert_eq!(theirs.is(413), json!({ "message": "Request Entity Too Large" }));
    assert_eq!(client.all("/v1/agents?limit=9").await, [Value::Null; 0]);
}

/// What is no text is in Base64 on its way: of 6 MB are left 4.5. What goes beyond goes by the bucket,
/// as the suite of both platforms has it.
#[tokio::test]
async fn a_request_brings_4_5_mb_and_an_answer_sends_who_asked_for_more() {
    let (platform, ..) = disturbed().await;
    let client = platform.realm(json!({})).await;
    let agent = client.agent().await;
    let files = format!("/v1/agents/{agent}/files");
    let put = async |path: &str, bytes: usize| {
        let request = client.request(Method::PUT, &format!("{files}/raw?path={path}"));
        let request = request.header("content-type", "application/octet-stream");
        client.send(request.body(vec![7; bytes])).await
    };
    let refused = put("refused", 5 * 1024 * 1024).await;
    assert_eq!(refused.is(413), json!({ "message": "Request Entity Too Large" }));
    put("taken", 4 * 1024 * 1024).await.is(204);
    let listed = client.get(&files).await.is(200).to_string();
    assert!(listed.contains("taken") && !listed.contains("refused"), "{listed}");

    let announced = client.post("/v1/uploads", json!({ "size": 5_000_000 })).await;
    let (upload, url) = (announced.text("/id"), announced.text("/url"));
    let http = tests::http::connector();
    for bytes in [0, 4_999_999, 5_000_001] {
        let other = http.put(&url).body(vec![7; bytes]).send().await.unwrap();
        assert_eq!(other.status(), 403, "what is put is signed: its length, too");
    }
    let taking = format!("{files}/raw?path=big&upload={upload}");
    let early = client.send(client.request(Method::PUT, &taking)).await;
    assert_eq!(early.is(409)["code"], "upload_incomplete");
    let stranger = url.replace("/incoming/", "/outgoing/");
    assert_eq!(http.put(&stranger).body(vec![7; 5_000_000]).send().await.unwrap().status(), 403);
    assert_eq!(http.put(&url).body(vec![7; 5_000_000]).send().await.unwrap().status(), 200);
    let other = platform.realm(json!({})).await;
    let theirs = format!("/v1/agents/{}/files/raw?path=big&upload={upload}", other.agent().await);
    let theirs = other.send(other.request(Method::PUT, &theirs)).await;
    assert_eq!(theirs.is(404)["code"], "no_such_upload");
    client.send(client.request(Method::PUT, &taking)).await.is(204);

    let big = format!("{files}/raw?path=big");
    let part = client.request(Method::GET, &big).header("range", "bytes=4000000-4999999");
    let part = client.send(part).await;
    assert_eq!((part.status, part.raw.len()), (206, 1_000_000));
    assert_eq!(part.headers["content-range"], "bytes 4000000-4999999/5000000");
    let part = client.request(Method::GET, &big).header("range", "bytes=1-4999999");
    assert_eq!(client.send(part).await.is(413)["code"], "transfer_too_large");
    let whole = client.get(&big).await;
    assert_eq!((whole.status, whole.raw.len()), (200, 5_000_000));
}

/// The API waits for 30 s and the function may take 29: it answers before its time is over. Here it
/// has 3.
#[tokio::test]
async fn a_request_that_would_take_longer_than_the_api_waits_is_answered_in_time() {
    let (platform, account, proxy) = disturbed().await;
    let client = platform.realm(json!({})).await;
    let _through = account.through("agents.list", &proxy).await;
    let _hurried = account.disturb("agents.list", |found| found["Timeout"] = json!(3)).await;
    let held = Held::default();
    for call in ["Query", "BatchGetItem", "GetItem"] {
        proxy.fault(call, Fault::Hold(held.clone()), usize::MAX);
    }
    let answer = client.get("/v1/agents").await;
    assert_eq!(answer.headers["content-type"], "application/problem+json");
    assert_eq!(answer.is(503)["code"], "unavailable");
}
