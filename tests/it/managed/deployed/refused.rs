//! Services that refuse what a deployed function asks of them, for a while.

use http::StatusCode;
use serde_json::json;
use tests::fault_proxy::Fault;

use super::{disturbed, ran_once};

/// The cluster is full, then it is asked too often, then it is slow.
#[tokio::test]
async fn a_container_that_finds_no_room_at_first_is_started_once_there_is() {
    let (platform, account, proxy) = disturbed().await;
    let client = platform.realm(json!({})).await;
    let agent = client.agent().await;
    let session = client.session(&agent).await;
    let _scheduler = account.through("workers.scheduler", &proxy).await;
    let number = agent.trim_start_matches("agt_");
    let instance = "arn:aws:ecs:us-east-1:000000000000:container-instance/c/i";
    let failure = json!({ "arn": instance, "reason": "RESOURCE:MEMORY" });
    let full = Fault::Answer(StatusCode::OK, json!({ "tasks": [], "failures": [failure] }));
    proxy.fault_about("RunTask", number, full, 2);
    proxy.fault_about("RunTask", number, Fault::throttling(), 2);
    proxy.fault_about("RunTask", number, Fault::Delay(std::time::Duration::from_secs(2)), 1);
    let run = client.prompt(&session, "!count").await;
    assert_eq!(client.ended(&run).await["state"], "completed");
    assert_eq!(client.said(&session, &run).await, "1");
    ran_once(&client, &session, &run).await;
    assert_eq!(account.tasks(&agent).await, 1, "one container");
    let asked =
        proxy.calls("RunTask").into_iter().filter(|call| call.body.to_string().contains(number));
    assert!(asked.count() >= 5, "it was asked again after each refusal");
}

/// The table is asked too often, and somebody else is at the same item.
#[tokio::test]
async fn a_request_whose_commit_is_refused_for_a_moment_succeeds_once() {
    let (platform, account, proxy) = disturbed().await;
    let client = platform.realm(json!({})).await;
    let session = client.conversation().await;
    let _prompts = account.through("sessions.prompt", &proxy).await;
    let reasons = json!([{ "Code": "TransactionConflict" }]);
    let conflict = json!({ "__type": "TransactionCanceledException", "message": "a fault of the test",
        "CancellationReasons": reasons });
    let commit = "TransactWriteItems";
    proxy.fault_about(commit, &session, Fault::throttling(), 2);
    proxy.fault_about(commit, &session, Fault::Answer(StatusCode::BAD_REQUEST, conflict), 2);
    proxy.fault_about(commit, &session, Fault::LoseAnswer, 1);
    let run = client.prompt(&session, "!count").await;
    assert_eq!(proxy.calls(commit).len(), 6);
    assert_eq!(client.all(&format!("/v1/sessions/{session}/runs?limit=9")).await.len(), 1);
    assert_eq!(client.ended(&run).await["state"], "completed");
    ran_once(&client, &session, &run).await;

    // Without an end it is a problem, in time.
    proxy.fault_about(commit, &session, Fault::throttling(), usize::MAX);
    let path = format!("/v1/sessions/{session}/prompt");
    let refused = client.post(&path, json!({ "prompt": "!count" })).await;
    assert_eq!(refused.headers["retry-after"], "1");
    assert_eq!(refused.is(503)["code"], "unavailable");
    assert_eq!(client.all(&format!("/v1/sessions/{session}/runs?limit=9")).await.len(), 1);
}
