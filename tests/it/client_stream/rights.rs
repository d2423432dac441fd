//! Who may open a stream and follow what, and when that ends.

use serde_json::{Value, json};
use tests::http::Client;
use tests::reeve::{Options, Reeve};
use tests::stream::Stream;

fn changed(ticket: &str) -> Vec<String> {
    let (name, secret) = ticket.rsplit_once('_').unwrap();
    let other = if secret.starts_with('A') { "B" } else { "A" };
    vec![
        String::new(),
        "wt_".to_owned(),
        name.to_owned(),
        format!("{name}_"),
        format!("{name}_{other}{}", &secret[1..]),
        format!("{name}_{}", &secret[1..]),
        format!("{ticket}A"),
        ticket.to_lowercase(),
        ticket.replacen("wt_", "rk_", 1),
        format!("wt_01JD3Z6V0QK5S8M2W4X7Y9ABCD_{secret}"),
        "A".repeat(4000),
    ]
}

#[tokio::test]
async fn a_ticket_opens_one_stream() {
    let reeve = Reeve::start(Options::default()).await;
    let client = reeve.realm().await;
    let (url, ticket) = client.ticket().await;
    for wrong in changed(&ticket) {
        assert_eq!(Stream::open(&url, &wrong).await.unwrap_err(), 401, "{wrong:.60}");
    }
    // Whoever guessed has not used it up.
    let both = [Stream::open(&url, &ticket), Stream::open(&url, &ticket)];
    let opened = futures::future::join_all(both).await;
    let (mut open, refused): (Vec<_>, Vec<_>) = opened.into_iter().partition(Result::is_ok);
    assert_eq!((open.len(), refused.len()), (1, 1), "one ticket, one stream");
    assert_eq!(Stream::open(&url, &ticket).await.unwrap_err(), 401);
    let mut stream = open.remove(0).unwrap();
    stream.say(json!({ "type": "ping" })).await;
    assert_eq!(stream.next().await.unwrap()["type"], "pong");
    assert!(!reeve.log().contains(ticket.rsplit_once('_').unwrap().1), "a secret was logged");
    // The same request has the same ticket, which is not kept in clear.
    let once = client.post_once("/v1/stream/tickets", "once", Value::Null).await.unwrap();
    let again = client.post_once("/v1/stream/tickets", "once", Value::Null).await.unwrap();
    assert_eq!(once.is(201)["ticket"], again.is(201)["ticket"]);
}

#[tokio::test]
async fn a_ticket_is_no_better_than_its_key() {
    let reeve = Reeve::start(Options::default()).await;
    let client = reeve.realm().await;
    let made = client.post("/v1/keys", json!({ "name": "k" })).await;
    let holder = client.with_key(Some(&made.text("/apiKey")));
    let (url, ticket) = holder.ticket().await;
    client.delete(&format!("/v1/keys/{}", made.text("/id"))).await.is(204);
    assert_eq!(Stream::open(&url, &ticket).await.unwrap_err(), 401);
    let (_, ticket) = client.ticket().await;
    let realm = client.get("/v1/me").await.text("/realm/id");
    reeve.client().post(&format!("/v1/realms/{realm}/suspend"), Value::Null).await.is(200);
    assert_eq!(Stream::open(&url, &ticket).await.unwrap_err(), 403);
    // Whoever may not read sessions gets no ticket.
    let blind = json!({ "name": "blind", "scopes": ["agents:read", "sessions:write"] });
    let blind = reeve.client().post("/v1/keys", blind).await.text("/apiKey");
    let refused = client.with_key(Some(&blind)).post("/v1/stream/tickets", Value::Null).await;
    assert_eq!(refused.is(403)["code"], "scope_missing");
}

/// A client who follows everything it may.
async fn follower(client: &Client, session: &str) -> Stream {
    let mut stream = client.stream().await;
    for topic in ["realm".to_owned(), format!("session:{session}")] {
        stream.subscribe(&topic, None).await;
        stream.until("subscribed").await;
    }
    stream
}

