//! An agent from its making to its end, in a real reeve with real containers.

use serde_json::{Value, json};
use tests::given::at_last;
use tests::http::Client;
use tests::reeve::{Options, Reeve, mentioning};

async fn reeve() -> Reeve {
    Reeve::start(Options::default()).await
}

/// Which start of its container an agent is at, and what state that is in, as they are stored.
pub(crate) fn container(reeve: &Reeve, agent: &str) -> (u64, String) {
    let ulid = agent.trim_start_matches("agt_");
    let stored = super::stored::document(reeve, &format!("ctr_{ulid}"));
    let stored = &stored.expect("it has had a container")["doc"];
    (stored["generation"].as_u64().unwrap(), stored["state"].as_str().unwrap().to_owned())
}

/// Returns when the agent's container has stopped and nothing of it runs.
async fn at_rest(reeve: &Reeve, agent: &str) {
    let ulid = agent.trim_start_matches("agt_");
    at_last("the container stops", async || container(reeve, agent).1 == "stopped").await;
    let place = std::path::PathBuf::from(format!("ctr_{ulid}"));
    at_last("its processes end", async || mentioning(&place).is_empty()).await;
}

/// The instance of an agent that has a container to itself.
async fn instance(client: &Client, agent: &str) -> Value {
    let path = format!("/v1/containers/{}/agents", agent.replace("agt_", "ctr_"));
    client.get(&path).await.is(200)["items"][0].clone()
}

#[tokio::test]
async fn who_wants_to_be_logged_in_lists_the_ways() {
    let reeve = Reeve::start(Options::default()).await;
    let client = reeve.client();
    let ways = json!([
        { "id": "terminal-api-key", "name": "terminal-api-key" },
        { "id": "broken-api-key", "name": "broken-api-key" },
        { "id": "echo-api-key", "name": "Echo key", "description": "A key from the environment" },
    ]);
    let env = json!({ "ECHO_CAPABILITIES": "rich" });
    // One says so when it is greeted, and ends; the other in the middle of a turn, and goes on.
    let refused = client.agent_with(json!({ "env": env, "authMethod": "nobody" })).await;
    let expired = client.agent_with(json!({ "env": env })).await;
    for (agent, prompt) in [(&refused, "hello"), (&expired, "!error -32000 log in again")] {
        let session = client.session(agent).await;
        let run = client.prompt(&session, prompt).await;
        let ended = client.ended(&run).await;
        assert_eq!(ended["code"], "auth_required");
        let detail = ended["detail"].as_str().unwrap();
        let told = "(ways to log in: terminal-api-key, broken-api-key, echo-api-key)";
        assert!(detail.ends_with(told), "{detail}");
        at_last("the instance lists them", async || {
            let one = instance(&client, agent).await;
            one["state"] == "auth_required" && one["authMethods"] == ways
        })
        .await;
    }
    let session = client.session(&expired).await;
    client.ask(&session, "hello").await;
    assert_eq!(instance(&client, &expired).await["authMethods"], json!([]));
}

#[tokio::test]
async fn a_script_written_for_any_spelling_works() {
    let reeve = reeve().await;
    let client = reeve.client();
    for (prefix, agent_id, verb) in [
        ("/v1", "agentId", "/prompt"),
        ("/api", "agent_id", ":prompt"),
        ("/api/v1", "agent_id", ":prompt"),
    ] {
        let new = json!({
            "name": "mine", "driver": "echo", "system_prompt": "be brief",
            "limits": { "timeout_seconds": 60, "max_turns": 3 },
        });
        let agent = client.post(&format!("{prefix}/agents"), new).await.is(201);
        assert_eq!(agent["driver"], "acp");
        assert_eq!(agent["systemPrompt"], "be brief");
        assert_eq!(agent["limits"]["timeoutSeconds"], 60);
        let session =
            client.post(&format!("{prefix}/sessions"), json!({ agent_id: agent["id"] })).await;
        let session = session.is(201)["id"].as_str().unwrap().to_owned();
        let path = format!("{prefix}/sessions/{session}{verb}");
        let run = client.post(&path, json!({ "prompt": "say it" })).await.is(202);
        let id = run["id"].as_str().unwrap();
        assert_eq!(run["sessionId"], session.as_str());
        let ended = client.ended(id).await;
        assert_eq!(
            (&ended["state"], &ended["stopReason"]),
            (&json!("completed"), &json!("end_turn"))
        );
        assert_eq!(client.get(&format!("{prefix}/runs/{id}")).await.is(200), ended);
        let page = client.get(&format!("{prefix}/sessions/{session}/events")).await.is(200);
        assert_eq!(page["nextCursor"], Value::Null);
        for (at, event) in page["items"].as_array().unwrap().iter().enumerate() {
            assert_eq!(event["seq"], at + 1);
            assert_eq!(event["runId"], id);
            assert!(
                event["time"].is_string() && event["data"].is_object() && event["type"].is_string()
            );
        }
        assert_eq!(client.said(&session, id).await, "say it");
    }
}

