//! Containers that callers make: several agents and sessions in one, their processes, and what becomes
//! of a container that fails.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Stdio;

use serde_json::{Value, json};
use tests::given::at_last;
use tests::http::Client;
use tests::reeve::{Options, Reeve};
use tests::sample;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

/// The lines that the document of agentd prints, in its order.
const AGENTD: &str = include_str!("containers/agentd.sh");

/// A container with as many echo agents as are asked for, and their ids.
async fn shared(client: &Client, fields: Value, agents: usize) -> (String, Vec<String>) {
    let container = client.made("/v1/containers", fields).await;
    let install = format!("/v1/containers/{container}/agents");
    let mut all = Vec::new();
    for number in 0..agents {
        let agent = if number == 0 {
            let agent = client.agent().await;
            client.post(&install, json!({ "agent_id": agent })).await.is(201);
            agent
        } else {
            let mut manual = sample::manual();
            manual["id"] = format!("echo-{number}").into();
            client.post(&install, json!({ "manual_agent": manual })).await.text("/agentId")
        };
        all.push(agent);
    }
    (container, all)
}

async fn detail(client: &Client, container: &str) -> Value {
    client.get(&format!("/v1/containers/{container}")).await.is(200)
}

fn state(detail: &Value, agent: &str) -> String {
    let of = |one: &&Value| one["agentId"] == agent;
    let found = detail["agents"].as_array().unwrap().iter().find(of);
    found.expect("the agent is in it")["state"].as_str().unwrap().to_owned()
}

/// One line of the document, of the installation that is there: its address, its key, and what the
/// lines before have answered.
fn line(reeve: &Reeve, number: usize, put: &[(&str, &str)]) -> Command {
    let mut lines = AGENTD.split("\ncurl").map(|line| line.trim_start_matches("curl"));
    let mut line = format!("curl {}", lines.nth(number).expect("so many lines"));
    line = line.replace("http://127.0.0.1:8080", &reeve.url);
    line = line.replacen("curl ", "curl -H \"authorization: Bearer $KEY\" ", 1);
    for (blank, text) in put {
        line = line.replace(blank, text);
    }
    let mut command = Command::new("bash");
    command.args(["-c", &line]).env("KEY", &reeve.key).kill_on_drop(true);
    command
}

async fn answer(mut command: Command) -> Value {
    let output = command.output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    serde_json::from_str(&text).unwrap_or_else(|_| panic!("no JSON: {text}"))
}

#[tokio::test]
async fn the_lines_of_agentds_document_work_as_they_are_printed() {
    let reeve = Reeve::start(Options::default()).await;
    let client = reeve.client();
    let container = answer(line(&reeve, 0, &[])).await;
    assert_eq!((&container["capacity"], &container["state"]), (&json!(4), &json!("requested")));
    let path = [("./var/echo-agent", "builtin:echo")];
    let session = answer(line(&reeve, 1, &path)).await;
    assert_eq!(session["containerId"], container["id"], "like the profile, and with room");
    let again = answer(line(&reeve, 1, &path)).await;
    assert_eq!(again["agentId"], session["agentId"], "the same description is the same agent");
    let session = session["id"].as_str().unwrap();
    let mut run = answer(line(&reeve, 2, &[("<session-id>", session)])).await;
    let first = run["id"].as_str().unwrap().to_owned();
    let mut tail = line(&reeve, 3, &[("<session-id>", session)]);
    let mut tail = tail.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(tail.stdout.take().unwrap()).lines();
    let told = loop {
        let line = lines.next_line().await.unwrap().expect("it goes on");
        if line.starts_with("data:") && line.contains("\"completed\"") {
            break line;
        }
    };
    assert!(told.contains(&first), "{told}");
    tail.kill().await.unwrap();
    assert_eq!(client.said(session, &first).await, "hello");
    run = client
        .post(&format!("/v1/sessions/{session}:prompt"), json!({ "prompt": "!wait" }))
        .await
        .is(202);
    let run = run["id"].as_str().unwrap();
    client.reaches(run, "streaming").await;
    let cancelled = line(&reeve, 4, &[("<session-id>", session), ("<run-id>", run)]);
    assert_eq!(answer(cancelled).await["id"], run);
    assert_eq!(client.ended(run).await["state"], "cancelled");
}

