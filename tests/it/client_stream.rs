//! The client's stream: what is durable reaches everybody once and in order, whoever comes and goes,
//! and whatever dies.
//!
//! What is said of a client alone takes a [`Client`], so that it can be said on another platform, too.

mod interleaved;
mod limits;
mod readers;
mod rights;

use serde_json::{Value, json};
use tests::given::is_over;
use tests::http::Client;
use tests::reeve::{Options, Reeve};
use tests::stream::Stream;

/// Every durable event of a topic that is told from now on, until a run is over.
async fn told_until_over(stream: &mut Stream, topic: &str, run: &str) -> Vec<Value> {
    let mut told = Vec::new();
    loop {
        let frame = stream.until("events").await;
        if frame["topic"] != topic {
            continue;
        }
        for event in frame["events"].as_array().unwrap() {
            told.push(event.clone());
            let over = matches!(
                event["data"]["state"].as_str(),
                Some("completed" | "cancelled" | "failed")
            );
            if event["type"] == "run_state" && event["runId"] == run && over {
                return told;
            }
        }
    }
}

#[tokio::test]
async fn the_past_comes_first_and_then_what_happens() {
    let reeve = Reeve::start(Options::default()).await;
    let client = reeve.realm().await;
    let session = client.conversation().await;
    let agent = client.get(&format!("/v1/sessions/{session}")).await.text("/agentId");
    client.ask(&session, "!say first").await;
    let past = client.past(&session).await;
    let mut stream = client.stream().await;
    for topic in [format!("session:{session}"), format!("agent:{agent}"), "realm".to_owned()] {
        stream.subscribe(&topic, Some(0)).await;
        let subscribed = stream.next().await.unwrap();
        assert_eq!(subscribed, json!({ "type": "subscribed", "topic": topic, "cursor": 0 }));
        let mut told = Vec::new();
        while told.len() < past.len() {
            let frame = stream.next().await.unwrap();
            assert_eq!(
                (&frame["topic"], &frame["sessionId"], &frame["agentId"]),
                (&json!(topic), &json!(session), &json!(agent))
            );
            told.extend(frame["events"].as_array().unwrap().iter().cloned());
            // It is the only session, so the realm counts as it does.
            assert_eq!(frame["cursor"], told.len());
        }
        assert_eq!(told, past, "{topic}");
    }
    let run = client.prompt(&session, "!say second").await;
    let whole = async {
        client.ended(&run).await;
        client.past(&session).await
    };
    let mut followed: [Vec<Value>; 3] = std::array::from_fn(|_| past.clone());
    let topics = [format!("session:{session}"), format!("agent:{agent}"), "realm".to_owned()];
    let whole = whole.await;
    while followed.iter().any(|told| told.len() < whole.len()) {
        let frame = stream.until("events").await;
        let at = topics.iter().position(|topic| frame["topic"] == *topic).unwrap();
        followed[at].extend(frame["events"].as_array().unwrap().iter().cloned());
        assert_eq!(frame["cursor"], followed[at].len());
    }
    assert!(followed.iter().all(|told| *told == whole));
}

#[tokio::test]
async fn without_a_cursor_only_what_comes_is_told() {
    let reeve = Reeve::start(Options::default()).await;
    let client = reeve.realm().await;
    let session = client.conversation().await;
    client.ask(&session, "!say before").await;
    let past = client.past(&session).await.len();
    let agent = client.get(&format!("/v1/sessions/{session}")).await.text("/agentId");
    for topic in [format!("session:{session}"), format!("agent:{agent}"), "realm".to_owned()] {
        let mut stream = client.stream().await;
        let before = client.past(&session).await.len();
        stream.subscribe(&topic, None).await;
        assert_eq!(stream.next().await.unwrap()["cursor"], before, "{topic}");
        let run = client.prompt(&session, "!say on").await;
        let told = told_until_over(&mut stream, &topic, &run).await;
        assert_eq!(told[0]["seq"], before + 1);
        assert_eq!(told, client.past(&session).await[before..][..told.len()]);
    }
    assert!(past > 0);
}