#[tokio::test]
async fn a_run_that_goes_wrong_says_how() {
    let reeve = reeve().await;
    let client = reeve.client();
    let quick = json!({ "limits": { "timeoutSeconds": 1 } });
    let missing = json!({ "command": ["/nowhere/program"] });
    let leaving = json!({ "command": ["/bin/sh", "-c", "exit 7"] });
    let cases = [
        (json!({}), "!exit 3", "failed", "agent_exited"),
        (json!({}), "!kill9", "failed", "agent_exited"),
        (json!({}), "!error -32603 broken", "failed", "agent_error"),
        (json!({}), "!error -32000 who", "failed", "auth_required"),
        (json!({}), "!garbage 2000\n!wait", "failed", "agent_protocol"),
        (json!({}), "!longline 9000000\n!wait", "failed", "agent_protocol"),
        (quick.clone(), "!wait", "failed", "timeout"),
        (quick.clone(), "!ignorecancel", "failed", "timeout"),
        (quick, "!shell sleep 100", "failed", "timeout"),
        (missing, "hello", "failed", "agent_unavailable"),
        (leaving, "hello", "failed", "agent_exited"),
        (json!({}), "!refuse", "completed", ""),
        (json!({}), "!garbage 3\n!unknown\n!wrongid\n!say on", "completed", ""),
    ];
    let runs = cases.map(async |(fields, prompt, state, code)| {
        let agent = client.agent_with(fields).await;
        let session = client.session(&agent).await;
        let run = client.prompt(&session, prompt).await;
        let ended = client.ended(&run).await;
        assert_eq!(ended["state"], state, "{prompt}: {ended:#}");
        assert_eq!(ended["code"].as_str().unwrap_or_default(), code, "{prompt}: {ended:#}");
        assert!(ended["endedAt"].is_string() && ended["detail"].is_null() == code.is_empty());
        assert_exactly_one_end(&client.past(&session).await, &run);
        // What went wrong concerns that run alone: the session goes on where its agent can.
        if !prompt.starts_with("hello") {
            let next = client.prompt(&session, "!say still here").await;
            assert_eq!(client.ended(&next).await["state"], "completed", "after {prompt}");
        }
    });
    futures::future::join_all(runs).await;
}

pub(crate) fn assert_exactly_one_end(events: &[Value], run: &str) {
    let states = events.iter().filter(|e| e["runId"] == run && e["type"] == "run_state");
    let over = |event: &&Value| {
        ["completed", "failed", "cancelled"].iter().any(|end| event["data"]["state"] == *end)
    };
    assert_eq!(states.filter(over).count(), 1, "{events:#?}");
    assert_eq!(events.last().unwrap()["type"], "run_state");
}

