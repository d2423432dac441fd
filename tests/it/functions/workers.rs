//! The workers, each with its samples.

use std::time::Duration;

use app::ports::Clock;
use axum::Router;
use axum::routing::put;
use serde_json::{Value, json};
use tests::http::PATIENCE;
use tests::sample::Ids;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::route;
use super::runtime_api::{Answer, Function};
use super::world::World;

async fn worker(world: &World, id: &str) -> Function {
    Function::start("workers", id, &world.environment()).await
}

#[tokio::test]
async fn the_scheduler_carries_out_what_is_due_whatever_invokes_it() {
    let world = World::start().await;
    let function = worker(&world, "workers.scheduler").await;
    for sample in ["workers.scheduler", "workers.scheduler.schedule"] {
        // A realm that is suspended is to be made quiet.
        let realm = world.made("/v1/realms", json!({ "name": "theirs" })).await;
        world.post(&format!("/v1/realms/{realm}/suspend")).await;
        let answer = function.invoke(&world.sample(sample, &Ids::new())).await;
        assert_eq!(answer.whole(), Value::Null, "{}", function.log());
        let lines = function.lines();
        let drained = lines.iter().rfind(|line| line["message"] == "drained").expect("a line");
        assert_eq!(drained["carried_out"], 1, "{lines:#?}");
    }
    // Nothing is left, and nothing is what it does.
    function.invoke("{}").await.whole();
    let lines = function.lines();
    let drained = lines.iter().rfind(|line| line["message"] == "drained").expect("a line");
    assert_eq!(drained["carried_out"], 0, "{lines:#?}");
}

#[tokio::test]
async fn a_change_nudges_the_scheduler_once_for_each_moment() {
    let world = World::start().await;
    let function = worker(&world, "workers.changes").await;
    let mut event: Value =
        serde_json::from_str(&world.sample("workers.changes", &Ids::new())).unwrap();
    // The same errand twice is one message; one that somebody has is none.
    let mut again = event["Records"][0].clone();
    again["dynamodb"]["SequenceNumber"] = json!("4421584500000000017450439094");
    let mut claimed = again.clone();
    let body = claimed["dynamodb"]["NewImage"]["body"]["S"].as_str().unwrap();
    let later = world.clock.now().after(Duration::from_mins(5)).to_string();
    let body = body.replace("\"attempt\":0", &format!("\"attempt\":1,\"heldUntil\":\"{later}\""));
    let body = body.replace("2025-11-21T09:00:00.000Z", &later);
    claimed["dynamodb"]["NewImage"]["body"]["S"] = json!(body);
    let mut records = event["Records"].as_array().unwrap().clone();
    records.extend([again, claimed]);
    event["Records"] = records.into();

    let answer = function.invoke(&event.to_string()).await.whole();
    assert_eq!(answer, json!({ "batchItemFailures": [] }), "{}", function.log());
    let received = json!({ "QueueUrl": world.queue(), "MaxNumberOfMessages": 10 });
    let received = world.aws("AmazonSQS.ReceiveMessage", received).await;
    assert_eq!(received["Messages"].as_array().map(Vec::len), Some(1), "{received:#}");

    // What could not be sent is told, so that it comes again with all that is behind it.
    let mut environment = world.environment();
    environment.retain(|(name, _)| *name != "REEVE_ERRANDS_QUEUE");
    environment.push(("REEVE_ERRANDS_QUEUE", format!("{}-none", world.queue())));
    let function = Function::start("workers", "workers.changes", &environment).await;
    let answer = function.invoke(&event.to_string()).await.whole();
    let first = &event["Records"][0]["dynamodb"]["SequenceNumber"];
    assert_eq!(answer, json!({ "batchItemFailures": [{ "itemIdentifier": first }] }));
}

#[tokio::test]
async fn a_row_that_does_not_read_holds_nobody_up() {
    let world = World::start().await;
    let function = worker(&world, "workers.changes").await;
    let one = world.everything_for(&route("sessions.get")).await;
    world.spoil_follower(&one).await;
    let taken = json!({ "batchItemFailures": [] });
    let answer = function.invoke(&world.change_of(&one, 100)).await.whole();
    assert_eq!(answer, taken, "{}", function.log());
    assert_eq!(world.logged().await, 1, "{}", function.log());
    // Nor does a log whose end is not known: nothing can be put behind it.
    world.spoil_log(2).await;
    let answer = function.invoke(&world.change_of(&one, 101)).await.whole();
    assert_eq!(answer, taken, "{}", function.log());
    let told = function.lines().into_iter().filter(|line| line["level"] == "ERROR");
    let told: Vec<_> = told.filter_map(|line| Some(line["error"].as_str()?.to_owned())).collect();
    assert!(told.len() >= 2, "{told:?}");
    assert!(told.iter().all(|error| error.contains("does not read")), "{told:?}");
}

