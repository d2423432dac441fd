//! What a realm may run at once, held by a real reeve against everybody who asks at the same moment.

use std::collections::BTreeSet;

use futures::future::{join_all, select};
use serde_json::{Value, json};
use tests::given::at_last;
use tests::http::Client;
use tests::reeve::{Options, Reeve};

use crate::lifecycle::container;
use crate::stored::running;

async fn cancel(client: &Client, run: &str) {
    client.post(&format!("/v1/runs/{run}/cancel"), Value::Null).await.is(202);
}

async fn run(client: &Client, id: &str) -> Value {
    client.get(&format!("/v1/runs/{id}")).await.is(200)
}

/// The realm of who asks.
pub(crate) async fn realm(client: &Client) -> String {
    client.get("/v1/realms").await.is(200)["items"][0]["id"].as_str().unwrap().to_owned()
}

/// Reads, past reeve, how many containers have room to run, and that this is what is counted.
fn counted(reeve: &Reeve, realm: &str) -> i64 {
    let (counted, rows) = running(reeve, realm);
    let room = rows.iter().filter(|row| row["room"] == true).count();
    assert_eq!(usize::try_from(counted), Ok(room), "{rows:#?}");
    for row in rows {
        let rests = ["requested", "stopped", "failed"].iter().any(|rest| row["state"] == *rest);
        assert!(rests || row["room"] == true, "it runs and is not counted: {row:#}");
    }
    counted
}

#[tokio::test]
async fn who_comes_when_all_are_busy_waits_in_order_and_no_more_may_than_the_line_holds() {
    let reeve = Reeve::start(Options::default()).await;
    let client = reeve.realm_with(json!({ "maxRunningContainers": 1, "maxWaiting": 2 })).await;
    let busy = client.conversation().await;
    let first = client.prompt(&busy, "!wait").await;
    client.reaches(&first, "streaming").await;

    let mut waiting = Vec::new();
    for _ in 0..2 {
        let session = client.conversation().await;
        let id = client.prompt(&session, "!say mine").await;
        let seen = run(&client, &id).await;
        assert_eq!(
            (&seen["state"], &seen["reason"]),
            (&json!("queued"), &json!("waiting_for_capacity"))
        );
        let told = client.past(&session).await;
        let told = told.iter().find(|event| event["type"] == "waiting_for_capacity");
        assert_eq!(told.unwrap()["data"]["limit"], "maxRunningContainers");
        waiting.push((session, id));
    }
    let refused = client.agent().await;
    let session = client.session(&refused).await;
    let before = client.get(&format!("/v1/sessions/{session}")).await.is(200);
    let path = format!("/v1/sessions/{session}/prompt");
    let full = client.post(&path, json!({ "prompt": "me, too" })).await;
    assert!(full.headers.contains_key("retry-after"));
    assert_eq!(full.is(503)["code"], "capacity_exhausted");
    let log = reeve.log();
    let mut errors = log.lines().filter(|line| line.contains("ERROR"));
    assert!(!errors.any(|line| line.contains("capacity_exhausted")), "it is nobody's fault: {log}");
    assert_eq!(client.get(&format!("/v1/sessions/{session}")).await.is(200), before);
    assert_eq!(client.all("/v1/runs?limit=9").await.len(), 3, "what was refused is not there");
    assert_eq!(client.past(&session).await, [Value::Null; 0]);

    // Who is called off gives their place to the next.
    let (quitter, id) = waiting.remove(0);
    cancel(&client, &id).await;
    assert_eq!(client.ended(&id).await["state"], "cancelled");
    assert_eq!(
        client.get(&format!("/v1/sessions/{quitter}")).await.is(200)["state"],
        "waiting_input"
    );
    let last = client.prompt(&session, "!say last").await;
    assert_eq!(run(&client, &last).await["state"], "queued");

    cancel(&client, &first).await;
    let (next, last) = (client.ended(&waiting[0].1).await, client.ended(&last).await);
    assert_eq!((&next["state"], &last["state"]), (&json!("completed"), &json!("completed")));
    assert_eq!(next["reason"], Value::Null);
    assert!(next["endedAt"].as_str() < last["startedAt"].as_str(), "{next:#} {last:#}");
    assert_eq!(counted(&reeve, &realm(&client).await), 1);
}