#[tokio::test]
async fn pausing_stops_the_container_reading_wakes_nothing_a_prompt_does() {
    let reeve = reeve().await;
    let client = reeve.client();
    let agent = client.agent().await;
    let path = format!("/v1/agents/{agent}");
    let (one, other) = (client.session(&agent).await, client.session(&agent).await);
    let keep = "!shell echo here > kept; echo there > ~/kept; pwd; cat kept ~/kept";
    let said = client.ask(&one, keep).await;
    assert!(said.contains("here\nthere"), "{said}");
    assert_eq!(client.ask(&one, "!count").await, "2");

    let run = client.prompt(&other, "!wait").await;
    client.reaches(&run, "streaming").await;
    let busy = client.post(&format!("{path}/pause"), Value::Null).await;
    assert_eq!(busy.text("/code"), "agent_busy");
    assert_eq!(busy.is(409)["status"], 409);
    assert_eq!(client.get(&path).await.is(200)["state"], "active");
    let paused = client.post(&format!("{path}/pause"), json!({ "force": true })).await;
    assert_eq!(paused.is(200)["state"], "paused");
    assert_eq!(client.ended(&run).await["state"], "cancelled");
    at_rest(&reeve, &agent).await;
    let before = container(&reeve, &agent);

    for path in [
        path.clone(),
        "/v1/agents?state=paused".to_owned(),
        format!("/v1/sessions?agentId={agent}"),
        format!("/v1/sessions/{one}"),
        format!("/v1/sessions/{one}/runs"),
        format!("/v1/sessions/{one}/events"),
        format!("/v1/runs/{run}"),
        "/v1/runs".to_owned(),
        "/v1/audit".to_owned(),
    ] {
        client.get(&path).await.is(200);
    }
    // An open stream reads, too; opening a session asks for nothing yet.
    let mut events = client.events(&format!("/v1/sessions/{one}/events"), None).await;
    events.next().await.unwrap();
    client.session(&agent).await;
    client.patch(&path, json!({ "name": "renamed" })).await.is(200);
    client.post(&format!("{path}/resume"), Value::Null).await.is(200);
    assert_eq!(client.post(&format!("{path}/pause"), Value::Null).await.is(200)["state"], "paused");
    assert_eq!(container(&reeve, &agent), before);

    let said = client.ask(&one, "!shell cat kept ~/kept").await;
    assert!(said.contains("here\nthere"), "workspace and home are as they were: {said}");
    assert_eq!(client.get(&path).await.is(200)["state"], "active");
    assert_eq!(container(&reeve, &agent).0, before.0 + 1);
    assert_eq!(client.ask(&one, "!count").await, "4", "the agent has the session it had");
}

#[tokio::test]
async fn an_archived_agent_rests_until_it_is_restored_or_needed() {
    let reeve = reeve().await;
    let client = reeve.client();
    let agent = client.agent().await;
    let path = format!("/v1/agents/{agent}");
    let verb = async |verb: &str, body: Value| client.post(&format!("{path}/{verb}"), body).await;
    let session = client.session(&agent).await;
    client.ask(&session, "!shell echo here > kept").await;

    let run = client.prompt(&session, "!wait").await;
    client.reaches(&run, "streaming").await;
    assert_eq!(verb("archive", Value::Null).await.is(409)["code"], "agent_busy");
    let archived = verb("archive", json!({ "force": true })).await.is(200);
    assert_eq!(archived["state"], "archived");
    assert_eq!(client.ended(&run).await["state"], "cancelled");
    at_rest(&reeve, &agent).await;
    let before = container(&reeve, &agent);
    assert_eq!(client.all("/v1/agents?state=archived").await, [archived]);
    for refused in ["pause", "resume"] {
        let reply = verb(refused, Value::Null).await.is(409);
        assert_eq!(reply["code"], "state_refused");
        assert!(reply["detail"].as_str().unwrap().contains("restore"), "{reply:#}");
    }
    assert_eq!(verb("archive", Value::Null).await.is(200)["state"], "archived");
    assert_eq!(verb("restore", Value::Null).await.is(200)["state"], "active");
    assert_eq!(container(&reeve, &agent), before, "restoring starts nothing");

    verb("pause", Value::Null).await.is(200);
    assert_eq!(verb("restore", Value::Null).await.is(409)["code"], "state_refused");
    assert_eq!(verb("archive", Value::Null).await.is(200)["state"], "archived");
    let said = client.ask(&session, "!shell cat kept").await;
    assert!(said.contains("here"), "a prompt wakes it, and its files are there: {said}");
    assert_eq!(client.get(&path).await.is(200)["state"], "active");
}

