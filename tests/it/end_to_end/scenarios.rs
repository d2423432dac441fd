//! The scenarios. Each makes a realm of its own and needs nothing but the API, and once or twice
//! to see or break what runs.

use serde_json::{Value, json};
use tests::given::is_over;
use tests::http::Client;
use tests::platform::Platform;

fn states(events: &[Value], run: &str) -> Vec<String> {
    let of_run = events.iter().filter(|e| e["type"] == "run_state" && e["runId"] == run);
    of_run.filter_map(|event| event["data"]["state"].as_str().map(str::to_owned)).collect()
}

#[track_caller]
fn without_a_gap(events: &[Value]) {
    let numbers: Vec<_> = events.iter().filter_map(|event| event["seq"].as_u64()).collect();
    let expected: Vec<u64> = (1..=u64::try_from(events.len()).unwrap()).collect();
    assert_eq!(numbers, expected);
}

async fn verb(client: &Client, agent: &str, verb: &str) -> Value {
    client.post(&format!("/v1/agents/{agent}/{verb}"), Value::Null).await.is(200)
}

pub(super) async fn a_key_opens_what_it_may_until_it_is_revoked(platform: &Platform) {
    let client = platform.realm(json!({})).await;
    let me = client.get("/v1/me").await.is(200);
    let new = json!({ "name": "reader", "scopes": ["agents:read", "keys:read"] });
    let made = client.post("/v1/keys", new).await;
    assert_eq!(made.status, 201, "{:#}", made.body);
    let reader = client.with_key(Some(&made.text("/apiKey")));
    assert_eq!(reader.get("/v1/me").await.is(200)["realm"], me["realm"]);
    reader.get("/v1/agents").await.is(200);
    let new = json!({ "name": "mine", "driver": "acp" });
    assert_eq!(reader.post("/v1/agents", new).await.is(403)["code"], "scope_missing");
    let listed = client.all("/v1/keys?limit=1").await;
    assert_eq!(listed.len(), 2);
    client.delete(&format!("/v1/keys/{}", made.text("/id"))).await.is(204);
    assert_eq!(reader.get("/v1/agents").await.is(401)["code"], "unauthenticated");
    assert_eq!(client.with_key(None).get("/v1/agents").await.is(401)["code"], "unauthenticated");
}

pub(super) async fn an_agent_answers_and_what_it_did_reads_back(platform: &Platform) {
    let client = platform.realm(json!({})).await;
    let agent = client.agent_with(json!({ "labels": { "team": "one" } })).await;
    assert_eq!(client.all("/v1/agents?label=team%3Done&limit=1").await[0]["id"], agent.as_str());
    let session = client.session(&agent).await;
    let script = "!think hm\n!tool look\n!plan\n!say well\n!usage 7 5";
    let run = client.prompt(&session, script).await;
    let ended = client.ended(&run).await;
    assert_eq!(ended["state"], "completed", "{ended:#}");
    assert_eq!(
        (&ended["usage"]["inputTokens"], &ended["stopReason"]),
        (&json!(7), &json!("end_turn"))
    );
    assert_eq!(client.said(&session, &run).await, "well");
    let past = client.past(&session).await;
    without_a_gap(&past);
    let kinds: Vec<_> = past.iter().filter_map(|event| event["type"].as_str()).collect();
    for kind in ["user_message_chunk", "agent_thought_chunk", "tool_call", "plan", "run_state"] {
        assert!(kinds.contains(&kind), "{kind} in {kinds:?}");
    }
    assert_eq!(states(&past, &run), ["queued", "dispatching", "streaming", "completed"]);
    // Page by page it is the same.
    let pages = client.all(&format!("/v1/sessions/{session}/events?limit=3")).await;
    assert_eq!(pages, past);
    let other = platform.realm(json!({})).await;
    for path in [format!("/v1/agents/{agent}"), format!("/v1/sessions/{session}/events")] {
        assert_eq!(other.get(&path).await.is(404)["code"], "not_found");
    }
}

pub(super) async fn events_arrive_while_they_happen_and_again_behind_any_of_them(
    platform: &Platform,
) {
    let client = platform.realm(json!({})).await;
    let session = client.conversation().await;
    let path = format!("/v1/sessions/{session}/events");
    let mut live = client.events(&path, None).await;
    let run = client.prompt(&session, "!events 12\n!say done").await;
    let mut seen = Vec::new();
    loop {
        let event = live.next().await.expect("the stream goes on");
        let over = is_over(&event) && event.data["runId"] == run.as_str();
        seen.extend(event.id.map(|_| event.data));
        if over {
            break;
        }
    }
    without_a_gap(&seen);
    let past = client.past(&session).await;
    assert_eq!(past[..seen.len()], seen, "what was seen is what is stored");
    let last = past.len() as u64;
    for after in [0, 1, last / 2, last - 1] {
        let mut again = client.events(&path, Some(after)).await;
        for expected in &past[usize::try_from(after).unwrap()..] {
            let event = again.next().await.expect("the past comes again");
            assert_eq!((event.id, &event.data), (expected["seq"].as_u64(), expected));
        }
    }
}