#[tokio::test]
async fn what_is_not_followed_any_more_is_not_told() {
    let reeve = Reeve::start(Options::default()).await;
    let client = reeve.realm().await;
    let agent = client.agent().await;
    let (one, other) = (client.session(&agent).await, client.session(&agent).await);
    let mut stream = client.stream().await;
    for session in [&one, &other] {
        stream.subscribe(&format!("session:{session}"), Some(0)).await;
        stream.until("subscribed").await;
    }
    stream.say(json!({ "type": "unsubscribe", "topic": format!("session:{one}") })).await;
    let unsubscribed = json!({ "type": "unsubscribed", "topic": format!("session:{one}") });
    assert_eq!(stream.next().await.unwrap(), unsubscribed);
    client.ask(&one, "!say unheard").await;
    let run = client.prompt(&other, "!say heard").await;
    let ended = client.ended(&run).await;
    assert_eq!(ended["state"], "completed");
    let last = client.past(&other).await.len();
    loop {
        let frame = stream.next().await.unwrap();
        assert_eq!(frame["sessionId"], other.as_str());
        if frame["cursor"] == last {
            break;
        }
    }
    // It can be followed again, and what was not told is told.
    stream.say(json!({ "type": "ping" })).await;
    stream.until("pong").await;
    stream.subscribe(&format!("session:{one}"), Some(0)).await;
    stream.until("subscribed").await;
    assert_eq!(stream.until("events").await["events"][0]["seq"], 1);
    // To follow nothing less is no mistake.
    stream.say(json!({ "type": "unsubscribe", "topic": "realm" })).await;
    assert_eq!(stream.until("unsubscribed").await["topic"], "realm");
}

/// Puts the pieces of each message where their offsets say.
fn put_together(pieces: &[Value]) -> std::collections::BTreeMap<String, String> {
    let mut messages = std::collections::BTreeMap::<String, Vec<(u64, String)>>::new();
    for piece in pieces {
        let text = piece["event"]["data"]["text"].as_str().unwrap().to_owned();
        let message = piece["event"]["data"]["messageId"].as_str().unwrap().to_owned();
        let offset = piece["event"]["offset"].as_u64().unwrap();
        messages.entry(message).or_default().push((offset, text));
    }
    let whole = |(message, mut pieces): (String, Vec<(u64, String)>)| {
        pieces.sort();
        let mut text = String::new();
        for (offset, piece) in pieces {
            assert_eq!(offset, text.chars().count() as u64, "no piece of {message} is missing");
            text.push_str(&piece);
        }
        (message, text)
    };
    messages.into_iter().map(whole).collect()
}

#[tokio::test]
async fn what_is_being_said_comes_in_pieces_that_say_where_they_belong() {
    let reeve = Reeve::start(Options::default()).await;
    let client = reeve.realm().await;
    let session = client.conversation().await;
    let mut stream = client.stream().await;
    let mut quiet = client.stream().await;
    let topic = format!("session:{session}");
    for topic in [&topic, "realm"] {
        stream.subscribe(topic, Some(0)).await;
        stream.until("subscribed").await;
    }
    quiet.say(json!({ "type": "subscribe", "topic": "realm", "live": false })).await;
    quiet.until("subscribed").await;
    let run = client.prompt(&session, "!think hm\n!chunks 20\n!say äöü\n!chunks 7").await;
    client.ended(&run).await;
    let last = client.past(&session).await.len();
    let (mut pieces, mut open) = (std::collections::BTreeMap::<String, Vec<Value>>::new(), 2);
    while open > 0 {
        let frame = stream.next().await.unwrap();
        if frame["type"] == "live" {
            let topic = frame["topic"].as_str().unwrap().to_owned();
            pieces.entry(topic).or_default().push(frame);
        } else if frame["cursor"] == last {
            open -= 1;
        }
    }
    let past = client.past(&session).await;
    let mut whole = std::collections::BTreeMap::<String, String>::new();
    for event in &past {
        if let Some(message) = event["data"]["messageId"].as_str() {
            let text = event["data"]["content"]["text"].as_str().unwrap();
            whole.entry(message.to_owned()).or_default().push_str(text);
        }
    }
    assert!(whole.len() > 1, "{whole:#?}");
    for topic in [topic.as_str(), "realm"] {
        assert_eq!(put_together(&pieces[topic]), whole, "{topic}");
    }
    loop {
        let frame = quiet.next().await.unwrap();
        assert_eq!(frame["type"], "events", "nobody asked for pieces");
        if frame["cursor"] == last {
            break;
        }
    }
    let mut events = client.events(&format!("/v1/sessions/{session}/events"), None).await;
    while !is_over(&events.next().await.unwrap()) {}
}