#[tokio::test]
async fn a_session_and_a_change_of_a_file_wake_and_reading_does_not() {
    let reeve = reeve().await;
    let client = reeve.client();
    let agent = client.agent().await;
    let path = format!("/v1/agents/{agent}");
    let state = async || client.get(&path).await.text("/state");
    client.put_file(&agent, "kept", b"here").await;
    let first = client.made(&format!("{path}/snapshots"), Value::Null).await;
    for verb in ["pause", "archive"] {
        let rests = async || client.post(&format!("{path}/{verb}"), Value::Null).await.is(200);
        let resting = rests().await["state"].clone();
        for read in ["", "/files", "/files/raw?path=kept", "/snapshots", "/files/export?paths=kept"]
        {
            assert_eq!(client.get(&format!("{path}{read}")).await.status, 200);
        }
        let missing = client.delete(&format!("{path}/files/raw?path=missing")).await;
        assert_eq!(missing.status, 404);
        assert_eq!(state().await, resting, "what cannot be done wakes nobody");
        client.session(&agent).await;
        assert_eq!(state().await, "active");
        rests().await;
        client.put_file(&agent, "kept", b"there").await;
        assert_eq!(state().await, "active");
        rests().await;
        client.post(&format!("{path}/snapshots/{first}/rollback"), Value::Null).await.is(201);
        assert_eq!(state().await, "active");
    }
}

#[tokio::test]
async fn a_run_is_what_its_plan_says() {
    let reeve = reeve().await;
    let client = reeve.client();
    let profile = json!({ "profile": { "env": { "PLACE": "here", "COLOUR": "none" } } });
    let container = client.made("/v1/containers", profile).await;
    let agent = client.agent_with(json!({ "env": { "COLOUR": "red", "SIZE": "small" } })).await;
    let install = format!("/v1/containers/{container}/agents");
    client.post(&install, json!({ "agentId": agent })).await.is(201);
    let setup = json!({ "env": { "SIZE": "large" }, "workingDir": "deep" });
    let session = json!({ "agentId": agent, "session": setup });
    let session = client.made("/v1/sessions", session).await;
    let asked = "!shell echo $PLACE $COLOUR $SIZE";
    let first = client.prompt(&session, "!wait").await;
    client.reaches(&first, "streaming").await;
    let second = client.prompt(&session, asked).await;
    client
        .patch(&format!("/v1/agents/{agent}"), json!({ "env": { "COLOUR": "blue" } }))
        .await
        .is(200);
    let third = client.prompt(&session, asked).await;
    client.post(&format!("/v1/runs/{first}/cancel"), Value::Null).await.is(202);
    for (run, colour) in [(second, "red"), (third, "blue")] {
        let ended = client.ended(&run).await;
        assert_eq!(ended["state"], "completed", "{ended:#}");
        assert_eq!(client.said(&session, &run).await.trim(), format!("here {colour} large"));
        let plan = client.get(&format!("/v1/plans/{}", ended["plan"].as_str().unwrap())).await;
        let plan = &plan.is(200)["plan"];
        let env = json!({ "PLACE": "here", "COLOUR": colour, "SIZE": "large" });
        assert_eq!((&plan["process"]["env"], &plan["workingDir"]), (&env, &json!("deep")));
    }
}

#[tokio::test]
async fn what_changes_of_an_agent_counts_from_its_next_run_on() {
    let reeve = reeve().await;
    let client = reeve.client();
    let agent = client.agent_with(json!({ "env": { "COLOUR": "red" } })).await;
    let path = format!("/v1/agents/{agent}");
    let session = client.session(&agent).await;
    assert_eq!(client.ask(&session, "!shell echo $COLOUR").await.trim(), "red");
    client.patch(&path, json!({ "env": { "COLOUR": "blue" } })).await.is(200);
    assert_eq!(client.ask(&session, "!shell echo $COLOUR").await.trim(), "blue");
    assert_eq!(client.ask(&session, "!count").await, "3");

    let version = client.get(&path).await.is(200)["version"].as_u64().unwrap();
    let change = async |version: &str, body: Value| {
        let request = client.request(reqwest::Method::PATCH, &path).header("if-match", version);
        client.send(request.json(&body)).await
    };
    let stale = change(&(version - 1).to_string(), json!({ "name": "late" })).await;
    assert_eq!(stale.text("/code"), "version_mismatch");
    stale.is(412);
    let fields = json!({ "model": "m/1", "systemPrompt": "be kind", "limits": { "maxTurns": 9 } });
    let changed = change(&format!("\"{version}\""), fields).await.is(200);
    assert_eq!(changed["version"], version + 1);
    assert_eq!(changed["limits"]["maxTurns"], 9);
    assert_eq!(changed["env"]["COLOUR"], "blue", "what is left out stays");
    let nothing = json!({ "model": null, "systemPrompt": null, "limits": null, "env": null });
    let cleared = change("*", nothing).await.is(200);
    assert_eq!((&cleared["model"], &cleared["env"]), (&Value::Null, &json!({})));
    assert_eq!(
        (&cleared["systemPrompt"], &cleared["limits"]["maxTurns"]),
        (&Value::Null, &json!(50))
    );
    assert_eq!(client.get(&path).await.is(200), cleared);
    let delete = client.request(reqwest::Method::DELETE, &path).header("if-match", "1");
    assert_eq!(client.send(delete).await.text("/code"), "version_mismatch");
    assert_eq!(client.get(&path).await.is(200), cleared);
}

