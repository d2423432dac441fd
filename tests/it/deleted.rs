//! Sessions that are deleted: from then on there is none, whatever was going on in it, and nothing of it is
//! left.

use std::fs;

use serde_json::{Value, json};
use tests::given::at_last;
use tests::http::Client;
use tests::reeve::{Options, Reeve};

use crate::{lifecycle, stored};

fn path(session: &str) -> String {
    format!("/v1/sessions/{session}")
}

/// Waits until neither the session nor a run or an event of it is stored.
async fn gone(reeve: &Reeve, session: &str, runs: &[String]) {
    let left = || {
        let of = |id: &str| stored::document(reeve, id).is_some();
        of(session) || runs.iter().any(|run| of(run)) || !stored::events(reeve, session).is_empty()
    };
    at_last("nothing of it is stored", async || !left()).await;
}

/// How many conversations the agent keeps.
fn kept(reeve: &Reeve, agent: &str) -> usize {
    let sessions = reeve.data().join("agents").join(agent).join("home/.reeve/sessions");
    fs::read_dir(sessions).map_or(0, Iterator::count)
}

/// Whatever may be asked of a session is asked of none.
async fn is_none(client: &Client, session: &str) {
    let path = path(session);
    for read in ["", "/events", "/events?after=1", "/runs"] {
        let reply = client.get(&format!("{path}{read}")).await;
        assert_eq!(reply.is(404)["code"], "not_found", "{read}");
    }
    for (verb, body) in [
        ("prompt", json!({ "prompt": "hello" })),
        ("cancel", json!({})),
        ("close", json!({})),
        ("fork", json!({})),
        ("configure", json!({ "modeId": "ask" })),
    ] {
        let reply = client.post(&format!("{path}/{verb}"), body).await;
        assert_eq!(reply.is(404)["code"], "not_found", "{verb}");
    }
    assert_eq!(client.delete(&path).await.is(404)["code"], "not_found");
    for list in ["/v1/sessions?limit=100".to_owned(), format!("/v1/runs?sessionId={session}")] {
        let reply = client.get(&list).await;
        if reply.status == 200 {
            let items = reply.body["items"].as_array().unwrap().clone();
            assert!(items.iter().all(|one| one["id"] != session), "{list}");
        }
    }
}

#[tokio::test]
async fn a_session_that_rests_is_gone_and_its_agent_forgets_the_conversation() {
    let reeve = Reeve::start(Options::default()).await;
    let client = reeve.client();
    let agent = client.agent().await;
    let (one, other) = (client.session(&agent).await, client.session(&agent).await);
    let mut runs = Vec::new();
    for session in [&one, &other, &one] {
        let run = client.prompt(session, "!count").await;
        client.ended(&run).await;
        if session == &one {
            runs.push(run);
        }
    }
    assert_eq!(kept(&reeve, &agent), 2);
    let mut events = client.events(&format!("{}/events", path(&one)), None).await;
    client.delete(&path(&one)).await.is(204);
    is_none(&client, &one).await;

    // Who follows it is told, and has nothing to wait for.
    let told = events.until("session_deleted").await;
    for event in &told {
        tests::asyncapi::check_event(&event.data).unwrap();
    }
    assert!(events.next().await.is_none(), "the stream ends");
    gone(&reeve, &one, &runs).await;
    at_last("its agent has forgotten it", async || kept(&reeve, &agent) == 1).await;
    for run in &runs {
        assert_eq!(client.get(&format!("/v1/runs/{run}")).await.status, 404);
    }
    is_none(&client, &one).await;
    // What was done is known, and the other goes on.
    let audit = client.all("/v1/audit?limit=100").await;
    let deleted = |entry: &&Value| entry["action"] == "session.delete" && entry["target"] == *one;
    assert_eq!(audit.iter().filter(deleted).count(), 1, "{audit:#?}");
    assert_eq!(client.ask(&other, "!count").await, "2");
}

