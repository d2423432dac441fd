//! Sessions that go on from where another is.

use futures::future::{join, join_all};
use serde_json::{Value, json};
use tests::given::at_last;
use tests::http::Client;
use tests::models::Models;
use tests::reeve::{Options, Reeve};

/// A fork of the session; its id.
async fn fork(client: &Client, session: &str) -> String {
    client.made(&format!("/v1/sessions/{session}/fork"), json!({})).await
}

/// The words that the echo agent has heard in a session.
async fn heard(client: &Client, session: &str) -> String {
    client.ask(session, "!heard").await
}

async fn shown(client: &Client, session: &str) -> Value {
    client.get(&format!("/v1/sessions/{session}")).await.is(200)
}

#[tokio::test]
async fn both_sides_go_on_and_know_nothing_of_each_other() {
    let reeve = Reeve::start(Options::default()).await;
    let client = reeve.client();
    let agent = client.agent().await;
    let setup = json!({ "metadata": { "team": "one" }, "workingDir": "." });
    let new = json!({ "agentId": agent, "title": "First", "session": setup });
    let source = client.made("/v1/sessions", new).await;
    client.ask(&source, "apple").await;
    assert_eq!(shown(&client, &source).await["offers"]["fork"], true);

    let path = format!("/v1/sessions/{source}:fork");
    let made = client.post(&path, json!({ "title": "Second" })).await.is(201);
    let copy = made["id"].as_str().unwrap();
    assert_ne!(copy, source);
    let told = ["title", "state", "forkedFrom", "agentId", "lastSeq"].map(|field| &made[field]);
    let expected = json!(["Second", "active", source, agent, 0]);
    assert_eq!(json!(told), expected);
    assert_eq!(made["setup"], shown(&client, &source).await["setup"]);

    client.ask(copy, "banana").await;
    client.ask(&source, "cherry").await;
    assert_eq!(heard(&client, copy).await, "apple, banana");
    assert_eq!(heard(&client, &source).await, "apple, cherry");
    let again = fork(&client, copy).await;
    assert_eq!(shown(&client, &again).await["title"], "Second");
    client.ask(copy, "damson").await;
    assert_eq!(heard(&client, &again).await, "apple, banana");
    // Another process takes all of them up.
    client.post(&format!("/v1/agents/{agent}/pause"), json!({})).await.is(200);
    assert_eq!(heard(&client, &source).await, "apple, cherry");
    assert_eq!(heard(&client, copy).await, "apple, banana, damson");
    assert_eq!(heard(&client, &again).await, "apple, banana");
    let past = client.past(&again).await;
    assert_eq!(past[0]["seq"], 1);
    assert!(past.iter().all(|event| event["type"] != "conversation_lost"));
}

#[tokio::test]
async fn a_fork_is_of_what_was_said_when_it_was_asked_for() {
    let reeve = Reeve::start(Options::default()).await;
    let client = reeve.client();
    let agent = client.agent().await;
    let source = client.session(&agent).await;
    client.ask(&source, "apple").await;
    let copy = fork(&client, &source).await;
    let copy_of_copy = fork(&client, &copy).await;
    client.ask(&source, "cherry").await;
    let later = fork(&client, &source).await;
    client.ask(&source, "damson").await;
    // One is taken up in the process that made the copy, the others in another.
    assert_eq!(heard(&client, &copy).await, "apple");
    client.post(&format!("/v1/agents/{agent}/pause"), json!({})).await.is(200);
    assert_eq!(heard(&client, &copy_of_copy).await, "apple");
    assert_eq!(heard(&client, &later).await, "apple, cherry");
    assert_eq!(heard(&client, &source).await, "apple, cherry, damson");
}

#[tokio::test]
async fn a_fork_is_exact_also_where_both_are_prompted_at_once() {
    let reeve = Reeve::start(Options::default()).await;
    let client = reeve.client();
    let source = client.conversation().await;
    let mut said = vec!["0".to_owned()];
    client.ask(&source, "0").await;
    for n in 1..8 {
        let copy = fork(&client, &source).await;
        let next = n.to_string();
        let (_, known) = join(client.ask(&source, &next), heard(&client, &copy)).await;
        assert_eq!(known, said.join(", "));
        said.push(next);
    }
    assert_eq!(heard(&client, &source).await, said.join(", "));
}

