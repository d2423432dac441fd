//! Server-sent events, which the HTTP API cannot stream.

use serde_json::json;
use tests::http::Client;

use super::disturbed;

/// The gateway sends a client on to the function that streams; a stream ends before its function does,
/// and its client comes back with the id it saw last. Here a function lives for 8 s, not for minutes.
#[tokio::test]
async fn events_are_streamed_where_the_gateway_sends_a_client_on_to() {
    let (platform, account, _) = disturbed().await;
    let client = platform.realm(json!({})).await;
    let session = client.conversation().await;
    client.ask(&session, "!events 5\n!say done").await;
    let past = client.past(&session).await;
    let _hurried =
        account.disturb("sessions.events.stream", |found| found["Timeout"] = json!(8)).await;
    let follower: Client = client.over_server_sent_events();
    let path = format!("/v1/sessions/{session}/events");
    for after in [0, 3] {
        let mut stream = follower.events(&path, Some(after)).await;
        let mut seen = Vec::new();
        while let Some(event) = stream.next().await {
            seen.extend(event.id.map(|id| (id, event.data)));
        }
        let expected = &past[usize::try_from(after).unwrap()..];
        let expected = expected.iter().map(|event| (event["seq"].as_u64().unwrap(), event.clone()));
        assert_eq!(seen, expected.collect::<Vec<_>>(), "behind {after}");
    }
    // Without a key there is nowhere to go.
    let refused = client.with_key(None);
    let refused =
        refused.request(reqwest::Method::GET, &path).header("accept", "text/event-stream");
    assert_eq!(client.send(refused).await.is(401)["code"], "unauthenticated");
}
