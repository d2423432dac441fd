//! Connections that go: without a word, or because the API lets none get old.

use serde_json::json;
use tests::given::at_last;

use super::{Follower, disturbed, ran_once};

#[tokio::test]
async fn a_client_that_went_without_a_word_is_forgotten_and_misses_nothing() {
    let (platform, account, _) = disturbed().await;
    let client = platform.realm(json!({})).await;
    let session = client.conversation().await;
    // Nobody hears of connections that end.
    let nowhere = |found: &mut serde_json::Value| {
        found["Environment"]["Variables"]["AWS_ENDPOINT_URL"] = json!("http://127.0.0.1:9");
    };
    let _deaf = account.disturb("sockets.disconnect", nowhere).await;
    let mut follower = Follower::of(&client, &session).await;
    let first = client.prompt(&session, "!events 3").await;
    follower.until_over(&client, &first).await;
    let topic = follower.topic.parse().unwrap();
    let gone = account.followers(&client, topic).await;
    assert_eq!(gone.len(), 1);

    // Its TCP connection ends; what it follows goes on, and the API answers 410 to who tells it.
    follower.stream.cut().await;
    let second = client.prompt(&session, "!events 3\n!say on").await;
    assert_eq!(client.ended(&second).await["state"], "completed");
    let forgotten = async || !account.followers(&client, topic).await.contains(&gone[0]);
    at_last("its subscription is gone", forgotten).await;
    assert!(!account.knows(&gone[0]).await, "and so is the connection");

    follower.again(&client).await;
    follower.until_over(&client, &second).await;
    assert_eq!(follower.seen, client.past(&session).await[..follower.seen.len()]);
    ran_once(&client, &session, &second).await;
}

/// A managed connection lasts two hours at most, and ten minutes when nobody speaks: then the API ends
/// it, as it does here when it is told to.
#[tokio::test]
async fn connections_that_the_api_ends_in_the_midst_of_a_run_are_made_again() {
    let (platform, account, _) = disturbed().await;
    let client = platform.realm(json!({})).await;
    let agent = client.agent_with(json!({ "permissions": "ask" })).await;
    let session = client.session(&agent).await;
    let mut follower = Follower::of(&client, &session).await;
    let follows = account.followers(&client, follower.topic.parse().unwrap()).await;
    let run = client.prompt(&session, "!events 3\n!permission\n!events 3").await;
    let asked = client.reaches(&run, "awaiting_approval").await["permissions"][0].clone();
    let shim = account.shim(&client, &agent).await.expect("the shim is connected");
    for connection in follows.iter().chain([&shim]) {
        account.end_connection(connection).await;
    }
    let again = async || account.shim(&client, &agent).await.is_some_and(|now| now != shim);
    at_last("the shim comes again", again).await;

    let chosen = &asked["options"][0]["optionId"];
    let answer = json!({ "requestId": asked["requestId"], "optionId": chosen });
    client.post(&format!("/v1/runs/{run}/answer"), answer).await.is(202);
    assert_eq!(follower.until_over(&client, &run).await, 1, "the client came again, too");
    assert_eq!(client.get(&format!("/v1/runs/{run}")).await.is(200)["state"], "completed");
    let past = client.past(&session).await;
    assert_eq!(follower.seen, past[..follower.seen.len()]);
    assert_eq!(account.tasks(&agent).await, 1, "the container is the same");
}

/// A shim whose connection broke is not known to be gone; what is said to it meets a 410.
#[tokio::test]
async fn a_shim_whose_connection_went_without_a_word_gets_what_it_missed() {
    let (platform, account, _) = disturbed().await;
    let client = platform.realm(json!({})).await;
    let agent = client.agent().await;
    let session = client.session(&agent).await;
    assert_eq!(client.ask(&session, "one").await, "one");
    let nowhere = |found: &mut serde_json::Value| {
        found["Environment"]["Variables"]["AWS_ENDPOINT_URL"] = json!("http://127.0.0.1:9");
    };
    let _deaf = account.disturb("sockets.disconnect", nowhere).await;
    let shim = account.shim(&client, &agent).await.expect("the shim is connected");
    account.end_connection(&shim).await;
    // It may be away for a moment still: the command waits for it.
    let run = client.prompt(&session, "two").await;
    assert_eq!(client.ended(&run).await["state"], "completed");
    assert_eq!(client.said(&session, &run).await, "two");
    ran_once(&client, &session, &run).await;
    assert_ne!(account.shim(&client, &agent).await, Some(shim));
    assert_eq!(account.tasks(&agent).await, 1, "the container is the same");
}
