//! An agent that asks, and somebody who answers.

use serde_json::{Value, json};
use tests::http::Client;
use tests::reeve::{Options, Reeve};

/// A session with an agent that asks through the API, and a run in it that waits.
async fn waiting(client: &Client) -> (String, String, Value) {
    let agent = client.agent_with(json!({ "driver": "acp", "permissions": "ask" })).await;
    let session = client.session(&agent).await;
    let run = client.prompt(&session, "!permission").await;
    let waiting = client.reaches(&run, "awaiting_approval").await;
    (session, run, waiting["permissions"][0].clone())
}

async fn answer(client: &Client, run: &str, body: Value) -> tests::http::Reply {
    client.post(&format!("/v1/runs/{run}/answer"), body).await
}

fn option(asked: &Value, kind: &str) -> Value {
    let options = asked["options"].as_array().unwrap();
    options.iter().find(|option| option["kind"] == kind).unwrap()["optionId"].clone()
}

#[tokio::test]
async fn a_run_waits_for_an_answer_and_goes_on_with_it() {
    let reeve = Reeve::start(Options::default()).await;
    let client = reeve.client();
    let (session, run, asked) = waiting(&client).await;
    let id = &asked["requestId"];
    let wrong = answer(&client, &run, json!({ "requestId": id, "optionId": "nothing" })).await;
    assert_eq!(wrong.is(422)["code"], "invalid_value");
    let wrong = answer(&client, &run, json!({ "requestId": "ask_99", "optionId": "x" })).await;
    assert_eq!(wrong.is(409)["code"], "state_refused");
    let chosen = option(&asked, "allow_once");
    let body = json!({ "requestId": id, "optionId": chosen });
    answer(&client, &run, body.clone()).await.is(202);
    let ended = client.ended(&run).await;
    assert_eq!((&ended["state"], &ended["permissions"]), (&json!("completed"), &json!([])));
    assert!(client.said(&session, &run).await.contains(chosen.as_str().unwrap()));
    answer(&client, &run, body).await.is(409);

    let past = client.past(&session).await;
    let of = |kind: &str| past.iter().filter(|event| event["type"] == kind).collect::<Vec<_>>();
    assert_eq!(of("permission_request")[0]["data"]["requestId"], *id);
    assert_eq!(of("permission_response")[0]["data"]["outcome"]["optionId"], chosen);
    let states: Vec<_> =
        of("run_state").iter().map(|event| event["data"]["state"].clone()).collect();
    let expected =
        ["queued", "dispatching", "streaming", "awaiting_approval", "streaming", "completed"];
    assert_eq!(states, expected);
}

#[tokio::test]
async fn a_request_that_nobody_allows_is_told_as_cancelled() {
    let reeve = Reeve::start(Options::default()).await;
    let client = reeve.client();
    let (_, run, asked) = waiting(&client).await;
    answer(&client, &run, json!({ "requestId": asked["requestId"] })).await.is(202);
    assert_eq!(client.ended(&run).await["state"], "completed");
    // And a run that is cancelled does not wait any longer.
    let (_, run, asked) = waiting(&client).await;
    client.post(&format!("/v1/runs/{run}/cancel"), json!({})).await.is(202);
    assert_eq!(client.ended(&run).await["state"], "cancelled");
    let late = json!({ "requestId": asked["requestId"], "optionId": option(&asked, "allow_once") });
    answer(&client, &run, late).await.is(409);
}

#[tokio::test]
async fn a_run_that_waits_outlives_its_control_plane() {
    let mut reeve = Reeve::start(Options::default()).await;
    let (session, run, asked) = waiting(&reeve.client()).await;
    reeve.kill9();
    reeve.restart(Options::default()).await;
    let client = reeve.client();
    let found = client.get(&format!("/v1/runs/{run}")).await.is(200);
    assert_eq!((&found["state"], &found["permissions"][0]), (&json!("awaiting_approval"), &asked));
    let chosen = option(&asked, "reject_once");
    let body = json!({ "requestId": asked["requestId"], "optionId": chosen });
    answer(&client, &run, body).await.is(202);
    assert_eq!(client.ended(&run).await["state"], "completed");
    assert!(client.said(&session, &run).await.contains(chosen.as_str().unwrap()));
}

#[tokio::test]
async fn each_kind_of_tool_is_answered_as_the_template_says() {
    let reeve = Reeve::start(Options::default()).await;
    let client = reeve.client();
    let by_kind = json!({ "default": "ask", "read": "allow", "execute": "reject" });
    let template = json!({ "name": "careful", "driver": "acp", "permissions": by_kind });
    let template = client.post("/v1/templates", template).await.is(201);
    assert_eq!(template["permissions"], by_kind);
    let wrong = json!({ "name": "odd", "driver": "acp", "permissions": { "write": "allow" } });
    client.post("/v1/templates", wrong).await.is(400);
    let new = json!({ "name": "one of them", "templateId": template["id"] });
    let agent = client.post("/v1/agents", new).await.is(201);
    assert_eq!(agent["permissions"], by_kind);
    let session = client.session(agent["id"].as_str().unwrap()).await;
    let mut answers = Vec::new();
    for prompt in ["!permission read", "!permission execute", "!permission read told"] {
        let run = client.prompt(&session, prompt).await;
        assert_eq!(client.ended(&run).await["state"], "completed");
        answers.push(client.said(&session, &run).await);
    }
    assert_eq!(answers, ["y", "n", "y"]);
    for prompt in ["!permission edit", "!permission edit told", "!permission from_the_future"] {
        let run = client.prompt(&session, prompt).await;
        let waits = client.reaches(&run, "awaiting_approval").await;
        let asked = &waits["permissions"][0];
        let action = json!({ "requestId": asked["requestId"], "action": "accept" });
        assert_eq!(answer(&client, &run, action).await.is(422)["code"], "invalid_value");
        let body =
            json!({ "requestId": asked["requestId"], "optionId": option(asked, "allow_once") });
        answer(&client, &run, body).await.is(202);
        assert_eq!(client.ended(&run).await["state"], "completed");
    }
}
