//! What runs in a container dies, hangs, or is cut off.

use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tests::given::at_last;
use tests::http::Client;
use tests::reeve::{Options, Reeve};
use tokio::time::Instant;

use super::sound;
use crate::sweep::driver::{inside, kill};

/// The first words of what runs in a container.
const SHIM: &str = "/reeve/shim\0--boot";
const AGENT: &str = "shim\0agent";
const SUPERVISOR: &str = "/proc/self/exe\0sandbox\0/";

/// How long the end of a container may take to be told.
const PROMPTLY: Duration = Duration::from_secs(5);

fn one(reeve: &Reeve, begins: &str) -> Pid {
    let found = inside(reeve.data(), begins);
    assert_eq!(found.len(), 1, "{begins}: {found:?}");
    found[0]
}

/// A session with a run that waits, and one in line.
async fn waiting(client: &Client) -> (String, String, String) {
    let session = client.conversation().await;
    let waits = client.prompt(&session, "!say before\n!wait").await;
    let next = client.prompt(&session, "!say next").await;
    client.reaches(&waits, "streaming").await;
    (session, waits, next)
}

/// The container of that prefix is killed; the run fails promptly and the next one has another.
async fn lost(begins: &str) {
    let mut reeve = Reeve::start(Options::default()).await;
    let client = reeve.client();
    let (session, waits, next) = waiting(&client).await;
    let before = one(&reeve, SHIM);
    let since = Instant::now();
    kill(one(&reeve, begins));
    let failed = client.ended(&waits).await;
    assert!(since.elapsed() < PROMPTLY, "{:?}", since.elapsed());
    assert_eq!((&failed["state"], &failed["code"]), (&"failed".into(), &"container_lost".into()));
    assert_eq!(client.ended(&next).await["state"], "completed");
    assert_eq!(client.said(&session, &next).await, "next");
    assert_ne!(one(&reeve, SHIM), before, "it runs in another container");
    sound(&client, &session).await;
    reeve.stop().await;
}

#[tokio::test]
async fn a_killed_shim_fails_its_run_and_the_next_one_has_a_new_container() {
    lost(SHIM).await;
}

#[tokio::test]
async fn a_killed_supervisor_takes_its_container_along() {
    lost(SUPERVISOR).await;
}

#[tokio::test]
async fn a_killed_agent_fails_its_run_and_the_next_one_has_a_new_agent() {
    let mut reeve = Reeve::start(Options::default()).await;
    let client = reeve.client();
    let (session, waits, next) = waiting(&client).await;
    let shim = one(&reeve, SHIM);
    kill(one(&reeve, AGENT));
    let failed = client.ended(&waits).await;
    assert_eq!((&failed["state"], &failed["code"]), (&"failed".into(), &"agent_exited".into()));
    assert_eq!(client.ended(&next).await["state"], "completed");
    assert_eq!(one(&reeve, SHIM), shim, "the container is the same");
    sound(&client, &session).await;
    reeve.stop().await;
}

#[tokio::test]
async fn a_shim_that_hangs_is_given_up_and_its_container_replaced() {
    let mut reeve = Reeve::start(Options::default()).await;
    let client = reeve.client();
    let (session, waits, next) = waiting(&client).await;
    let hung = one(&reeve, SHIM);
    kill_process(hung, Signal::STOP).unwrap();
    // It was heard of a moment ago: no silence is noticed before twenty seconds are over.
    let since = Instant::now();
    let mut beats = tokio::time::interval(Duration::from_millis(200));
    while client.get(&format!("/v1/runs/{waits}")).await.text("/state") == "streaming" {
        assert!(since.elapsed() < Duration::from_secs(45), "nobody notices: {}", reeve.log());
        beats.tick().await;
    }
    let failed = client.ended(&waits).await;
    assert_eq!((&failed["state"], &failed["code"]), (&"failed".into(), &"container_lost".into()));
    assert_eq!(client.ended(&next).await["state"], "completed");
    assert_ne!(one(&reeve, SHIM), hung);
    sound(&client, &session).await;
    reeve.stop().await;
}

#[tokio::test]
async fn a_run_outlives_its_control_plane_and_nothing_it_says_is_lost() {
    const EVENTS: usize = 3000;
    let mut reeve = Reeve::start(Options::default()).await;
    let session = reeve.client().conversation().await;
    let run = reeve.client().prompt(&session, &format!("!rate {EVENTS} 1000")).await;
    reeve.client().reaches(&run, "streaming").await;
    let shim = one(&reeve, SHIM);
    for _ in 0..3 {
        let seen = reeve.client().past(&session).await.len();
        let client = reeve.client();
        at_last("it says more", async || client.past(&session).await.len() > seen + 200).await;
        reeve.kill9();
        reeve.restart(Options::default()).await;
    }
    let client = reeve.client();
    assert_eq!(client.ended(&run).await["state"], "completed");
    assert_eq!(one(&reeve, SHIM), shim, "it was never replaced");
    let events = sound(&client, &session).await;
    let calls: Vec<&str> = events
        .iter()
        .filter(|event| event["type"] == "tool_call")
        .map(|event| event["data"]["toolCallId"].as_str().unwrap())
        .collect();
    let expected: Vec<String> = (0..EVENTS).map(|n| format!("call-{n}")).collect();
    assert_eq!(calls, expected, "each once, in order");
    assert_eq!(client.ask(&session, "!count").await, "2", "the agent still knows the conversation");
    reeve.stop().await;
}