pub(super) async fn prompts_wait_for_each_other(platform: &Platform) {
    let client = platform.realm(json!({})).await;
    let session = client.conversation().await;
    let mut runs = Vec::new();
    for number in 1..=4 {
        runs.push(client.prompt(&session, &format!("!say {number}\n!count")).await);
    }
    for (at, run) in runs.iter().enumerate() {
        let ended = client.ended(run).await;
        assert_eq!(ended["state"], "completed", "{ended:#}");
        assert_eq!(client.said(&session, run).await, format!("{0}{0}", at + 1), "in order");
    }
    let past = client.past(&session).await;
    without_a_gap(&past);
    let dispatched: Vec<_> =
        past.iter().filter(|event| event["data"]["state"] == "dispatching").collect();
    let order: Vec<_> = dispatched.iter().filter_map(|event| event["runId"].as_str()).collect();
    assert_eq!(order, runs);
}

pub(super) async fn a_run_is_cancelled_in_the_middle(platform: &Platform) {
    let client = platform.realm(json!({})).await;
    let session = client.conversation().await;
    let run = client.prompt(&session, "!say so far\n!wait").await;
    let waiting = client.prompt(&session, "!say next").await;
    client.reaches(&run, "streaming").await;
    client.post(&format!("/v1/runs/{run}/cancel"), Value::Null).await.is(202);
    assert_eq!(client.ended(&run).await["state"], "cancelled");
    assert_eq!(client.ended(&waiting).await["state"], "completed", "who waited goes on");
    assert_eq!(client.said(&session, &waiting).await, "next");
}

pub(super) async fn a_run_waits_for_permission(platform: &Platform) {
    let client = platform.realm(json!({})).await;
    let agent = client.agent_with(json!({ "permissions": "ask" })).await;
    let session = client.session(&agent).await;
    let run = client.prompt(&session, "!permission").await;
    let asked = client.reaches(&run, "awaiting_approval").await["permissions"][0].clone();
    let chosen = &asked["options"][0]["optionId"];
    let answer = json!({ "requestId": asked["requestId"], "optionId": chosen });
    client.post(&format!("/v1/runs/{run}/answer"), answer).await.is(202);
    assert_eq!(client.ended(&run).await["state"], "completed");
    assert!(client.said(&session, &run).await.contains(chosen.as_str().unwrap()));
}

pub(super) async fn a_paused_agent_has_no_container_until_it_is_needed(platform: &Platform) {
    let client = platform.realm(json!({})).await;
    let agent = client.agent().await;
    let session = client.session(&agent).await;
    assert_eq!(client.ask(&session, "one").await, "one");
    assert!(platform.runs(&agent).await);
    assert_eq!(verb(&client, &agent, "pause").await["state"], "paused");
    platform.at_rest(&agent).await;
    client.get(&format!("/v1/agents/{agent}")).await.is(200);
    client.past(&session).await;
    assert_eq!(verb(&client, &agent, "resume").await["state"], "active");
    assert!(!platform.runs(&agent).await, "neither reading nor resuming starts anything");
    verb(&client, &agent, "pause").await;
    assert_eq!(client.ask(&session, "two").await, "two");
    assert_eq!(client.get(&format!("/v1/agents/{agent}")).await.is(200)["state"], "active");
    without_a_gap(&client.past(&session).await);
}

pub(super) async fn what_an_agent_leaves_is_there_in_its_next_container(platform: &Platform) {
    let client = platform.realm(json!({})).await;
    let agent = client.agent().await;
    let session = client.session(&agent).await;
    let leave = "!shell mkdir d && echo kept > d/file && echo mine > $HOME/.own && echo done";
    assert_eq!(client.ask(&session, leave).await.trim(), "done");
    // What is known of a run includes what it has left.
    let snapshots = format!("/v1/agents/{agent}/snapshots");
    tests::given::at_last("the run has a snapshot", async || {
        let all = client.all(&format!("{snapshots}?limit=9")).await;
        all.iter().any(|one| one["cause"] == "run" && one["files"] == 1)
    })
    .await;
    verb(&client, &agent, "pause").await;
    platform.at_rest(&agent).await;
    let found = client.ask(&session, "!shell cat d/file $HOME/.own").await;
    assert_eq!(found.trim(), "kept\nmine");
}