#[tokio::test]
async fn another_realm_s_things_are_not_there() {
    let reeve = Reeve::start(Options::default()).await;
    let (theirs, ours) = (reeve.realm().await, reeve.realm().await);
    let session = theirs.conversation().await;
    let agent = theirs.get(&format!("/v1/sessions/{session}")).await.text("/agentId");
    let own = ours.conversation().await;
    let mut stream = follower(&ours, &own).await;
    for topic in [
        format!("session:{session}"),
        format!("agent:{agent}"),
        "session:ses_01JD3Z6V0QK5S8M2W4X7Y9ABCD".to_owned(),
        "agent:agt_01JD3Z6V0QK5S8M2W4X7Y9ABCD".to_owned(),
    ] {
        stream.subscribe(&topic, Some(0)).await;
        let frame = stream.next().await.unwrap();
        assert_eq!((&frame["type"], &frame["topic"]), (&json!("problem"), &json!(topic)));
        assert_eq!(frame["problem"]["code"], "not_found");
    }
    theirs.ask(&session, "!say secret").await;
    let run = ours.prompt(&own, "!say open").await;
    ours.ended(&run).await;
    let past = ours.past(&own).await.len();
    let mut open = 2;
    while open > 0 {
        let frame = stream.next().await.unwrap();
        assert_eq!(frame["sessionId"], own.as_str(), "{frame:#}");
        open -= usize::from(frame["cursor"] == past);
    }
}

#[tokio::test]
async fn a_stream_ends_with_the_right_to_read_it() {
    let reeve = Reeve::start(Options::default()).await;
    let client = reeve.realm().await;
    let session = client.conversation().await;
    let made = client.post("/v1/keys", json!({ "name": "reader" })).await;
    let reader = client.with_key(Some(&made.text("/apiKey")));
    let mut theirs = [follower(&reader, &session).await, follower(&reader, &session).await];
    let mut ours = follower(&client, &session).await;
    client.delete(&format!("/v1/keys/{}", made.text("/id"))).await.is(204);
    for stream in &mut theirs {
        stream.ended().await;
    }
    // It was that key alone.
    client.ask(&session, "!say still").await;
    ours.until("events").await;
    let realm = client.get("/v1/me").await.text("/realm/id");
    reeve.client().post(&format!("/v1/realms/{realm}/suspend"), Value::Null).await.is(200);
    ours.ended().await;
    forgotten(&reeve).await;
}

/// Neither connections that ended are kept, nor what they followed.
async fn forgotten(reeve: &Reeve) {
    let gone = async || {
        ["CON#", "#TOP#"].iter().all(|what| crate::stored::mentions(reeve, what).is_empty())
    };
    tests::given::at_last("they are forgotten", gone).await;
}

#[tokio::test]
async fn a_stream_ends_when_its_key_expires() {
    let reeve = Reeve::start(Options::default()).await;
    let client = reeve.realm().await;
    let session = client.conversation().await;
    // Long enough to open a stream, also where much else runs.
    let soon = jiff::Timestamp::from_millisecond(crate::access::now() + 5000).unwrap();
    let made = json!({ "name": "brief", "expiresAt": soon.to_string() });
    let made = client.post("/v1/keys", made).await;
    let reader = client.with_key(Some(&made.text("/apiKey")));
    follower(&reader, &session).await.ended().await;
    assert_eq!(reader.get("/v1/me").await.status, 401);
}

#[tokio::test]
async fn a_stream_that_broke_leaves_nothing() {
    let reeve = Reeve::start(Options::default()).await;
    let client = reeve.realm().await;
    let session = client.conversation().await;
    let streams = [follower(&client, &session).await, follower(&client, &session).await];
    assert!(!crate::stored::mentions(&reeve, "#TOP#").is_empty());
    drop(streams);
    forgotten(&reeve).await;
}