#[tokio::test]
async fn what_is_in_flight_and_in_line_ends_before_it_is_gone() {
    let reeve = Reeve::start(Options::default()).await;
    let client = reeve.client();
    let agent = client.agent().await;
    let session = client.session(&agent).await;
    let mut runs = vec![client.prompt(&session, "!wait").await];
    client.reaches(&runs[0], "streaming").await;
    for text in ["second", "third"] {
        runs.push(client.prompt(&session, text).await);
    }
    let mut events = client.events(&format!("{}/events", path(&session)), None).await;
    client.delete(&path(&session)).await.is(204);
    is_none(&client, &session).await;
    let told = events.until("session_deleted").await;
    for run in &runs {
        let ends = told.iter().filter(|event| {
            event.kind == "run_state"
                && event.data["runId"] == **run
                && event.data["data"]["state"] == "cancelled"
        });
        assert_eq!(ends.count(), 1, "{told:#?}");
    }
    assert!(events.next().await.is_none(), "the stream ends");
    gone(&reeve, &session, &runs).await;
    // Nobody waits for the place it had.
    let next = client.session(&agent).await;
    assert_eq!(client.ask(&next, "!count").await, "1");
    let container = agent.replace("agt_", "ctr_");
    let shown = client.get(&format!("/v1/containers/{container}")).await.is(200);
    assert_eq!(shown["sessions"], json!([]), "{shown:#}");
}

#[tokio::test]
async fn nobody_is_woken_for_it() {
    let reeve = Reeve::start(Options::default()).await;
    let client = reeve.client();
    let agent = client.agent().await;
    let (open, closed) = (client.session(&agent).await, client.session(&agent).await);
    let fresh = client.session(&agent).await;
    for session in [&open, &closed] {
        assert_eq!(client.ask(session, "!count").await, "1");
    }
    client.post(&format!("{}/close", path(&closed)), Value::Null).await.is(200);
    client.post(&format!("/v1/agents/{agent}/pause"), Value::Null).await.is(200);
    at_last("it rests", async || lifecycle::container(&reeve, &agent).1 == "stopped").await;
    let before = lifecycle::container(&reeve, &agent);
    for session in [&open, &closed, &fresh] {
        client.delete(&path(session)).await.is(204);
        gone(&reeve, session, &[]).await;
    }
    assert_eq!(lifecycle::container(&reeve, &agent), before);
    assert_eq!(client.get(&format!("/v1/agents/{agent}")).await.text("/state"), "paused");
}

#[tokio::test]
async fn a_fork_that_has_not_begun_goes_on_from_what_was_deleted() {
    let reeve = Reeve::start(Options::default()).await;
    let client = reeve.client();
    let session = client.conversation().await;
    assert_eq!(client.ask(&session, "!count").await, "1");
    let fork = client.made(&format!("{}/fork", path(&session)), json!({})).await;
    client.delete(&path(&session)).await.is(204);
    gone(&reeve, &session, &[]).await;
    assert_eq!(client.ask(&fork, "!count").await, "2");
}

#[tokio::test]
async fn killed_at_any_step_it_is_there_or_goes() {
    for (step, deleted) in [
        ("session.delete:before", false),
        ("session.delete:after", true),
        ("session.call_off:after", true),
        ("session.leave:before", true),
        ("session.leave:after", true),
        ("session.purge_events:after", true),
        ("session.purge_runs:after", true),
        ("session.purge:before", true),
        ("session.purge:after", true),
    ] {
        let mut reeve =
            Reeve::start(Options::default().env("FAILPOINTS", format!("{step}=return"))).await;
        let client = reeve.client();
        let agent = client.agent().await;
        let (session, other) = (client.session(&agent).await, client.session(&agent).await);
        assert_eq!(client.ask(&other, "!count").await, "1");
        let runs =
            vec![client.prompt(&session, "!wait").await, client.prompt(&session, "next").await];
        client.reaches(&runs[0], "streaming").await;
        let request = client.request(reqwest::Method::DELETE, &path(&session));
        // It may be killed before it has answered.
        drop(Client::try_send(request).await);
        reeve.ended().await;
        reeve.restart(Options::default()).await;
        let client = reeve.client();
        if deleted {
            is_none(&client, &session).await;
        } else {
            client.get(&path(&session)).await.is(200);
            client.delete(&path(&session)).await.is(204);
        }
        gone(&reeve, &session, &runs).await;
        assert!(!client.ask(&other, "!count").await.is_empty(), "{step}");
        reeve.stop().await;
    }
}
