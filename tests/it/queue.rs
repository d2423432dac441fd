//! A session's line of prompts: one in flight, the others in order, any of them called off.

use domain::container::CAPACITY;
use futures::future::join_all;
use serde_json::{Value, json};
use tests::http::Client;
use tests::reeve::{Options, Reeve};

use crate::lifecycle::{assert_exactly_one_end, container, mentioning_container};

async fn cancel(client: &Client, run: &str) -> (u16, Value) {
    let reply = client.post(&format!("/v1/runs/{run}/cancel"), Value::Null).await;
    (reply.status, reply.body)
}

#[tokio::test]
async fn prompts_wait_in_order_and_are_called_off_one_by_one() {
    let reeve = Reeve::start(Options::default()).await;
    let client = reeve.client();
    let session = client.conversation().await;
    let path = format!("/v1/sessions/{session}");
    let mut runs = Vec::new();
    for prompt in ["!wait", "!say one", "!say two", "!say three", "!say four"] {
        runs.push(client.prompt(&session, prompt).await);
    }
    let seen = client.get(&path).await.is(200);
    assert_eq!((&seen["state"], &seen["queuedRuns"]), (&json!("streaming"), &json!(4)));
    assert_eq!(seen["activeRunId"], runs[0].as_str());
    client.reaches(&runs[0], "streaming").await;

    let (status, called_off) = cancel(&client, &runs[2]).await;
    assert_eq!((status, &called_off["state"]), (202, &json!("cancelled")));
    let (status, again) = cancel(&client, &runs[2]).await;
    assert_eq!((status, &again["code"]), (409, &json!("state_refused")));
    assert_eq!(client.get(&path).await.is(200)["queuedRuns"], 3);

    let close = client.post(&format!("{path}/close"), Value::Null).await;
    assert_eq!(close.is(409)["code"], "state_refused");
    // Without a name, what is in flight; saying it twice is saying it once.
    let first = client.post(&format!("{path}/cancel"), Value::Null).await.is(202);
    assert_eq!(first["id"], runs[0].as_str());
    let (status, second) = cancel(&client, &runs[0]).await;
    assert!(status == 202 || second["code"] == "state_refused", "{second:#}");
    let ended = client.ended(&runs[4]).await;
    assert_eq!(ended["state"], "completed");
    assert_eq!(cancel(&client, &runs[0]).await.0, 409);

    let listed = client.all(&format!("{path}/runs?limit=2&order=asc")).await;
    let reached: Vec<_> = listed.iter().map(|run| run["state"].as_str().unwrap()).collect();
    assert_eq!(reached, ["cancelled", "completed", "cancelled", "completed", "completed"]);
    let events = client.past(&session).await;
    let said = events.iter().filter(|event| event["type"] == "agent_message_chunk");
    let said: Vec<_> =
        said.map(|event| event["data"]["content"]["text"].as_str().unwrap()).collect();
    assert_eq!(said, ["one", "three", "four"]);
    for run in &runs {
        assert_exactly_one_end(&events, run);
    }
    let asked = events.iter().filter(|event| event["type"] == "user_message_chunk");
    let asked: Vec<_> = asked.map(|event| event["runId"].as_str().unwrap()).collect();
    assert_eq!(asked, [&runs[0], &runs[1], &runs[3], &runs[4]].map(String::as_str));

    let idle = client.post(&format!("{path}/cancel"), Value::Null).await;
    assert_eq!(idle.is(409)["code"], "state_refused");
    let closed = client.post(&format!("{path}/close"), Value::Null).await.is(200);
    assert_eq!(closed["state"], "completed");
    assert_eq!(client.post(&format!("{path}/close"), Value::Null).await.is(200), closed);
    assert_eq!(client.get(&path).await.is(200), closed);
    let late = client.post(&format!("{path}/prompt"), json!({ "prompt": "more" })).await;
    assert_eq!(late.is(409)["code"], "state_refused");
    assert_eq!(client.past(&session).await.len(), events.len() + 1, "it reads as before");
    assert_eq!(client.get(&path).await.is(200)["lastSeq"], events.len() + 1);
}