#[tokio::test]
async fn a_deleted_agent_leaves_nothing_and_makes_room() {
    let reeve = reeve().await;
    let client = reeve.realm_with(json!({ "maxAgents": 1 })).await;
    let agent = client.agent().await;
    let path = format!("/v1/agents/{agent}");
    let (session, idle) = (client.session(&agent).await, client.session(&agent).await);
    client.ask(&idle, "!shell touch kept; cp kept ~/kept").await;
    let run = client.prompt(&session, "!fork\n!ignoreterm\n!ignorecancel").await;
    client.reaches(&run, "streaming").await;
    let waiting = client.prompt(&session, "after that").await;
    let full = client.post("/v1/agents", json!({ "name": "two", "driver": "acp" })).await;
    assert_eq!(full.text("/code"), "quota_reached");
    full.is(429);
    assert_eq!(client.all("/v1/agents?limit=100").await.len(), 1, "what was refused is not there");
    assert!(!files_named(&reeve, &agent).is_empty() && !mentioning_container(&agent).is_empty());

    client.delete(&path).await.is(204);
    for gone in [path.as_str(), "/v1/agents?label=a%3Db"] {
        let reply = client.get(gone).await;
        assert!(
            reply.status == 404 || reply.body["items"] == json!([]),
            "{gone}: {:#}",
            reply.body
        );
    }
    let again = json!({ "name": "next", "driver": "acp" });
    at_last("its place is free", async || {
        client.post("/v1/agents", again.clone()).await.status == 201
    })
    .await;
    for gone in [
        path.clone(),
        format!("/v1/sessions/{session}"),
        format!("/v1/sessions/{session}/events"),
        format!("/v1/sessions/{idle}"),
        format!("/v1/runs/{run}"),
        format!("/v1/runs/{waiting}"),
    ] {
        assert_eq!(client.get(&gone).await.is(404)["code"], "not_found", "{gone}");
    }
    assert_eq!(client.delete(&path).await.is(404)["code"], "not_found");
    for list in ["/v1/sessions?limit=9", "/v1/runs?limit=9"] {
        assert_eq!(client.all(list).await, [Value::Null; 0], "{list}");
    }
    assert_eq!(files_named(&reeve, &agent), [""; 0]);
    assert_eq!(mentioning_container(&agent), []);
    // What it was run by stays: that is what tells afterwards what happened.
    let mut left = super::stored::mentions(&reeve, agent.trim_start_matches("agt_"));
    left.retain(|key| !key.contains("#PLN sha256:"));
    assert_eq!(left, [""; 0]);
}

pub(crate) fn mentioning_container(agent: &str) -> Vec<rustix::process::Pid> {
    mentioning(std::path::Path::new(agent.trim_start_matches("agt_")))
}

/// The files and directories that carry the agent's ULID in their names.
fn files_named(reeve: &Reeve, agent: &str) -> Vec<String> {
    let ulid = agent.trim_start_matches("agt_");
    let (mut found, mut next) = (Vec::new(), vec![reeve.data().to_owned()]);
    while let Some(dir) = next.pop() {
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().contains(ulid) {
                found.push(entry.path().display().to_string());
            } else if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                next.push(entry.path());
            }
        }
    }
    found
}