#[tokio::test]
async fn the_one_idle_longest_makes_room_and_the_others_stay() {
    let reeve = Reeve::start(Options::default()).await;
    // Nobody may wait but for a container that is being stopped for them.
    let client = reeve.realm_with(json!({ "maxRunningContainers": 2, "maxWaiting": 0 })).await;
    let agents = [client.agent().await, client.agent().await, client.agent().await];
    let mut sessions = Vec::new();
    for agent in &agents {
        sessions.push(client.session(agent).await);
    }
    let state = |agent: &str| container(&reeve, agent).1;
    client.ask(&sessions[0], "!shell echo kept > kept").await;
    client.ask(&sessions[1], "!say two").await;
    assert_eq!(client.ask(&sessions[2], "!say three").await, "three");
    assert_eq!([state(&agents[0]), state(&agents[1])], ["stopped", "idle"]);
    assert!(client.ask(&sessions[0], "!shell cat kept").await.contains("kept"));
    assert_eq!([state(&agents[1]), state(&agents[2])], ["stopped", "idle"]);
    assert_eq!(counted(&reeve, &realm(&client).await), 2);
}

#[tokio::test]
async fn who_is_woken_gets_room_as_who_is_prompted_does() {
    let reeve = Reeve::start(Options::default()).await;
    let client = reeve.realm_with(json!({ "maxRunningContainers": 1, "maxWaiting": 0 })).await;
    let (one, other) = (client.agent().await, client.agent().await);
    let (first, second) = (client.session(&one).await, client.session(&other).await);
    let state = |agent: &str| container(&reeve, agent).1;
    let path = |agent: &str| format!("/v1/containers/{}", agent.replace("agt_", "ctr_"));
    let wakes = async |woken: &str, stopped: &str, path: &str| {
        for _ in 0..3 {
            let woken = client.post(path, Value::Null).await;
            assert!([200, 202].contains(&woken.status), "{:#}", woken.body);
        }
        let there = async || [state(woken), state(stopped)] == ["ready", "stopped"];
        at_last("it has the other's room", there).await;
        assert_eq!(counted(&reeve, &realm(&client).await), 1);
    };
    client.ask(&first, "!say one").await;
    client.ask(&second, "!say two").await;
    wakes(&one, &other, &format!("{}:wake", path(&one))).await;
    let instance = format!("{}/agents/{}:start", path(&other), other.replace("agt_", "ins_"));
    wakes(&other, &one, &instance).await;
    // Stopped before there was room: it does not start when there is.
    let busy = client.prompt(&second, "!wait").await;
    client.reaches(&busy, "streaming").await;
    let refused = client.post(&format!("{}:wake", path(&one)), Value::Null).await;
    assert_eq!(refused.is(503)["code"], "capacity_exhausted");
    let path_of_realm = format!("/v1/realms/{}", realm(&client).await);
    let wider = json!({ "limits": { "maxRunningContainers": 1, "maxWaiting": 1 } });
    reeve.client().patch(&path_of_realm, wider).await.is(200);
    client.post(&format!("{}:wake", path(&one)), Value::Null).await.is(202);
    assert_eq!(state(&one), "stopped", "it waits");
    client.post(&format!("{}:hibernate", path(&one)), Value::Null).await.is(200);
    cancel(&client, &busy).await;
    assert_eq!(client.ask(&second, "!say three").await, "three");
    assert_eq!([state(&one), state(&other)], ["stopped", "idle"]);
}

#[tokio::test]
async fn those_who_wait_go_on_when_their_realm_may_run_more() {
    let reeve = Reeve::start(Options::default()).await;
    let operator = reeve.client();
    let client = reeve.realm_with(json!({ "maxRunningContainers": 0 })).await;
    let path = format!("/v1/realms/{}", realm(&client).await);
    let session = client.conversation().await;
    let waits = client.prompt(&session, "!say at last").await;
    assert_eq!(run(&client, &waits).await["reason"], "waiting_for_capacity");
    operator.patch(&path, json!({ "limits": { "maxRunningContainers": 1 } })).await.is(200);
    assert_eq!(client.ended(&waits).await["state"], "completed");
    // What runs when the limit is lowered goes on, and nothing more begins.
    let lowered = json!({ "limits": { "maxRunningContainers": 0, "maxWaiting": 0 } });
    operator.patch(&path, lowered).await.is(200);
    assert_eq!(client.ask(&session, "!say still here").await, "still here");
    let other = client.conversation().await;
    let refused =
        client.post(&format!("/v1/sessions/{other}/prompt"), json!({ "prompt": "x" })).await;
    assert_eq!(refused.is(503)["code"], "capacity_exhausted");
    operator.patch(&path, json!({ "limits": { "maxContainers": 1 } })).await.is(200);
    let refused =
        client.post(&format!("/v1/sessions/{other}/prompt"), json!({ "prompt": "x" })).await;
    assert_eq!(refused.is(429)["code"], "quota_reached");
}