#[tokio::test]
async fn agents_share_a_container_and_nothing_else() {
    let reeve = Reeve::start(Options::default()).await;
    let client = reeve.client();
    let (container, agents) = shared(&client, json!({}), 2).await;
    let (one, other) = (client.session(&agents[0]).await, client.session(&agents[1]).await);
    let keep = "!shell echo mine > kept; echo mine > ~/kept; pwd; echo $HOME";
    let said = client.ask(&one, keep).await;
    assert!(said.contains("/workspace") && said.contains("/home/agent"), "{said}");
    let said = client.ask(&other, "!shell cat kept ~/kept; ls /agents; ls -A . ~; true").await;
    assert!(!said.contains("mine") && !said.contains(&agents[0]), "{said}");
    // Installed while it runs, and prompted at once.
    let install = format!("/v1/containers/{container}/agents");
    let third = client.post(&install, json!({ "manualAgent": sample::manual() })).await;
    let third = client.session(&third.text("/agentId")).await;
    assert!(!client.ask(&third, "!shell cat kept; true").await.contains("mine"));
    let detail = detail(&client, &container).await;
    assert_eq!(detail["container"]["starts"], 1, "all of it in one start");
    assert_eq!(detail["agents"].as_array().unwrap().len(), 3);
    // It is in the container for good, with what it kept.
    let stop = client.post(&format!("/v1/containers/{container}:hibernate"), Value::Null).await;
    stop.is(200);
    let stopped =
        async || self::detail(&client, &container).await["container"]["state"] == "stopped";
    at_last("the container stops", stopped).await;
    assert!(client.ask(&one, "!shell cat kept ~/kept").await.contains("mine\nmine"));
    client.delete(&format!("/v1/containers/{container}")).await.is(204);
    assert_eq!(client.get(&format!("/v1/containers/{container}")).await.text("/code"), "not_found");
    let gone = async || client.get(&format!("/v1/agents/{}", agents[0])).await.status == 404;
    at_last("its agents go with it", gone).await;
}

#[tokio::test]
async fn a_container_is_deleted_whatever_it_does() {
    let reeve = Reeve::start(Options::default()).await;
    let limits = json!({ "maxRunningContainers": 1, "maxContainers": 1, "maxAgents": 2 });
    let client = reeve.realm_with(limits).await;
    let realm = crate::caps::realm(&client).await;
    for doing in ["starting", "busy", "idle"] {
        let (container, agents) = shared(&client, json!({}), 2).await;
        let session = client.session(&agents[1]).await;
        let run = client.prompt(&session, if doing == "busy" { "!wait" } else { "hello" }).await;
        match doing {
            "starting" => {}
            "busy" => drop(client.reaches(&run, "streaming").await),
            _ => drop(client.ended(&run).await),
        }
        client.delete(&format!("/v1/containers/{container}")).await.is(204);
        for path in [format!("/v1/sessions/{session}"), format!("/v1/agents/{}", agents[1])] {
            let gone = async || client.get(&path).await.status == 404;
            at_last(&format!("{path} goes with one that is {doing}"), gone).await;
        }
        // Who takes its place finds the room of it, and of its agents.
        let there = async || client.post("/v1/containers", json!({})).await.status == 201;
        at_last("there is room for another", there).await;
        let all = client.all("/v1/containers").await;
        let other = all[0]["id"].as_str().unwrap();
        client.delete(&format!("/v1/containers/{other}")).await.is(204);
        let gone = async || client.get("/v1/agents").await.is(200)["items"] == json!([]);
        at_last("all its agents are gone", gone).await;
        let gone = async || crate::stored::running(&reeve, &realm) == (0, Vec::new());
        at_last("nothing of it is left", gone).await;
    }
}

