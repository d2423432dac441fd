//! An agent that wants to know something, and somebody who says it.

use serde_json::{Value, json};
use tests::http::{Client, Reply};
use tests::reeve::{Options, Reeve};

/// A session with an agent, and a run in it that waits to be told something.
async fn waiting(client: &Client, directive: &str) -> (String, String, Value) {
    let agent = client.agent().await;
    let session = client.session(&agent).await;
    let run = client.prompt(&session, directive).await;
    let waiting = client.reaches(&run, "awaiting_approval").await;
    (session, run, waiting["elicitations"][0].clone())
}

async fn answer(client: &Client, run: &str, body: Value) -> Reply {
    client.post(&format!("/v1/runs/{run}/answer"), body).await
}

async fn events(client: &Client, session: &str, kind: &str) -> Vec<Value> {
    let past = client.past(session).await;
    past.into_iter().filter(|event| event["type"] == kind).map(|e| e["data"].clone()).collect()
}

#[tokio::test]
async fn a_form_is_filled_in_as_it_asks() {
    let reeve = Reeve::start(Options::default()).await;
    let client = reeve.client();
    let (session, run, asked) = waiting(&client, "!elicit form").await;
    assert_eq!(asked["message"], "Who are you?");
    assert_eq!(asked["inquiry"]["mode"], "form");
    assert_eq!(asked["inquiry"]["requestedSchema"]["required"], json!(["name"]));
    let id = &asked["requestId"];
    let accept =
        |content: Value| json!({ "requestId": id, "action": "accept", "content": content });
    for unfit in [json!({}), json!({ "name": "A" }), json!({ "name": 1 }), json!([])] {
        let wrong = answer(&client, &run, accept(unfit)).await;
        assert_eq!(wrong.is(422)["code"], "invalid_value");
    }
    let mixed = json!({ "requestId": id, "action": "decline", "content": { "name": "Ada" } });
    assert_eq!(answer(&client, &run, mixed).await.is(422)["code"], "invalid_value");
    let option = json!({ "requestId": id, "optionId": "y" });
    assert_eq!(answer(&client, &run, option).await.is(422)["code"], "invalid_value");

    let told = answer(&client, &run, accept(json!({ "name": "Ada" }))).await;
    assert_eq!(told.is(202)["elicitations"], json!([]));
    let ended = client.ended(&run).await;
    assert_eq!((&ended["state"], &ended["elicitations"]), (&json!("completed"), &json!([])));
    let heard: Value = serde_json::from_str(&client.said(&session, &run).await).unwrap();
    assert_eq!(heard, json!({ "action": "accept", "content": { "name": "Ada" } }));
    answer(&client, &run, accept(json!({ "name": "Ada" }))).await.is(409);

    let asked = events(&client, &session, "elicitation_request").await;
    assert_eq!((&asked[0]["requestId"], &asked[0]["mode"]), (id, &json!("form")));
    assert!(asked[0]["requestedSchema"].is_object());
    // What was filled in is for the agent alone.
    let answered = events(&client, &session, "elicitation_response").await;
    assert_eq!(answered, [json!({ "requestId": id, "action": "accept" })]);
    let states: Vec<_> = events(&client, &session, "run_state").await;
    let states: Vec<_> = states.iter().map(|data| data["state"].as_str().unwrap()).collect();
    let expected =
        ["queued", "dispatching", "streaming", "awaiting_approval", "streaming", "completed"];
    assert_eq!(states, expected);
}

#[tokio::test]
async fn an_address_is_visited_and_the_agent_says_when_it_was() {
    let reeve = Reeve::start(Options::default()).await;
    let client = reeve.client();
    let (session, run, asked) = waiting(&client, "!elicit url").await;
    let id = asked["requestId"].clone();
    let expected =
        json!({ "mode": "url", "elicitationId": "visit-1", "url": "https://example.com/login" });
    assert_eq!(asked["inquiry"], expected);
    let content = json!({ "requestId": id, "action": "accept", "content": { "password": "x" } });
    assert_eq!(answer(&client, &run, content).await.is(422)["code"], "invalid_value");
    answer(&client, &run, json!({ "requestId": id, "action": "accept" })).await.is(202);
    assert_eq!(client.ended(&run).await["state"], "completed");
    let visited = events(&client, &session, "elicitation_complete").await;
    assert_eq!(visited, [json!({ "requestId": id, "elicitationId": "visit-1" })]);
}

#[tokio::test]
async fn who_declines_or_decides_nothing_is_heard_too() {
    let reeve = Reeve::start(Options::default()).await;
    let client = reeve.client();
    for (body, action) in [(json!({ "action": "decline" }), "decline"), (json!({}), "cancel")] {
        let (session, run, asked) = waiting(&client, "!elicit form").await;
        let mut body = body;
        body["requestId"] = asked["requestId"].clone();
        answer(&client, &run, body).await.is(202);
        assert_eq!(client.ended(&run).await["state"], "completed");
        assert!(client.said(&session, &run).await.contains(action));
    }
    // A run that is cancelled does not wait any longer.
    let (_, run, asked) = waiting(&client, "!elicit form").await;
    client.post(&format!("/v1/runs/{run}/cancel"), json!({})).await.is(202);
    assert_eq!(client.ended(&run).await["state"], "cancelled");
    let late = json!({ "requestId": asked["requestId"], "action": "decline" });
    answer(&client, &run, late).await.is(409);
}

#[tokio::test]
async fn an_agent_whose_questions_nobody_is_to_hear_is_declined() {
    let reeve = Reeve::start(Options::default()).await;
    let client = reeve.client();
    let alone = client.agent_with(json!({ "elicitations": "decline" })).await;
    let read = client.get(&format!("/v1/agents/{alone}")).await.is(200);
    assert_eq!(read["elicitations"], "decline");
    let session = client.session(&alone).await;
    let run = client.prompt(&session, "!elicit form").await;
    assert_eq!(client.ended(&run).await["state"], "completed");
    assert!(client.said(&session, &run).await.contains("decline"));
    assert!(events(&client, &session, "elicitation_request").await.is_empty());
}

#[tokio::test]
async fn a_question_outlives_its_control_plane() {
    let mut reeve = Reeve::start(Options::default()).await;
    let (session, run, asked) = waiting(&reeve.client(), "!elicit form").await;
    reeve.kill9();
    reeve.restart(Options::default()).await;
    let client = reeve.client();
    let found = client.get(&format!("/v1/runs/{run}")).await.is(200);
    assert_eq!((&found["state"], &found["elicitations"][0]), (&json!("awaiting_approval"), &asked));
    let content = json!({ "name": "Grace" });
    let body = json!({ "requestId": asked["requestId"], "action": "accept", "content": content });
    answer(&client, &run, body).await.is(202);
    assert_eq!(client.ended(&run).await["state"], "completed");
    assert!(client.said(&session, &run).await.contains("Grace"));
}