#[tokio::test]
async fn however_many_ask_a_sleeping_agent_wakes_once() {
    let reeve = Reeve::start(Options::default()).await;
    let client = reeve.realm_with(json!({ "maxQueuedRuns": 1000 })).await;
    let agent = client.agent().await;
    let sessions = join_all((0..20).map(|_| client.session(&agent))).await;
    client.ask(&sessions[0], "!say hello").await;
    client.post(&format!("/v1/agents/{agent}/pause"), Value::Null).await.is(200);
    at_last("the container stops", async || container(&reeve, &agent).1 == "stopped").await;
    let (before, _) = container(&reeve, &agent);
    let asked = (0..200).map(async |at| {
        if at % 4 == 3 {
            let resume = format!("/v1/agents/{agent}/resume");
            client.post(&resume, Value::Null).await.is(200);
            return None;
        }
        Some(client.prompt(&sessions[at % sessions.len()], "!say hello").await)
    });
    let runs: Vec<_> = join_all(asked).await.into_iter().flatten().collect();
    assert_eq!(runs.len(), 150);
    for run in &runs {
        assert_eq!(client.ended(run).await["state"], "completed");
    }
    assert_eq!(container(&reeve, &agent).0, before + 1);
}

/// Whether anybody ever saw more than may run, for as long as `watched` takes.
async fn never_more<T>(
    reeve: &Reeve,
    realm: &str,
    most: i64,
    watched: impl Future<Output = T>,
) -> T {
    let watch = async {
        let mut beats = tokio::time::interval(std::time::Duration::from_millis(20));
        loop {
            beats.tick().await;
            let running = counted(reeve, realm);
            assert!(running <= most, "{running} run");
        }
    };
    match select(Box::pin(watched), Box::pin(watch)).await {
        futures::future::Either::Left((done, _)) => done,
        futures::future::Either::Right(((), _)) => unreachable!("it watches for ever"),
    }
}

const AGENTS: usize = 60;
const MOST: i64 = 4;

#[tokio::test]
async fn two_hundred_at_once_never_pass_a_cap_and_all_that_was_accepted_ends_though_reeve_is_killed()
 {
    let mut reeve = Reeve::start(Options::default()).await;
    let limits = json!({ "maxAgents": AGENTS + 20, "maxRunningContainers": MOST });
    let made =
        reeve.client().post("/v1/realms", json!({ "name": "theirs", "limits": limits })).await;
    let (realm, key) = (made.text("/id"), made.text("/apiKey"));
    let client = reeve.client().with_key(Some(&key));
    let agents = join_all((0..AGENTS).map(|_| client.agent())).await;
    let sessions = join_all(agents.iter().map(|agent| client.session(agent))).await;

    // 60 prompts, 60 resumes and 80 agents more than there is room for 20 of.
    let requests: Vec<(String, Value)> = (0..200)
        .map(|at| match at {
            0..60 => {
                (format!("/v1/sessions/{}/prompt", sessions[at]), json!({ "prompt": "!say hello" }))
            }
            60..120 => (format!("/v1/agents/{}/resume", agents[at - 60]), Value::Null),
            _ => ("/v1/agents".to_owned(), json!({ "name": "more", "driver": "acp" })),
        })
        .collect();
    let ask = async |client: &Client, at: usize| {
        let (path, body) = requests[at].clone();
        client.post_once(&path, &format!("request-{at}"), body).await
    };
    let answers = join_all((0..200).map(|at| ask(&client, at)));
    let answers = never_more(&reeve, &realm, MOST, answers).await;
    let mut told: Vec<u16> = answers.into_iter().map(|reply| reply.unwrap().status).collect();
    assert_eq!(told.drain(..60).collect::<BTreeSet<_>>(), [202].into(), "prompts");
    assert_eq!(told.drain(..60).collect::<BTreeSet<_>>(), [200].into(), "resumes");
    assert_eq!(told.iter().filter(|&&status| status == 201).count(), 20, "{told:?}");
    assert_eq!(told.iter().filter(|&&status| status == 429).count(), 60, "{told:?}");

    // In the middle of it.
    let ended = async |client: &Client| {
        let runs = client.all("/v1/runs?limit=100").await;
        runs.iter().filter(|run| run["endedAt"].is_string()).count()
    };
    at_last("some have ended", async || ended(&client).await >= 10).await;
    reeve.kill9();
    assert!(counted(&reeve, &realm) <= MOST);
    reeve.restart(Options::default()).await;
    let client = reeve.client().with_key(Some(&key));
    let all = async {
        for run in client.all("/v1/runs?limit=100").await {
            let ended = client.ended(run["id"].as_str().unwrap()).await;
            assert_eq!(ended["state"], "completed", "{ended:#}");
        }
    };
    never_more(&reeve, &realm, MOST, all).await;
    assert_eq!(ended(&client).await, AGENTS);
    assert!(counted(&reeve, &realm) <= MOST);
}