#[tokio::test]
async fn a_described_agent_that_was_deleted_is_made_anew_and_its_container_goes_with_the_last() {
    let reeve = Reeve::start(Options::default()).await;
    let client = reeve.realm_with(json!({ "maxContainers": 1 })).await;
    let described = json!({ "manualAgent": sample::manual() });
    let mut before = String::new();
    for _ in 0..4 {
        let session = client.post("/v1/sessions", described.clone()).await;
        let agent = session.text("/agentId");
        session.is(201);
        assert_ne!(agent, before, "one that is being deleted is nobody's");
        client.delete(&format!("/v1/agents/{agent}")).await.is(204);
        before = agent;
    }
    let gone = async || client.all("/v1/containers").await.is_empty();
    at_last("what was made to place them goes with the last", gone).await;
    let there = async || client.post("/v1/containers", json!({})).await.status == 201;
    at_last("there is room for another", there).await;
    let asked = client.all("/v1/containers").await[0]["id"].as_str().unwrap().to_owned();
    let place = json!({ "manualAgent": sample::manual(), "containerId": asked });
    let agent = client.post("/v1/sessions", place).await.text("/agentId");
    client.delete(&format!("/v1/agents/{agent}")).await.is(204);
    let empty = async || detail(&client, &asked).await["agents"] == json!([]);
    at_last("its agent is gone", empty).await;
    assert_eq!(client.all("/v1/containers").await[0]["id"], *asked, "who asked for it keeps it");
}

#[tokio::test]
async fn as_many_as_may_be_are_made_however_many_are_asked_for_at_once() {
    let reeve = Reeve::start(Options::default()).await;
    let client = reeve.realm_with(json!({ "maxContainers": 20 })).await;
    let asked = (0..100).map(|_| client.post("/v1/containers", json!({})));
    let mut answers = BTreeMap::new();
    for reply in futures::future::join_all(asked).await {
        *answers.entry(reply.status).or_insert(0) += 1;
    }
    assert_eq!(answers, BTreeMap::from([(201, 20), (429, 80)]));
}

#[tokio::test]
async fn one_is_made_for_all_who_need_one_like_it_at_once() {
    let reeve = Reeve::start(Options::default()).await;
    let client = reeve.client();
    // Three agents, which each somebody else describes, too.
    let asked = (0..60).map(|at| {
        let mut manual = sample::manual();
        manual["name"] = json!(format!("described {}", at % 3));
        client.post("/v1/sessions", json!({ "manualAgent": manual }))
    });
    let mut agents = BTreeSet::new();
    for reply in futures::future::join_all(asked).await {
        agents.insert(reply.is(201)["agentId"].as_str().unwrap().to_owned());
    }
    assert_eq!(agents.len(), 3);
    let all = client.all("/v1/containers").await;
    assert_eq!(all.len(), 1, "{all:#?}");
    let there = all[0]["agentIds"].as_array().unwrap().iter().map(|id| id.as_str().unwrap());
    assert_eq!(there.map(str::to_owned).collect::<BTreeSet<_>>(), agents);
}

#[tokio::test]
async fn a_container_does_as_many_runs_as_it_takes_and_the_next_in_order() {
    let reeve = Reeve::start(Options::default()).await;
    let client = reeve.client();
    let (container, agents) = shared(&client, json!({ "capacity": 2 }), 2).await;
    let mut runs = Vec::new();
    for number in 0..4 {
        let session = client.session(&agents[number % 2]).await;
        runs.push(client.prompt(&session, if number < 2 { "!wait" } else { "hello" }).await);
    }
    for run in &runs[..2] {
        client.reaches(run, "streaming").await;
    }
    for run in &runs[2..] {
        let waits = client.get(&format!("/v1/runs/{run}")).await.is(200);
        assert_eq!(
            (&waits["state"], &waits["reason"]),
            (&json!("queued"), &json!("container_full")),
            "{waits:#}"
        );
    }
    let shown = detail(&client, &container).await;
    assert_eq!(
        (&shown["container"]["currentRuns"], &shown["container"]["waiting"]),
        (&json!(2), &json!(2))
    );
    assert_eq!(shown["sessions"].as_array().unwrap().len(), 4);
    client.post(&format!("/v1/runs/{}/cancel", runs[0]), Value::Null).await.is(202);
    let (third, fourth) = (client.ended(&runs[2]).await, client.ended(&runs[3]).await);
    assert_eq!((&third["state"], &fourth["state"]), (&json!("completed"), &json!("completed")));
    assert!(third["startedAt"].as_str() <= fourth["startedAt"].as_str(), "in order");
    client.post(&format!("/v1/runs/{}/cancel", runs[1]), Value::Null).await.is(202);
    client.ended(&runs[1]).await;
}