#[tokio::test]
async fn a_task_that_nobody_knows_changes_nothing_and_a_sweep_finds_nothing() {
    let world = World::start().await;
    let function = worker(&world, "workers.tasks").await;
    for sample in ["workers.tasks", "workers.tasks.schedule"] {
        let answer = function.invoke(&world.sample(sample, &Ids::new())).await;
        assert_eq!(answer.whole(), Value::Null, "{}", function.log());
    }
    let lines = function.lines();
    let swept = lines.iter().find(|line| line["message"] == "reconciled").expect("a line");
    assert_eq!((&swept["removed"], &swept["over"]), (&json!(0), &json!(0)));
}

/// Takes what is put there.
async fn mailbox() -> (String, mpsc::Receiver<Value>) {
    let (put_there, letters) = mpsc::channel(10);
    let take = put(async move |body: String| {
        put_there.send(serde_json::from_str(&body).unwrap()).await.unwrap();
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/answer?signed=yes", listener.local_addr().unwrap());
    let router = Router::new().route("/answer", take);
    #[expect(clippy::disallowed_methods, reason = "serves for as long as the test goes on")]
    drop(tokio::task::spawn(async move { axum::serve(listener, router).await.unwrap() }));
    (url, letters)
}

#[tokio::test]
async fn the_first_key_is_made_once_and_cloudformation_is_told() {
    let world = World::start().await;
    let function = worker(&world, "workers.bootstrap").await;
    let (url, mut letters) = mailbox().await;
    let secret = format!("{}-first", world.names);
    let kept = async || {
        let asked = json!({ "SecretId": secret });
        let held = world.aws("secretsmanager.GetSecretValue", asked).await;
        held["SecretString"].as_str().expect("a secret").to_owned()
    };
    let mut keys = Vec::new();
    for sample in ["workers.bootstrap", "workers.bootstrap.update", "workers.bootstrap.delete"] {
        let mut event: Value = serde_json::from_str(&world.sample(sample, &Ids::new())).unwrap();
        event["ResponseURL"] = json!(url);
        function.invoke(&event.to_string()).await.whole();
        let letter = timeout(PATIENCE, letters.recv()).await.unwrap().expect("an answer");
        assert_eq!(letter["Status"], "SUCCESS", "{letter:#}\n{}", function.log());
        assert_eq!(letter["PhysicalResourceId"], "first-key");
        for same in ["StackId", "RequestId", "LogicalResourceId"] {
            assert_eq!(letter[same], event[same]);
        }
        if sample != "workers.bootstrap.delete" {
            assert_eq!(letter["Data"]["RealmId"], world.realm.to_string());
        }
        keys.push(kept().await);
    }
    keys.dedup();
    let [key] = &keys[..] else { panic!("{} keys", keys.len()) };
    assert!(!function.log().contains(key.as_str()), "a key is in the log");
    // It works.
    world.app.authenticate(Some(key)).await.unwrap();

    // Where it cannot be done, CloudFormation does not wait for an hour to know.
    let mut environment = world.environment();
    environment.retain(|(name, _)| *name != "REEVE_TABLE");
    environment.push(("REEVE_TABLE", "no-such-table".to_owned()));
    let function = Function::start("workers", "workers.bootstrap", &environment).await;
    let mut event: Value =
        serde_json::from_str(&world.sample("workers.bootstrap", &Ids::new())).unwrap();
    event["ResponseURL"] = json!(url);
    function.invoke(&event.to_string()).await.whole();
    let letter = timeout(PATIENCE, letters.recv()).await.unwrap().expect("an answer");
    assert_eq!(letter["Status"], "FAILED", "{letter:#}");
    assert!(letter["Reason"].as_str().is_some_and(|reason| !reason.is_empty()));
    // An answer that nobody takes is a failure, and CloudFormation invokes again.
    event["ResponseURL"] = json!(url.replace("/answer", "/nowhere"));
    let Answer::Failed(why) = function.invoke(&event.to_string()).await else {
        panic!("it fails: {}", function.log());
    };
    assert!(why["errorMessage"].as_str().is_some_and(|why| why.contains("404")), "{why:#}");
}