pub(super) async fn an_archived_agent_is_out_of_the_way_until_it_is_needed(platform: &Platform) {
    let client = platform.realm(json!({})).await;
    let agent = client.agent().await;
    let session = client.session(&agent).await;
    assert_eq!(client.ask(&session, "one").await, "one");
    assert_eq!(verb(&client, &agent, "archive").await["state"], "archived");
    platform.at_rest(&agent).await;
    assert_eq!(client.all("/v1/agents?state=active&limit=9").await, [Value::Null; 0]);
    assert_eq!(client.all("/v1/agents?state=archived&limit=9").await[0]["id"], agent.as_str());
    assert_eq!(verb(&client, &agent, "restore").await["state"], "active");
    verb(&client, &agent, "archive").await;
    assert_eq!(client.ask(&session, "two").await, "two");
}

pub(super) async fn an_idle_container_goes_by_itself(platform: &Platform) {
    let client = platform.realm(json!({ "idleSeconds": 10 })).await;
    let agent = client.agent().await;
    let session = client.session(&agent).await;
    assert_eq!(client.ask(&session, "one").await, "one");
    platform.at_rest(&agent).await;
    assert_eq!(client.get(&format!("/v1/agents/{agent}")).await.is(200)["state"], "active");
    assert_eq!(client.ask(&session, "two").await, "two");
}

pub(super) async fn a_lost_container_fails_its_run_and_the_next_one_works(platform: &Platform) {
    let client = platform.realm(json!({})).await;
    let agent = client.agent().await;
    let session = client.session(&agent).await;
    let run = client.prompt(&session, "!wait").await;
    client.reaches(&run, "streaming").await;
    platform.lose_container(&agent).await;
    let ended = client.ended(&run).await;
    assert_eq!((&ended["state"], &ended["code"]), (&json!("failed"), &json!("container_lost")));
    assert_eq!(client.ask(&session, "here again").await, "here again");
    without_a_gap(&client.past(&session).await);
}

pub(super) async fn a_deleted_agent_is_gone_with_all_it_had(platform: &Platform) {
    let client = platform.realm(json!({ "maxAgents": 1 })).await;
    let agent = client.agent().await;
    let session = client.session(&agent).await;
    let run = client.prompt(&session, "!wait").await;
    client.reaches(&run, "streaming").await;
    let new = json!({ "name": "two", "driver": "acp" });
    assert_eq!(client.post("/v1/agents", new.clone()).await.is(429)["code"], "quota_reached");
    client.delete(&format!("/v1/agents/{agent}")).await.is(204);
    client.get(&format!("/v1/agents/{agent}")).await.is(404);
    platform.at_rest(&agent).await;
    tests::given::at_last("its place is free", async || {
        client.post("/v1/agents", new.clone()).await.status == 201
    })
    .await;
    for path in [format!("/v1/sessions/{session}"), format!("/v1/runs/{run}")] {
        assert_eq!(client.get(&path).await.is(404)["code"], "not_found");
    }
}

pub(super) async fn the_same_request_has_one_answer(platform: &Platform) {
    let client = platform.realm(json!({})).await;
    let new = json!({ "name": "once", "driver": "acp" });
    let all = futures::future::join_all(
        (0..4).map(|_| client.post_once("/v1/agents", "one-and-only", new.clone())),
    );
    let answers: Vec<_> = all.await.into_iter().map(|reply| reply.unwrap().is(201)).collect();
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:#?}");
    assert_eq!(client.all("/v1/agents?limit=100").await.len(), 1);
    let other = json!({ "name": "another", "driver": "acp" });
    let reused = client.post_once("/v1/agents", "one-and-only", other).await.unwrap();
    assert_eq!(reused.is(422)["code"], "idempotency_key_reused");
}

pub(super) async fn a_long_prompt_arrives_whole(platform: &Platform) {
    let client = platform.realm(json!({})).await;
    let session = client.conversation().await;
    // More bytes than one message of a managed WebSocket may have.
    let text = "größer ".repeat(14_000);
    let said = client.ask(&session, &format!("!write long {text}\n!shell wc -c < long")).await;
    assert!(said.contains(&text.trim_end().len().to_string()), "{said}");
}

pub(super) async fn opencode_works_with_its_tools(platform: &Platform) {
    // The agent as the images' README has it.
    let readme = include_str!("../../../infra/aws/images/README.md");
    let (_, behind) = readme.split_once("```json\n").unwrap();
    let agent = serde_json::from_str(behind.split_once("```").unwrap().0).unwrap();
    let client = platform.realm(json!({})).await;
    let agent = client.made("/v1/agents", agent).await;
    let session = client.session(&agent).await;
    let run = client.prompt(&session, "Explore /workspace").await;
    let ended = client.ended(&run).await;
    assert_eq!(ended["state"], "completed", "{ended:#}");
    let past = client.past(&session).await;
    without_a_gap(&past);
    let calls = past.iter().filter(|event| event["type"] == "tool_call").count();
    assert!(calls > 2, "{calls} tool calls");
    // It goes on where it was.
    let next = client.prompt(&session, "Explore /workspace").await;
    assert_eq!(client.ended(&next).await["state"], "completed");
}