#[tokio::test]
async fn an_instance_stops_starts_and_is_another_after_a_restart() {
    let reeve = Reeve::start(Options::default()).await;
    let client = reeve.client();
    let (container, agents) = shared(&client, json!({ "pinned": true }), 2).await;
    let agent = &agents[1];
    let instance = agent.replace("agt_", "ins_");
    let path = format!("/v1/containers/{container}/agents/{instance}");
    let becomes = async |wanted: &str| {
        let there = async || client.get(&path).await.is(200)["state"] == wanted;
        at_last(&format!("the instance is {wanted}"), there).await;
    };
    assert_eq!(client.get(&path).await.is(200)["state"], "installed");
    client.post(&format!("{path}:start"), Value::Null).await.is(202);
    becomes("ready").await;
    let session = client.session(agent).await;
    let pid =
        client.ask(&session, "!shell echo $PPID $$ > pids; cat /proc/self/stat | wc -c").await;
    assert!(!pid.is_empty());
    becomes("ready").await;
    client.post(&format!("{path}/restart"), Value::Null).await.is(202);
    becomes("ready").await;
    client.post(&format!("{path}/stop"), Value::Null).await.is(202);
    becomes("exited").await;
    assert_eq!(state(&detail(&client, &container).await, &agents[0]), "installed");
    let run = client.prompt(&session, "!wait").await;
    becomes("running").await;
    let busy = client.post(&format!("{path}/stop"), Value::Null).await;
    assert_eq!(busy.text("/code"), "agent_busy");
    client.post(&format!("{path}/stop"), json!({ "force": true })).await.is(202);
    assert_eq!(client.ended(&run).await["code"], "agent_exited");
    becomes("exited").await;
}

#[tokio::test]
async fn what_failed_is_recovered_or_has_a_clear_end() {
    let reeve = Reeve::start(Options::default()).await;
    let client = reeve.client();
    let agent = client.agent_with(json!({ "repositories": ["there-is-none"] })).await;
    let path = format!("/v1/agents/{agent}");
    assert_eq!(
        client.post(&format!("{path}/recover"), Value::Null).await.text("/code"),
        "state_refused"
    );
    let session = client.session(&agent).await;
    let run = client.prompt(&session, "hello").await;
    assert_eq!(client.ended(&run).await["code"], "container_unavailable");
    let container = agent.replace("agt_", "ctr_");
    let starts = detail(&client, &container).await["container"]["starts"].as_u64().unwrap();
    client.post(&format!("{path}/recover"), Value::Null).await.is(202);
    let tried = async || {
        let shown = detail(&client, &container).await["container"].clone();
        shown["state"] == "failed" && shown["starts"] == starts + 1
    };
    at_last("what can never be is tried once", tried).await;
    let shown = detail(&client, &container).await["container"].clone();
    assert_eq!(shown["code"], "container_unavailable");
    assert!(shown["detail"].as_str().unwrap().contains("there-is-none"), "{shown:#}");
    client.patch(&path, json!({ "repositories": [] })).await.is(200);
    let recover = path_of(&container, "recover");
    let asked = (0..8).map(|_| client.post(&recover, Value::Null));
    for reply in futures::future::join_all(asked).await {
        assert!([202, 409].contains(&reply.status), "{reply:?}");
    }
    let up = async || detail(&client, &container).await["container"]["state"] == "ready";
    at_last("it is up", up).await;
    let shown = detail(&client, &container).await["container"].clone();
    assert_eq!(shown["starts"], starts + 2, "however many ask, it is started once");
    assert_eq!(client.ask(&session, "again").await, "again");
}