#[tokio::test]
async fn a_full_line_takes_no_more_and_is_left_in_one_go() {
    let reeve = Reeve::start(Options::default()).await;
    let client = reeve.realm_with(json!({ "maxQueuedRuns": 2 })).await;
    let session = client.conversation().await;
    let path = format!("/v1/sessions/{session}");
    for prompt in ["!wait", "two", "three"] {
        client.prompt(&session, prompt).await;
    }
    let before = client.get(&path).await.is(200);
    let full = client.post(&format!("{path}/prompt"), json!({ "prompt": "four" })).await;
    assert_eq!(full.text("/code"), "queue_full");
    full.is(429);
    assert_eq!(client.all("/v1/runs?limit=9").await.len(), 3, "what was refused is not there");
    let after = client.get(&path).await.is(200);
    assert_eq!((&after["queuedRuns"], &after["activeRunId"]), (&json!(2), &before["activeRunId"]));

    // As many as a realm may have in line, which is more than one commit can hold.
    let client = reeve.realm_with(json!({ "maxQueuedRuns": 1000 })).await;
    let agent = client.agent().await;
    let session = client.session(&agent).await;
    client.prompt(&session, "!wait").await;
    for _ in 0..250 {
        client.prompt(&session, "more").await;
    }
    let pause = format!("/v1/agents/{agent}/pause");
    assert_eq!(client.post(&pause, json!({ "force": true })).await.is(200)["state"], "paused");
    let runs = client.all("/v1/runs?limit=100&order=asc").await;
    assert_eq!(runs.len(), 251);
    assert!(runs[1..].iter().all(|run| run["state"] == "cancelled"));
    client.ended(runs[0]["id"].as_str().unwrap()).await;
    client.delete(&format!("/v1/agents/{agent}")).await.is(204);
}

#[tokio::test]
async fn a_prompt_may_be_as_long_as_it_may_be() {
    let reeve = Reeve::start(Options::default()).await;
    let client = reeve.client();
    let prompts = ["x".repeat(100_000), "\u{1F600}".repeat(50_000), "\"\n".repeat(50_000)];
    join_all(prompts.into_iter().map(async |prompt| {
        let session = client.conversation().await;
        let path = format!("/v1/sessions/{session}/prompt");
        let run = client.post_once(&path, &session, json!({ "prompt": prompt })).await.unwrap();
        let ended = client.ended(&run.text("/id")).await;
        assert_eq!(ended["state"], "completed", "{} {}", ended["code"], ended["detail"]);
        assert_eq!(ended["prompt"], prompt);
    }))
    .await;
    let session = client.conversation().await;
    for long in ["x".repeat(100_001), "\u{1F600}".repeat(100_000)] {
        let path = format!("/v1/sessions/{session}/prompt");
        let refused = client.post(&path, json!({ "prompt": long })).await;
        assert_eq!(refused.is(400)["code"], "invalid_body");
    }
    let full: Value = (0..64).map(|n| (format!("A{n}"), json!("x".repeat(8192)))).collect();
    let heavy = json!({ "name": "heavy", "driver": "acp", "env": full });
    assert_eq!(client.post("/v1/agents", heavy.clone()).await.is(422)["code"], "invalid_value");
    assert_eq!(client.post("/v1/templates", heavy).await.is(422)["code"], "invalid_value");
}

#[tokio::test]
async fn a_container_that_is_lost_fails_every_run_in_it_once_and_the_waiting_ones_go_on() {
    let reeve = Reeve::start(Options::default()).await;
    let client = reeve.client();
    let agent = client.agent().await;
    let mut sessions = Vec::new();
    for _ in 0..CAPACITY {
        let session = client.session(&agent).await;
        let (lost, next) = ("!wait", "!say hello");
        let runs = (client.prompt(&session, lost).await, client.prompt(&session, next).await);
        sessions.push((session, runs));
    }
    for (_, (lost, _)) in &sessions {
        client.reaches(lost, "streaming").await;
    }
    // These wait in the container's line: no start of it has had them.
    let mut waiting = Vec::new();
    for _ in 0..20 {
        let session = client.session(&agent).await;
        waiting.push((client.prompt(&session, "!say hello").await, session));
    }
    let (generation, _) = container(&reeve, &agent);
    for pid in mentioning_container(&agent) {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
    for (session, (lost, next)) in &sessions {
        let lost = client.ended(lost).await;
        assert_eq!((&lost["state"], &lost["code"]), (&json!("failed"), &json!("container_lost")));
        assert_eq!(client.ended(next).await["state"], "completed");
        let events = client.past(session).await;
        assert_exactly_one_end(&events, lost["id"].as_str().unwrap());
        assert_exactly_one_end(&events, next);
    }
    for (run, session) in &waiting {
        assert_eq!(client.ended(run).await["state"], "completed");
        assert_exactly_one_end(&client.past(session).await, run);
    }
    assert_eq!(container(&reeve, &agent).0, generation + 1);
}

#[tokio::test]
async fn everybody_may_talk_with_one_agent_at_once() {
    let reeve = Reeve::start(Options::default()).await;
    let client = reeve.client();
    let agent = client.agent().await;
    let sessions = join_all((0..64).map(|_| client.session(&agent))).await;
    let said = join_all(sessions.iter().map(|session| client.ask(session, "!say hello"))).await;
    assert!(said.iter().all(|said| said == "hello"));
}