/// The ids of the realm's sessions in the order of a topic, and how far the topic went: for who
/// follows agents and realms.
async fn everything(client: &Client, topic: &str, events: usize) -> Vec<(String, u64)> {
    let mut stream = client.stream().await;
    stream.subscribe(topic, Some(0)).await;
    let mut told = Vec::new();
    while told.len() < events {
        let frame = stream.until("events").await;
        for event in frame["events"].as_array().unwrap() {
            let session = frame["sessionId"].as_str().unwrap().to_owned();
            told.push((session, event["seq"].as_u64().unwrap()));
        }
    }
    told
}

#[tokio::test]
async fn an_agent_is_its_sessions_and_the_realm_is_all_of_them() {
    let reeve = Reeve::start(Options::default()).await;
    let client = reeve.realm().await;
    let stranger = reeve.realm().await;
    let theirs = stranger.conversation().await;
    stranger.ask(&theirs, "!say elsewhere").await;
    let (mut agents, mut all) = (Vec::new(), 0);
    for _ in 0..2 {
        let agent = client.agent().await;
        let mut sessions = Vec::new();
        for _ in 0..2 {
            let session = client.session(&agent).await;
            client.ask(&session, "!events 30").await;
            client.ask(&session, "!say done").await;
            sessions.push(session);
        }
        agents.push((agent, sessions));
    }
    for (agent, sessions) in &agents {
        let mut expected = Vec::new();
        for session in sessions {
            let past = client.past(session).await.len() as u64;
            expected.extend((1..=past).map(|seq| (session.clone(), seq)));
        }
        all += expected.len();
        // One session came after the other.
        assert_eq!(everything(&client, &format!("agent:{agent}"), expected.len()).await, expected);
    }
    let told = everything(&client, "realm", all).await;
    assert!(told.iter().all(|(session, _)| *session != theirs));
    // A cursor counts: behind any place come the rest, also from the middle of what was written
    // together.
    for after in [1, 7, 20, all / 2, all - 1] {
        let mut stream = client.stream().await;
        stream.subscribe("realm", Some(after as u64)).await;
        let frame = stream.until("events").await;
        let first = (frame["sessionId"].as_str().unwrap(), &frame["events"][0]["seq"]);
        assert_eq!(first, (told[after].0.as_str(), &json!(told[after].1)), "behind {after}");
    }
    let (agent, _) = &agents[1];
    client.delete(&format!("/v1/agents/{agent}")).await.is(204);
    let gone = async || client.get(&format!("/v1/agents/{agent}")).await.status == 404;
    tests::given::at_last("the agent is gone", gone).await;
    let (one, sessions) = &agents[0];
    let left = told.iter().filter(|(session, _)| sessions.contains(session)).count();
    assert_eq!(everything(&client, "realm", left).await, told[..left]);
    // The log goes on where it was.
    let session = client.session(one).await;
    let mut stream = client.stream().await;
    stream.subscribe("realm", None).await;
    assert!(stream.until("subscribed").await["cursor"].as_u64() >= Some(all as u64));
    client.ask(&session, "!say more").await;
    // What is left of the other agent may still be told as it goes.
    let frame = loop {
        let frame = stream.until("events").await;
        if frame["sessionId"] == session.as_str() {
            break frame;
        }
    };
    assert!(frame["cursor"].as_u64() > Some(all as u64));
}