fn path_of(container: &str, verb: &str) -> String {
    format!("/v1/containers/{container}:{verb}")
}

#[test]
fn a_verb_is_one_behind_a_colon_too() {
    let mut verbs = 0;
    for route in routes::routes() {
        let Some((thing, verb)) = route.path.rsplit_once('/') else { continue };
        if !thing.ends_with('}') {
            continue;
        }
        verbs += 1;
        let path = |between: &str| {
            let path = format!("{thing}{between}{verb}").replace(['{', '}'], "");
            api::canonical(path.parse().unwrap()).to_string()
        };
        for colon in [":", "%3A"] {
            assert_eq!(path(colon), path("/"), "{route:?}");
        }
    }
    assert!(verbs > 20, "only {verbs} routes end in a verb");
}

#[tokio::test]
async fn what_may_run_is_the_realms_to_say() {
    let reeve = Reeve::start(Options::default()).await;
    let client = reeve.client();
    let manual = sample::manual();
    let session = json!({ "manual_agent": manual, "policy": { "hosted_mode": false } });
    assert_eq!(client.post("/v1/sessions", session).await.text("/code"), "invalid_body");
    let unknown = client.post("/v1/sessions", json!({ "agent_id": "there-is-none" })).await;
    assert_eq!((unknown.status, unknown.text("/code").as_str()), (404, "not_found"));
    let operator = client;
    let new = json!({ "name": "strict", "policy": { "manualAgents": false } });
    let made = operator.post("/v1/realms", new).await;
    let strict = operator.with_key(Some(&made.text("/apiKey")));
    let refused = strict.post("/v1/sessions", json!({ "manual_agent": manual })).await;
    assert_eq!((refused.status, refused.text("/code").as_str()), (403, "policy_refused"));
    for own in [json!({ "driver": "acp" }), json!({ "driver": "process" })] {
        let mut own = own;
        own["name"] = "own".into();
        own["command"] = json!(["npx", "-y", "opencode-ai"]);
        for path in ["/v1/agents", "/v1/templates"] {
            assert_eq!(strict.post(path, own.clone()).await.is(403)["code"], "policy_refused");
        }
    }
    assert!(strict.all("/v1/agents").await.is_empty(), "and nothing was made");
    // Another realm's container is none.
    let container = operator.made("/v1/containers", json!({})).await;
    let agent = strict.agent().await;
    let command = json!({ "command": ["cat"] });
    let refused = strict.patch(&format!("/v1/agents/{agent}"), command).await;
    assert_eq!(refused.is(403)["code"], "policy_refused");
    let install = format!("/v1/containers/{container}/agents");
    let elsewhere = strict.post(&install, json!({ "agentId": agent })).await;
    assert_eq!((elsewhere.status, elsewhere.text("/code").as_str()), (404, "not_found"));
}