#[tokio::test]
async fn a_fork_outlives_a_kill_before_its_first_prompt() {
    let mut reeve = Reeve::start(Options::default()).await;
    let client = reeve.client();
    let source = client.conversation().await;
    client.ask(&source, "apple").await;
    let (before, after) = (fork(&client, &source).await, fork(&client, &source).await);
    reeve.kill9();
    reeve.restart(Options::default()).await;
    let client = reeve.client();
    assert_eq!(heard(&client, &before).await, "apple");
    client.ask(&source, "cherry").await;
    reeve.kill9();
    reeve.restart(Options::default()).await;
    let client = reeve.client();
    assert_eq!(heard(&client, &after).await, "apple");
    assert_eq!(heard(&client, &source).await, "apple, cherry");
}

#[tokio::test]
async fn a_fork_of_what_has_said_nothing_is_a_fresh_session() {
    let reeve = Reeve::start(Options::default()).await;
    let client = reeve.client();
    let agent = client.agent_with(json!({ "env": { "ECHO_CAPABILITIES": "no fork" } })).await;
    let source = client.session(&agent).await;
    let fresh = fork(&client, &source).await;
    client.ask(&source, "apple").await;
    client.ask(&fresh, "banana").await;
    assert_eq!(heard(&client, &fresh).await, "banana");
}

#[tokio::test]
async fn what_cannot_be_forked_is_refused_and_nothing_has_changed() {
    let reeve = Reeve::start(Options::default()).await;
    let client = reeve.client();
    let source = client.conversation().await;
    let path = format!("/v1/sessions/{source}/fork");
    let run = client.prompt(&source, "!wait").await;
    client.reaches(&run, "streaming").await;
    let refused = client.post(&path, json!({})).await.is(409);
    assert_eq!(refused["code"], "state_refused");
    client.post(&format!("/v1/runs/{run}/cancel"), json!({})).await.is(202);
    client.ended(&run).await;

    let theirs = reeve.realm().await;
    theirs.post(&path, json!({})).await.is(404);
    client.post(&path, json!({ "title": 7 })).await.is(400);

    let mut forks = Vec::new();
    for _ in 0..16 {
        forks.push(fork(&client, &source).await);
    }
    let before = client.all("/v1/sessions?limit=100").await.len();
    assert_eq!(client.post(&path, json!({})).await.is(429)["code"], "quota_reached");
    // One of a fork is one of the same conversation.
    let other = format!("/v1/sessions/{}/fork", forks[0]);
    assert_eq!(client.post(&other, json!({})).await.is(429)["code"], "quota_reached");
    assert_eq!(client.all("/v1/sessions?limit=100").await.len(), before);
    client.post(&format!("/v1/sessions/{}/close", forks[0]), json!({})).await.is(200);
    client.ask(&forks[1], "on").await;
    fork(&client, &source).await;
    fork(&client, &source).await;
    client.post(&path, json!({})).await.is(429);

    client.post(&format!("/v1/sessions/{source}/close"), json!({})).await.is(200);
    assert_eq!(client.post(&path, json!({})).await.is(409)["code"], "state_refused");
    client.ask(&forks[2], "on").await;

    let agent = client.agent_with(json!({ "env": { "ECHO_CAPABILITIES": "no fork" } })).await;
    let source = client.session(&agent).await;
    client.ask(&source, "apple").await;
    assert_eq!(shown(&client, &source).await["offers"]["fork"], false);
    let before = client.all("/v1/sessions?limit=100").await.len();
    let refused = client.post(&format!("/v1/sessions/{source}/fork"), json!({})).await.is(409);
    assert_eq!(refused["code"], "fork_unsupported");
    assert_eq!(client.all("/v1/sessions?limit=100").await.len(), before);
}

