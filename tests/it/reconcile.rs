//! What becomes of containers that nobody ended: they live on, are started again, have a clear end, or are
//! removed; and what it costs to see to all of them. What is decided is in `domain::reconcile`.

mod fleet;

use std::fs;
use std::path::{Path, PathBuf};

use rustix::process::Pid;
use serde_json::{Value, json};
use tests::given::at_last;
use tests::http::Client;
use tests::reeve::{Options, Reeve, mentioning};

use crate::sweep::driver::{inside, kill};

/// The first words of what runs in a container.
const SHIM: &str = "/reeve/shim\0--boot";

async fn container(client: &Client, agent: &str) -> Value {
    let path = format!("/v1/containers/{}", agent.replace("agt_", "ctr_"));
    client.get(&path).await.is(200)["container"].clone()
}

/// The shim that runs, once there is one other than `before`.
async fn another(reeve: &Reeve, before: Option<Pid>) -> Pid {
    let found = || inside(reeve.data(), SHIM).into_iter().find(|pid| Some(*pid) != before);
    at_last("a container runs", async || found().is_some()).await;
    found().expect("there is one")
}

#[tokio::test]
async fn what_runs_for_nobody_is_removed_when_reeve_starts() {
    let mut reeve = Reeve::start(Options::default()).await;
    let client = reeve.client();
    let agent = client.agent().await;
    let session = client.session(&agent).await;
    let run = client.prompt(&session, "!wait").await;
    client.reaches(&run, "streaming").await;
    reeve.kill9();
    let ulid = PathBuf::from(agent.trim_start_matches("agt_"));
    assert!(!mentioning(&ulid).is_empty(), "it outlives the one that started it");
    // Another table: what runs is of an installation that is no more.
    for file in ["reeve.db", "reeve.db-wal", "reeve.db-shm"] {
        drop(fs::remove_file(reeve.data().join(file)));
    }
    reeve.restart(Options::default()).await;
    assert_eq!(mentioning(&ulid), [], "nothing of it is left when reeve is ready");
    assert_eq!(reeve.client().get(&format!("/v1/agents/{agent}")).await.status, 404);
    reeve.stop().await;
}

#[tokio::test]
async fn what_died_while_nobody_looked_is_started_again_for_who_waits() {
    let mut reeve = Reeve::start(Options::default()).await;
    let client = reeve.client();
    let agent = client.agent().await;
    let session = client.session(&agent).await;
    let waits = client.prompt(&session, "!wait").await;
    let next = client.prompt(&session, "!say next").await;
    client.reaches(&waits, "streaming").await;
    let shim = another(&reeve, None).await;
    reeve.kill9();
    kill(shim);
    reeve.restart(Options::default()).await;
    let client = reeve.client();
    assert_eq!(client.ended(&waits).await["code"], "container_lost");
    assert_eq!(client.ended(&next).await["state"], "completed");
    let shown = container(&client, &agent).await;
    assert_eq!(
        (&shown["starts"], &shown["tries"], &shown["code"]),
        (&json!(2), &json!(0), &Value::Null),
        "a run has ended well in it: {shown:#}"
    );
    reeve.stop().await;
}

#[tokio::test]
async fn an_idle_container_that_dies_was_not_needed() {
    let mut reeve = Reeve::start(Options::default()).await;
    let client = reeve.client();
    let agent = client.agent().await;
    let session = client.session(&agent).await;
    assert_eq!(client.ask(&session, "!say one").await, "one");
    kill(another(&reeve, None).await);
    let failed = async || container(&client, &agent).await["state"] == "failed";
    at_last("somebody notices", failed).await;
    let shown = container(&client, &agent).await;
    assert_eq!(shown["detail"], "the container ended while nothing ran in it");
    assert_eq!(client.ask(&session, "!say two").await, "two");
    reeve.stop().await;
}