#[tokio::test]
async fn a_policy_holds_for_agents_that_were_there_before_it() {
    let reeve = Reeve::start(Options::default()).await;
    let client = reeve.realm().await;
    let waits = json!({ "driver": "process", "command": ["sleep", "1000"] });
    let agent = client.agent_with(waits).await;
    let session = client.session(&agent).await;
    let (first, second) =
        (client.prompt(&session, "one").await, client.prompt(&session, "two").await);
    client.reaches(&first, "streaming").await;
    let realm = client.get("/v1/me").await.text("/realm/id");
    let strict = json!({ "policy": { "manualAgents": false } });
    reeve.client().patch(&format!("/v1/realms/{realm}"), strict).await.is(200);
    let prompt = format!("/v1/sessions/{session}/prompt");
    let refused = client.post(&prompt, json!({ "prompt": "three" })).await;
    assert_eq!(refused.is(403)["code"], "policy_refused");
    assert_eq!(client.get(&format!("/v1/runs/{first}")).await.is(200)["state"], "streaming");
    client.post(&format!("/v1/runs/{first}/cancel"), Value::Null).await.is(202);
    assert_eq!(client.ended(&first).await["state"], "cancelled");
    // What waited meanwhile does not reach it.
    let ended = client.ended(&second).await;
    assert_eq!((&ended["state"], &ended["code"]), (&json!("failed"), &json!("policy_refused")));
    // Nor is its process started without a prompt, or anew.
    let container = client.all("/v1/containers").await.remove(0)["id"].as_str().unwrap().to_owned();
    let instance = client.get(&format!("/v1/containers/{container}/agents")).await;
    let instance = instance.text("/items/0/id");
    let instance = format!("/v1/containers/{container}/agents/{instance}");
    let before = client.get(&instance).await.is(200);
    for verb in ["start", "restart"] {
        let refused = client.post(&format!("{instance}/{verb}"), Value::Null).await;
        assert_eq!(refused.is(403)["code"], "policy_refused", "{verb}");
    }
    assert_eq!(client.get(&instance).await.is(200), before, "and nothing has changed");
    client.post(&format!("{instance}/stop"), Value::Null).await.is(202);
    // It can still be renamed, and become what the policy allows.
    let path = format!("/v1/agents/{agent}");
    client.patch(&path, json!({ "name": "old" })).await.is(200);
    client.patch(&path, json!({ "driver": "acp", "command": null })).await.is(200);
    assert_eq!(client.ask(&session, "four").await, "four");
}

#[tokio::test]
async fn a_described_agent_that_cannot_be_had_is_refused() {
    let reeve = Reeve::start(Options::default()).await;
    let client = reeve.client();
    let package =
        |kind: &str, package: &str| json!({ "type": kind, (kind): { "package": package } });
    let binary = |binary: Value| json!({ "type": "binary", "binary": binary });
    let at = "https://example.com/agent";
    for (distribution, code) in [
        (package("npx", "opencode-ai"), "policy_refused"),
        (package("npx", "opencode-ai@latest"), "policy_refused"),
        (package("uvx", "kimi-cli"), "policy_refused"),
        (package("npx", ""), "invalid_value"),
        (package("npx", "--registry=http://evil"), "invalid_value"),
        (package("npx", "a b c"), "invalid_value"),
        (package("uvx", "kimi-cli==1.*"), "invalid_value"),
        (binary(json!({ "url": "not a url", "executable": "agent" })), "invalid_value"),
        (binary(json!({ "url": at, "executable": "/bin/sh" })), "invalid_value"),
        (binary(json!({ "url": at, "executable": "x", "sha256": "deadbeef" })), "invalid_value"),
        (binary(json!({ "executable": "agent", "sha256": "0".repeat(64) })), "invalid_value"),
    ] {
        let asked = json!({ "manual_agent": { "id": "x", "distribution": distribution } });
        let refused = client.post("/v1/sessions", asked).await;
        assert_eq!(refused.text("/code"), code, "{distribution} {refused:?}");
    }
    assert!(client.all("/v1/agents").await.is_empty());
    assert!(client.all("/v1/registry/agents").await.is_empty());
}