#[tokio::test]
async fn where_the_agent_makes_no_copy_the_run_fails_and_begins_nothing() {
    let reeve = Reeve::start(Options::default()).await;
    let client = reeve.client();
    let scripts = json!({ "session/fork": "!error -32603 no room" }).to_string();
    let agent = client.agent_with(json!({ "env": { "ECHO_SCRIPTS": scripts } })).await;
    let source = client.session(&agent).await;
    client.ask(&source, "apple").await;
    let copy = fork(&client, &source).await;
    for _ in 0..2 {
        let run = client.prompt(&copy, "!heard").await;
        let ended = client.ended(&run).await;
        assert_eq!((&ended["code"], &ended["detail"]), (&json!("fork_failed"), &json!("no room")));
        // It goes on without the copy, which can never be made now.
        client.ask(&source, "cherry").await;
    }
    assert_eq!(heard(&client, &source).await, "apple, cherry, cherry");
}

#[tokio::test]
async fn a_closed_session_is_let_go_of_and_nobody_is_woken() {
    let reeve = Reeve::start(Options::default()).await;
    let client = reeve.client();
    let agent = client.agent().await;
    let close = async |session: &str| {
        client.post(&format!("/v1/sessions/{session}/close"), json!({})).await.is(200);
    };
    let watcher = client.session(&agent).await;
    assert_eq!(client.ask(&watcher, "!open").await, "1");
    let sessions = join_all((0..40).map(async |n| {
        let session = client.session(&agent).await;
        assert_eq!(client.ask(&session, &n.to_string()).await, n.to_string());
        session
    }))
    .await;
    assert_eq!(client.ask(&watcher, "!open").await, "41");
    // Two copies that have been made, one of them for a session that has begun.
    let (begun, unbegun) = (fork(&client, &watcher).await, fork(&client, &watcher).await);
    assert_eq!(client.ask(&watcher, "!open").await, "43");
    client.ask(&begun, "hello").await;
    join_all(sessions.iter().chain([&begun, &unbegun]).map(|session| close(session))).await;
    at_last("they are let go of", async || client.ask(&watcher, "!open").await == "1").await;

    client.post(&format!("/v1/agents/{agent}/pause"), json!({})).await.is(200);
    let path = format!("/v1/containers/{}", agent.replace("agt_", "ctr_"));
    let state = async || client.get(&path).await.is(200)["container"]["state"].clone();
    at_last("it sleeps", async || state().await == "stopped").await;
    close(&watcher).await;
    let next = client.session(&client.agent().await).await;
    client.ask(&next, "later").await;
    assert_eq!(state().await, "stopped");
}

#[tokio::test]
async fn a_program_is_told_which_session_it_goes_on_from() {
    let reeve = Reeve::start(Options::default()).await;
    let client = reeve.client();
    let command = ["/bin/sh", "-c", "echo \"$REEVE_SESSION_ID after ${REEVE_FORKED_FROM:-none}\""];
    let agent = client.agent_with(json!({ "driver": "process", "command": command })).await;
    let source = client.session(&agent).await;
    let said = client.ask(&source, "hello").await;
    assert_eq!(said.trim(), format!("{source} after none"));
    let copy = fork(&client, &source).await;
    let said = client.ask(&copy, "hello").await;
    assert_eq!(said.trim(), format!("{copy} after {source}"));
}

#[tokio::test]
async fn the_model_of_our_own_loop_sees_what_was_said_before() {
    let models = Models::start().await;
    let options = Options::default()
        .env("ANTHROPIC_BASE_URL", &models.url)
        .env("ANTHROPIC_API_KEY", "sk-test-never-inside");
    let reeve = Reeve::start(options).await;
    let client = reeve.client();
    let agent = client.agent_with(json!({ "driver": "vanilla", "model": "some/model" })).await;
    let source = client.session(&agent).await;
    let says = async |session: &str, text: &str| client.ask(session, text).await;
    assert!(says(&source, "please say one").await.ends_with("1: please say one"));
    let copy = fork(&client, &source).await;
    assert!(says(&source, "please say two").await.ends_with("2: please say two"));
    assert!(says(&source, "please say three").await.ends_with("3: please say three"));
    assert!(says(&copy, "please say four").await.ends_with("2: please say four"));
}