#[tokio::test]
async fn what_dies_again_and_again_has_a_clear_end_and_a_prompt_starts_anew() {
    let mut reeve = Reeve::start(Options::default()).await;
    let client = reeve.client();
    let agent = client.agent().await;
    let session = client.session(&agent).await;
    let mut runs = Vec::new();
    for _ in 0..6 {
        runs.push(client.prompt(&session, "!wait").await);
    }
    let mut shim = None;
    for run in &runs[..4] {
        client.reaches(run, "streaming").await;
        let next = another(&reeve, shim).await;
        kill(next);
        shim = Some(next);
        assert_eq!(client.ended(run).await["code"], "container_lost");
    }
    // Those behind it do not try their luck, too.
    for run in &runs[4..] {
        let ended = client.ended(run).await;
        assert_eq!(ended["code"], "container_unavailable", "{ended:#}");
        assert!(ended["detail"].as_str().unwrap().contains("3 times"), "{ended:#}");
    }
    let shown = container(&client, &agent).await;
    assert_eq!(
        (&shown["state"], &shown["code"], &shown["starts"], &shown["tries"]),
        (&json!("failed"), &json!("container_lost"), &json!(4), &json!(3)),
        "{shown:#}"
    );
    assert!(shown["detail"].as_str().unwrap().contains("3 times"), "{shown:#}");
    assert_eq!(shown["retryAt"], Value::Null);
    let told = async || {
        let past = client.past(&session).await;
        past.into_iter().filter(|event| event["type"] == "container_state").collect::<Vec<_>>()
    };
    at_last("it is told", async || !told().await.is_empty()).await;
    let told = told().await;
    assert_eq!(told.len(), 1, "{told:#?}");
    assert_eq!(
        (&told[0]["data"]["state"], &told[0]["data"]["code"], &told[0]["data"]["containerId"]),
        (&json!("failed"), &json!("container_lost"), &shown["id"])
    );
    assert_eq!(client.ask(&session, "!say well again").await, "well again");
    let shown = container(&client, &agent).await;
    assert_eq!((&shown["starts"], &shown["tries"]), (&json!(5), &json!(0)), "{shown:#}");
    reeve.stop().await;
}

/// Where the program is that containers start with, and where it is out of the way.
fn hidden(data: &Path) -> (PathBuf, PathBuf) {
    (data.join("bin"), data.join("out of the way"))
}

#[tokio::test]
async fn a_start_that_fails_is_tried_again_and_the_prompt_is_not_lost() {
    let mut reeve = Reeve::start(Options::default()).await;
    let client = reeve.client();
    let agent = client.agent().await;
    let session = client.session(&agent).await;
    let (there, away) = hidden(reeve.data());
    fs::rename(&there, &away).unwrap();
    let run = client.prompt(&session, "!say at last").await;
    let again = async || container(&client, &agent).await["starts"].as_u64() >= Some(2);
    at_last("it is started again", again).await;
    fs::rename(&away, &there).unwrap();
    let ended = client.ended(&run).await;
    assert_eq!(ended["state"], "completed", "{ended:#}");
    assert_eq!(client.said(&session, &run).await, "at last");
    let shown = container(&client, &agent).await;
    assert_eq!((&shown["tries"], &shown["state"]), (&json!(0), &json!("idle")), "{shown:#}");
    reeve.stop().await;
}

#[tokio::test]
async fn a_start_that_always_fails_is_given_up_after_three_more() {
    let mut reeve = Reeve::start(Options::default()).await;
    let client = reeve.client();
    let agent = client.agent().await;
    let session = client.session(&agent).await;
    let (there, away) = hidden(reeve.data());
    fs::rename(&there, &away).unwrap();
    let runs = [client.prompt(&session, "one").await, client.prompt(&session, "two").await];
    for run in &runs {
        let ended = client.ended(run).await;
        assert_eq!(
            (&ended["state"], &ended["code"]),
            (&json!("failed"), &json!("container_unavailable")),
            "{ended:#}"
        );
    }
    let shown = container(&client, &agent).await;
    assert_eq!(
        (&shown["state"], &shown["code"], &shown["starts"]),
        (&json!("failed"), &json!("container_unavailable"), &json!(4)),
        "{shown:#}"
    );
    fs::rename(&away, &there).unwrap();
    assert_eq!(client.ask(&session, "!say it works").await, "it works");
    reeve.stop().await;
}