#[tokio::test]
async fn what_a_container_is_asked_to_be_it_is_or_is_refused() {
    let reeve = Reeve::start(Options::default()).await;
    let client = reeve.client();
    for (field, value) in [
        ("image", json!("debian")),
        ("sandbox_class", json!("gvisor")),
        ("network_policy", json!("open")),
        ("workspace_root", json!("../../etc")),
        ("ttl", json!(1)),
    ] {
        let profile = json!({ (field): value });
        let refused = client.post("/v1/containers", json!({ "profile": profile })).await;
        assert_eq!(refused.is(422)["code"], "invalid_value", "{field}");
        let session = json!({ "manual_agent": sample::manual(), "container_profile": profile });
        assert_eq!(client.post("/v1/sessions", session).await.is(422)["code"], "invalid_value");
    }
    for (manual, platform) in [
        (sample::manual(), json!("windows-x86_64")),
        (
            json!({ "platforms": ["darwin-aarch64"], "distribution": sample::manual()["distribution"] }),
            Value::Null,
        ),
    ] {
        let session = json!({ "manual_agent": manual, "platform": platform });
        assert_eq!(client.post("/v1/sessions", session).await.is(422)["code"], "invalid_value");
    }
    assert!(client.all("/v1/containers").await.is_empty(), "and nothing was made");

    // Nine processes are one more than it takes.
    let profile = json!({ "workspace_root": "/workspace", "sandbox_class": "default",
        "ttl": 1_000_000_000, "resource_limits": { "pids": 8 } });
    let ours = json!({ "manual_agent": sample::manual(), "container_profile": profile,
        "platform": format!("LINUX_{}", std::env::consts::ARCH) });
    let session = client.post("/v1/sessions", ours).await.is(201);
    let container = session["containerId"].as_str().unwrap().to_owned();
    let session = session["id"].as_str().unwrap();
    let sleeps = "!shell for n in 1 2 3 4 5 6 7 8 9; do sleep 1000 & done; wait";
    let run = client.prompt(session, sleeps).await;
    assert_eq!(client.ended(&run).await["code"], "process_limit");
    assert_eq!(client.ask(session, "hello").await, "hello");
    // The realm lets it be idle for twenty minutes, who made it for a second.
    let stopped = async || detail(&client, &container).await["container"]["state"] == "stopped";
    at_last("it is stopped once it was idle for a second", stopped).await;
}

#[tokio::test]
async fn an_agent_of_the_realm_gets_the_container_that_is_asked_for_or_none() {
    let reeve = Reeve::start(Options::default()).await;
    let client = reeve.client();
    let agent = client.agent().await;
    let open = |profile: Value| json!({ "agentId": agent, "containerProfile": profile });
    let refused = client.post("/v1/sessions", open(json!({ "image": "debian" }))).await;
    assert_eq!(refused.is(422)["code"], "invalid_value");
    assert!(client.all("/v1/containers").await.is_empty());

    let small = json!({ "resourceLimits": { "pids": 24 }, "env": { "SIZE": "small" } });
    let session = client.made("/v1/sessions", open(small.clone())).await;
    let containers = client.all("/v1/containers").await;
    assert_eq!((containers.len(), &containers[0]["profile"]["env"]), (1, &small["env"]));
    assert_eq!(client.ask(&session, "!shell echo $SIZE").await, "small\n");
    let bomb =
        client.prompt(&session, "!shell for n in $(seq 40); do sleep 1000 & done; wait").await;
    assert_eq!(client.ended(&bomb).await["code"], "process_limit");

    // It stays in it: the same is nothing new, and another it does not become.
    let same = client.made("/v1/sessions", open(small)).await;
    assert_eq!(client.ask(&same, "!shell echo $SIZE").await, "small\n");
    let other = client.post("/v1/sessions", open(json!({ "env": { "SIZE": "large" } }))).await;
    assert_eq!(other.is(409)["code"], "state_refused");
    let all = client.all("/v1/sessions").await;
    assert_eq!((all.len(), client.all("/v1/containers").await.len()), (2, 1));

    // Nor does a container that takes any agent.
    let shared = client.made("/v1/containers", json!({})).await;
    let described = json!({ "manualAgent": sample::manual(), "containerId": shared,
        "containerProfile": { "env": { "SIZE": "large" } } });
    assert_eq!(client.post("/v1/sessions", described).await.is(409)["code"], "state_refused");
    client.delete(&format!("/v1/agents/{agent}")).await.is(204);
    let gone = async || client.all("/v1/containers").await.len() == 1;
    at_last("its container goes with it", gone).await;
}
