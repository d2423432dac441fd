//! The story: prompts on a fresh agent, a queue, cancels, a kill, a lost container, a pause, a stop,
//! a close, a delete; and how it must end.

use std::path::Path;

use reqwest::Method;
use serde_json::{Value, json};

use super::driver::{Driver, inside, kill};

fn is_over(run: &Value) -> bool {
    matches!(run["state"].as_str(), Some("completed" | "cancelled" | "failed"))
}

struct Run {
    id: String,
    path: String,
}

async fn prompt(driver: &mut Driver, session: &str, text: &str) -> Run {
    let path = format!("/v1/sessions/{session}/prompt");
    let id =
        driver.post(&path, json!({ "prompt": text }), 202).await["id"].as_str().unwrap().to_owned();
    Run { path: format!("/v1/runs/{id}"), id }
}

async fn streams(driver: &mut Driver, run: &Run) {
    driver.until(&run.path, |run| run["state"] == "streaming").await;
}

async fn ends(driver: &mut Driver, run: &Run, state: &str) -> Value {
    let ended = driver.until(&run.path, is_over).await;
    assert_eq!(ended["state"], state, "{ended} {}", driver.context());
    ended
}

fn empty(dir: &Path) -> bool {
    std::fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_none())
}

pub(super) async fn tell(driver: &mut Driver) {
    driver.start().await;
    let agent = driver.post("/v1/agents", json!({ "name": "a", "driver": "acp" }), 201).await;
    let agent = agent["id"].as_str().unwrap().to_owned();
    let mut sessions = Vec::new();
    for _ in 0..2 {
        let made = driver.post("/v1/sessions", json!({ "agentId": agent }), 201).await;
        sessions.push(made["id"].as_str().unwrap().to_owned());
    }
    let (first, second) = (&sessions[0], &sessions[1]);

    // A fresh agent, and a line behind it.
    let many = prompt(driver, first, "!events 30\n!say one").await;
    let two = prompt(driver, first, "!say two").await;
    let waits = prompt(driver, first, "!wait").await;
    let queued = prompt(driver, first, "!say never").await;
    driver.post(&format!("{}/cancel", queued.path), Value::Null, 202).await;
    ends(driver, &queued, "cancelled").await;
    ends(driver, &many, "completed").await;
    ends(driver, &two, "completed").await;

    // The power fails, and what runs goes on.
    streams(driver, &waits).await;
    driver.kill9().await;
    driver.post(&format!("{}/cancel", waits.path), Value::Null, 202).await;
    ends(driver, &waits, "cancelled").await;

    // A container is lost.
    let lost = prompt(driver, second, "!wait").await;
    streams(driver, &lost).await;
    inside(driver.data(), "/reeve/shim\0--boot").into_iter().for_each(kill);
    let ended = ends(driver, &lost, "failed").await;
    assert_eq!(ended["code"], "container_lost", "{ended} {}", driver.context());
    let six = prompt(driver, second, "!say six").await;
    ends(driver, &six, "completed").await;

    // A pause, and what wakes it.
    driver.post(&format!("/v1/agents/{agent}/pause"), Value::Null, 200).await;
    let seven = prompt(driver, first, "!say seven").await;
    ends(driver, &seven, "completed").await;

    // A stop, in the middle.
    let stopped = prompt(driver, first, "!wait").await;
    let nine = prompt(driver, first, "!say nine").await;
    streams(driver, &stopped).await;
    let whole = driver.is_whole();
    driver.stop_and_start().await;
    if whole && driver.is_whole() {
        let ended = ends(driver, &stopped, "failed").await;
        assert_eq!(ended["code"], "interrupted", "{ended} {}", driver.context());
    } else {
        // It may have died before it had stopped anything: then the run goes on, until it is told.
        driver.ask(Method::POST, &format!("{}/cancel", stopped.path), Value::Null).await;
        driver.until(&stopped.path, is_over).await;
    }
    ends(driver, &nine, "completed").await;
    driver.post(&format!("/v1/sessions/{second}/close"), Value::Null, 200).await;

    let said = [(&many, "one"), (&two, "two"), (&nine, "nine"), (&seven, "seven")];
    check(driver, first, &said, &many).await;
    check(driver, second, &[(&six, "six")], &many).await;

    // Everything goes.
    let gone = driver.ask(Method::DELETE, &format!("/v1/agents/{agent}"), Value::Null).await;
    assert_eq!(gone.status, 204, "{} {}", gone.body, driver.context());
    driver
        .wait("nothing is left on disk", |data| {
            empty(&data.join("agents")) && empty(&data.join("containers"))
        })
        .await;
    driver
        .wait("nothing is left running", |data| {
            inside(data, "/reeve/shim").is_empty()
                && inside(data, "/proc/self/exe\0sandbox").is_empty()
        })
        .await;
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(driver.data().to_str().unwrap()), "{mounts}");
    audit(driver).await;
    driver.stop().await;
}

/// What was told of a session: without a gap, each once, and what agents said, whole.
async fn check(driver: &mut Driver, session: &str, said: &[(&Run, &str)], many: &Run) {
    let path = format!("/v1/sessions/{session}/events?limit=1000");
    let events = driver.read(&path).await["items"].as_array().unwrap().clone();
    let numbers: Vec<u64> = events.iter().map(|event| event["seq"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (1..=events.len() as u64).collect::<Vec<_>>(), "{}", driver.context());
    let of = |run: &str, kind: &str| -> Vec<Value> {
        let of = events.iter().filter(|event| event["runId"] == run && event["type"] == kind);
        of.map(|event| event["data"].clone()).collect()
    };
    let runs: std::collections::BTreeSet<&str> =
        events.iter().filter_map(|event| event["runId"].as_str()).collect();
    for run in runs {
        let over = of(run, "run_state").into_iter().filter(is_over).count();
        assert_eq!(over, 1, "{run} ended {over} times: {events:?} {}", driver.context());
        // What never left the line was never told as said.
        assert!(of(run, "user_message_chunk").len() <= 1, "{run}: {events:?}");
    }
    for (run, text) in said {
        let told: String = of(&run.id, "agent_message_chunk")
            .iter()
            .map(|data| data["content"]["text"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(told, *text, "{events:?} {}", driver.context());
        if run.id == many.id {
            let calls = of(&run.id, "tool_call");
            let expected: Vec<String> = (0..30).map(|n| format!("call-{n}")).collect();
            let called: Vec<&str> =
                calls.iter().map(|call| call["toolCallId"].as_str().unwrap()).collect();
            assert_eq!(called, expected, "{}", driver.context());
        }
    }
}

/// What was asked for happened once, however often it was asked.
async fn audit(driver: &mut Driver) {
    let entries = driver.read("/v1/audit?limit=100").await["items"].as_array().unwrap().clone();
    let count = |action: &str| entries.iter().filter(|entry| entry["action"] == action).count();
    let expected = [
        ("agent.create", 1),
        ("session.create", 2),
        ("session.prompt", 9),
        ("agent.pause", 1),
        ("session.close", 1),
        ("agent.delete", 1),
    ];
    for (action, times) in expected {
        assert_eq!(count(action), times, "{action}: {entries:?} {}", driver.context());
    }
    assert!((2..=3).contains(&count("session.cancel")), "{entries:?}");
}
