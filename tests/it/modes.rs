//! What an agent offers in a session, and what it is set to.

use serde_json::{Value, json};
use tests::http::Client;
use tests::reeve::{Options, Reeve};

async fn rich(client: &Client) -> String {
    client.agent_with(json!({ "env": { "ECHO_CAPABILITIES": "rich" } })).await
}

async fn open(client: &Client, agent: &str, settings: Value) -> String {
    let new = json!({ "agentId": agent, "session": { "settings": settings } });
    let session = client.post("/v1/sessions", new).await.is(201);
    session["id"].as_str().unwrap().to_owned()
}

async fn set_to(client: &Client, session: &str) -> String {
    let run = client.prompt(session, "!settings").await;
    assert_eq!(client.ended(&run).await["state"], "completed");
    client.said(session, &run).await
}

async fn read(client: &Client, session: &str) -> Value {
    client.get(&format!("/v1/sessions/{session}")).await.is(200)
}

#[tokio::test]
async fn a_session_shows_what_its_agent_offers() {
    let reeve = Reeve::start(Options::default()).await;
    let client = reeve.client();
    let agent = rich(&client).await;
    let session = open(&client, &agent, json!({})).await;
    assert_eq!(read(&client, &session).await["offers"]["modes"], json!([]));
    assert_eq!(set_to(&client, &session).await, "mode=ask model=small effort=low web=false");
    let offers = &read(&client, &session).await["offers"];
    assert_eq!(offers["mode"], "ask");
    let modes = json!([{ "id": "ask", "name": "Ask" }, { "id": "code", "name": "Code" }]);
    assert_eq!(offers["modes"], modes);
    assert_eq!(
        (&offers["model"], offers["models"][1]["id"].clone()),
        (&json!("small"), json!("large"))
    );
    assert_eq!(offers["options"][0]["id"], "effort");
}

#[tokio::test]
async fn what_is_wanted_is_set_and_set_again_when_the_agent_has_forgotten_it() {
    let mut reeve = Reeve::start(Options::default()).await;
    let client = reeve.client();
    let agent = rich(&client).await;
    let options = json!({ "effort": "high", "web": true });
    let wanted = json!({ "mode": "code", "model": "large", "options": options });
    let session = open(&client, &agent, wanted.clone()).await;
    let expected = "mode=code model=large effort=high web=true";
    assert_eq!(set_to(&client, &session).await, expected);
    let shown = read(&client, &session).await;
    assert_eq!(shown["setup"]["settings"], wanted);
    let offers = &shown["offers"];
    assert_eq!((&offers["mode"], &offers["model"]), (&json!("code"), &json!("large")));
    assert_eq!(offers["options"][1]["currentValue"], true);
    // Another process takes the session up, and offers it as it was at first.
    client.post(&format!("/v1/agents/{agent}/pause"), json!({})).await.is(200);
    assert_eq!(set_to(&client, &session).await, expected);
    reeve.kill9();
    reeve.restart(Options::default()).await;
    assert_eq!(set_to(&reeve.client(), &session).await, expected);
}

#[tokio::test]
async fn what_the_agent_refuses_is_told_once_and_given_up() {
    let reeve = Reeve::start(Options::default()).await;
    let client = reeve.client();
    let agent = rich(&client).await;
    let options = json!({ "effort": "endless", "web": true });
    let session = open(&client, &agent, json!({ "mode": "none such", "options": options })).await;
    let expected = "mode=ask model=small effort=low web=true";
    assert_eq!(set_to(&client, &session).await, expected);
    assert_eq!(set_to(&client, &session).await, expected);
    let past = client.past(&session).await;
    let refused = past.iter().filter(|event| event["type"] == "setting_refused");
    let refused: Vec<_> = refused.map(|event| event["data"].clone()).collect();
    let mode = json!({
        "setting": "mode", "value": "none such", "reason": "there is no such mode",
    });
    let option = json!({
        "setting": "option", "option": "effort", "value": "endless",
        "reason": "there is no such value",
    });
    assert_eq!(refused, [mode, option]);
    let settings = &read(&client, &session).await["setup"]["settings"];
    assert_eq!(*settings, json!({ "options": { "web": true } }));
}

#[tokio::test]
async fn a_session_is_set_while_it_goes_on() {
    let reeve = Reeve::start(Options::default()).await;
    let client = reeve.client();
    let agent = rich(&client).await;
    let session = open(&client, &agent, json!({})).await;
    assert_eq!(set_to(&client, &session).await, "mode=ask model=small effort=low web=false");
    let path = format!("/v1/sessions/{session}/configure");
    for (wrong, field) in [
        (json!({ "mode": "none" }), "mode"),
        (json!({ "model": "none" }), "model"),
        (json!({ "options": { "none": true } }), "options"),
    ] {
        let refused = client.post(&path, wrong).await.is(422);
        assert_eq!(refused["errors"][0]["field"], field, "{refused}");
    }
    let new = json!({ "modeId": "code", "options": { "web": true } });
    let set = client.post(&path, new).await.is(202);
    let settings = json!({ "mode": "code", "options": { "web": true } });
    assert_eq!(set["setup"]["settings"], settings);
    let colon = format!("/v1/sessions/{session}:configure");
    client.post(&colon, json!({ "model": "large" })).await.is(202);
    assert_eq!(set_to(&client, &session).await, "mode=code model=large effort=low web=true");
    let left =
        client.post(&path, json!({ "mode": null, "options": { "web": null } })).await.is(202);
    assert_eq!(left["setup"]["settings"], json!({ "model": "large" }));
    client.post(&format!("/v1/sessions/{session}/close"), json!({})).await.is(200);
    client.post(&path, json!({ "mode": "ask" })).await.is(409);
}
