//! Functions that are killed between what they commit and what they do outside, or between that and
//! their answer.

use serde_json::json;
use tests::fault_proxy::{Fault, Held};

use super::{Follower, disturbed, ran_once};

/// The number in an agent's id, which is in all that is its.
fn number(agent: &str) -> &str {
    agent.trim_start_matches("agt_")
}

/// The scheduler dies at the start of a container: before it was asked for, or when it was.
async fn dies_at_a_start(fault: fn(Held) -> Fault, asked: usize) {
    let (platform, account, proxy) = disturbed().await;
    let client = platform.realm(json!({})).await;
    let agent = client.agent().await;
    let session = client.session(&agent).await;
    let scheduler = account.through("workers.scheduler", &proxy).await;
    let held = Held::default();
    proxy.fault_about("RunTask", number(&agent), fault(held.clone()), 1);
    let run = client.prompt(&session, "!count").await;
    held.came(1).await;
    scheduler.kill(&proxy);
    assert_eq!(account.tasks(&agent).await, asked);

    // What it held is somebody else's when its lease is over: the schedule comes every minute.
    account.end_leases(&client).await;
    account.invoke("workers.scheduler", 1).await;
    assert_eq!(client.ended(&run).await["state"], "completed");
    assert_eq!(client.said(&session, &run).await, "1", "the agent got one prompt");
    ran_once(&client, &session, &run).await;
    assert_eq!(account.tasks(&agent).await, 1, "one container");
}

#[tokio::test]
async fn a_scheduler_that_dies_before_it_starts_a_container_is_made_good() {
    dies_at_a_start(Fault::Hold, 0).await;
}

#[tokio::test]
async fn a_scheduler_that_dies_behind_the_start_of_a_container_starts_no_other() {
    dies_at_a_start(Fault::HoldAnswer, 1).await;
}

#[tokio::test]
async fn a_request_that_dies_behind_its_transaction_has_one_effect() {
    let (platform, account, proxy) = disturbed().await;
    let client = platform.realm(json!({})).await;
    let agent = client.agent().await;
    let session = client.session(&agent).await;
    let prompts = account.through("sessions.prompt", &proxy).await;
    let held = Held::default();
    proxy.fault_about("TransactWriteItems", &session, Fault::HoldAnswer(held.clone()), 1);
    let path = format!("/v1/sessions/{session}/prompt");
    let ask = || client.post_once(&path, "one-and-only", json!({ "prompt": "!count" }));
    let killed = async {
        held.came(1).await;
        prompts.kill(&proxy);
    };
    let (first, ()) = futures::future::join(ask(), killed).await;
    let first = first.unwrap();
    assert!(first.status >= 500, "{}: {:#}", first.status, first.body);
    // It asks again, as whoever got no answer may.
    let run = ask().await.unwrap().is(202)["id"].as_str().unwrap().to_owned();
    assert_eq!(client.ended(&run).await["state"], "completed");
    assert_eq!(client.all(&format!("/v1/sessions/{session}/runs?limit=9")).await.len(), 1);
    assert_eq!(client.said(&session, &run).await, "1");
    ran_once(&client, &session, &run).await;
    assert_eq!(account.tasks(&agent).await, 1);
}

/// Changes of the table are nudges for the scheduler and events for clients.
async fn dies_at(call: &str, about: impl Fn(&str) -> String, fault: fn(Held) -> Fault) {
    let (platform, account, proxy) = disturbed().await;
    let client = platform.realm(json!({})).await;
    let agent = client.agent().await;
    let session = client.session(&agent).await;
    let mut follower = Follower::of(&client, &session).await;
    let changes = account.through("workers.changes", &proxy).await;
    let held = Held::default();
    proxy.fault_about(call, &about(&session), fault(held.clone()), 1);
    let run = client.prompt(&session, "!events 5\n!count").await;
    held.came(1).await;
    changes.kill(&proxy);
    follower.until_over(&client, &run).await;
    assert_eq!(follower.seen, client.past(&session).await[..follower.seen.len()]);
    assert_eq!(client.said(&session, &run).await, "1");
    ran_once(&client, &session, &run).await;
    assert_eq!(account.tasks(&agent).await, 1);
}

#[tokio::test]
async fn a_change_whose_nudge_was_not_sent_comes_again() {
    dies_at("SendMessageBatch", |_| String::new(), Fault::Hold).await;
}

#[tokio::test]
async fn a_change_whose_nudge_was_refused_comes_again() {
    let (platform, account, proxy) = disturbed().await;
    let client = platform.realm(json!({})).await;
    let session = client.conversation().await;
    let _changes = account.through("workers.changes", &proxy).await;
    proxy.fault("SendMessageBatch", Fault::error(400, "InvalidParameterValueException"), 1);
    let run = client.prompt(&session, "!count").await;
    assert_eq!(client.ended(&run).await["state"], "completed");
    ran_once(&client, &session, &run).await;
    let nudges = proxy.calls("SendMessageBatch");
    assert!(nudges.len() > 1, "{} nudges", nudges.len());
    assert_eq!(nudges[0].body["Entries"], nudges[1].body["Entries"], "the same once more");
}

#[tokio::test]
async fn a_change_that_was_told_to_a_client_is_told_once() {
    // The client has the frame, and nobody knows: the batch comes again, and so does the client.
    let connections = "/_aws/execute-api/";
    dies_at(connections, |session| format!("session:{session}"), Fault::HoldAnswer).await;
}

/// What nobody waits for is there in the end, too.
#[tokio::test]
async fn a_deletion_that_dies_behind_its_transaction_is_finished_by_the_scheduler() {
    let (platform, account, proxy) = disturbed().await;
    let client = platform.realm(json!({})).await;
    let agent = client.agent().await;
    let session = client.session(&agent).await;
    assert_eq!(client.ask(&session, "here").await, "here");
    let deletes = account.through("agents.delete", &proxy).await;
    let held = Held::default();
    proxy.fault_about("TransactWriteItems", number(&agent), Fault::HoldAnswer(held.clone()), 1);
    let killed = async {
        held.came(1).await;
        deletes.kill(&proxy);
    };
    let path = format!("/v1/agents/{agent}");
    let (answer, ()) = futures::future::join(client.delete(&path), killed).await;
    assert!(answer.status >= 500, "{}: {:#}", answer.status, answer.body);
    platform.at_rest(&agent).await;
    client.get(&path).await.is(404);
    let gone = async || client.get(&format!("/v1/sessions/{session}")).await.status == 404;
    tests::given::at_last("its sessions go with it", gone).await;
}
