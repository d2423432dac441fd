//! The routes of the WebSocket API, each with its samples: a shim that comes, speaks and goes, and a
//! client that follows what it does.

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::post;
use gate::Function as Known;
use serde_json::{Value, json};
use tests::http::PATIENCE;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::runtime_api::Function;
use super::world::World;

/// The connection that every sample is about.
const CONNECTION: &str = "AVQaTcXYFiACHQg=";

/// What was sent to the connection; nothing where it was closed.
type Sent = Option<Value>;

/// The management endpoint of the API.
struct Api {
    address: String,
    sent: mpsc::Receiver<Sent>,
}

impl Api {
    async fn start() -> Self {
        let (tell, sent) = mpsc::channel(100);
        let deliver = async |State(tell): State<mpsc::Sender<Sent>>,
                             Path(connection): Path<String>,
                             body: String| {
            assert_eq!(connection, CONNECTION);
            tell.send(Some(serde_json::from_str(&body).unwrap())).await.unwrap();
        };
        let close = async |State(tell): State<mpsc::Sender<Sent>>| {
            tell.send(None).await.unwrap();
            StatusCode::NO_CONTENT
        };
        let routes = post(deliver).delete(close);
        let api = Router::new().route("/@connections/{id}", routes).with_state(tell);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        #[expect(clippy::disallowed_methods, reason = "serves for as long as the test goes on")]
        drop(tokio::task::spawn(async move { axum::serve(listener, api).await.unwrap() }));
        Self { address, sent }
    }

    async fn next(&mut self) -> Sent {
        timeout(PATIENCE, self.sent.recv()).await.expect("something is sent").unwrap()
    }
}

/// Invokes functions of the API, each of which is started when it is needed first.
struct Sockets {
    environment: Vec<(&'static str, String)>,
}

impl Sockets {
    fn new(world: &World, api: &Api) -> Self {
        let mut environment = world.environment();
        environment.retain(|(name, _)| *name != "REEVE_CONNECTIONS");
        environment.push(("REEVE_CONNECTIONS", api.address.clone()));
        Self { environment }
    }

    /// The status with which the function of this id answers.
    async fn invoke(&self, id: &str, event: &str) -> u64 {
        let function = Function::start("sockets", id, &self.environment).await;
        let answer = function.invoke(event).await.whole();
        answer["statusCode"].as_u64().unwrap_or_else(|| panic!("{answer}\n{}", function.log()))
    }
}

/// The sample of this name, with another text in place of one it has.
fn with(sample: &str, old: &str, new: &str) -> String {
    assert!(sample.contains(old), "{sample} has no {old}");
    sample.replace(old, new)
}

#[tokio::test]
async fn a_shim_comes_speaks_and_goes() {
    let world = World::start().await;
    let mut api = Api::start().await;
    let sockets = Sockets::new(&world, &api);
    let ids = world.everything_for(&super::route("runs.get")).await;
    let (_, plan) = world.shim(ids["agentId"].parse().unwrap()).await;

    // Whoever is not known is not let in, and what it says ends its connection.
    let connect = world.sample("sockets.connect", &ids);
    assert_eq!(sockets.invoke("sockets.connect", &connect).await, 401);
    let mut hello: Value = serde_json::from_str(&world.sample("sockets.message", &ids)).unwrap();
    let said = json!({ "hello": { "protocol": wire::shim::PROTOCOL, "container": plan.container,
        "generation": plan.generation, "version": "0" } });
    hello["body"] = json!(said.to_string());
    let hello = hello.to_string();
    assert_eq!(sockets.invoke("sockets.message", &hello).await, 401);
    assert_eq!(api.next().await, None);

    let token = connect.split("Bearer ").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let connect = with(&connect, &token, &plan.token);
    assert_eq!(sockets.invoke("sockets.connect", &connect).await, 200);
    assert_eq!(sockets.invoke("sockets.message", &hello).await, 200);
    let commands = api.next().await.expect("what is pending");
    assert_eq!(commands["commands"][0]["prompt"]["run"], json!(ids["runId"]), "{commands:#}");
    // Nothing is pushed in answer to a heartbeat; what is not of the protocol ends the connection.
    let heartbeat = with(&hello, &json!(said.to_string()).to_string(), "\"\\\"heartbeat\\\"\"");
    assert_eq!(sockets.invoke("sockets.message", &heartbeat).await, 200);
    let nonsense = with(&hello, &json!(said.to_string()).to_string(), "\"nonsense\"");
    assert_eq!(sockets.invoke("sockets.message", &nonsense).await, 200);
    assert_eq!(api.next().await, None);

    // Gone twice is gone once.
    let gone = world.sample("sockets.disconnect", &ids);
    for _ in 0..2 {
        assert_eq!(sockets.invoke("sockets.disconnect", &gone).await, 200);
    }
    assert_eq!(world.app.stream().peer(CONNECTION).await.unwrap(), None);
}

#[tokio::test]
async fn a_client_follows_and_hears_what_changes() {
    let world = World::start().await;
    let mut api = Api::start().await;
    let sockets = Sockets::new(&world, &api);
    let ids = world.everything_for(&super::route("runs.get")).await;

    let connect = world.sample("sockets.connect.client", &ids);
    assert_eq!(sockets.invoke("sockets.connect", &connect).await, 401);
    let ticket = world.ticket().await;
    let sample = connect.split("\"ticket\": \"").nth(1).unwrap().split('"').next().unwrap();
    let connect = with(&connect, sample, &ticket);
    assert_eq!(sockets.invoke("sockets.connect", &connect).await, 200);
    // It worked once.
    assert_eq!(sockets.invoke("sockets.connect", &connect).await, 401);

    let invoke = async |id: &str| {
        assert_eq!(sockets.invoke(id, &world.sample(id, &ids)).await, 200, "{id}");
    };
    invoke("sockets.ping").await;
    assert_eq!(api.next().await, Some(json!({ "type": "pong" })));
    invoke("sockets.subscribe").await;
    let mut kinds = Vec::new();
    while !kinds.contains(&json!("subscribed")) || !kinds.contains(&json!("events")) {
        let frame = api.next().await.expect("a frame");
        assert_eq!(frame["topic"], format!("session:{}", ids["sessionId"]), "{frame:#}");
        kinds.push(frame["type"].clone());
    }

    // What the table's changes say comes behind it, once; what comes again ends the connection, and
    // the client comes back with what it has.
    let mut environment = sockets.environment.clone();
    environment.retain(|(name, _)| *name != "REEVE_ERRANDS_QUEUE");
    environment.push(("REEVE_ERRANDS_QUEUE", world.queue()));
    let changes = Function::start("workers", "workers.changes", &environment).await;
    let batch = world.change_of(&ids, 900);
    let answer = changes.invoke(&batch).await.whole();
    assert_eq!(answer, json!({ "batchItemFailures": [] }), "{}", changes.log());
    let frame = api.next().await.expect("a frame");
    assert_eq!((&frame["type"], &frame["cursor"]), (&json!("events"), &json!(900)), "{frame:#}");
    changes.invoke(&batch).await.whole();
    assert_eq!(api.next().await, None);
    assert_eq!(world.app.stream().peer(CONNECTION).await.unwrap(), None);
    invoke("sockets.disconnect").await;
}

#[tokio::test]
async fn a_client_may_stop_following() {
    let world = World::start().await;
    let mut api = Api::start().await;
    let sockets = Sockets::new(&world, &api);
    let ids = world.everything_for(&super::route("sessions.get")).await;
    world.app.stream().connect(CONNECTION, Some(&world.ticket().await)).await.unwrap();
    let event = world.sample("sockets.unsubscribe", &ids);
    assert_eq!(sockets.invoke("sockets.unsubscribe", &event).await, 200);
    assert_eq!(api.next().await.expect("a frame")["type"], "unsubscribed");
}

/// A route that is added to the API is added here.
#[test]
fn every_route_of_the_api_is_tried() {
    let tried = include_str!("sockets.rs");
    let untried = sockets::FUNCTIONS.iter().filter(|Known { id, .. }| {
        !tried.contains(&format!("invoke(\"{id}\"")) && !tried.contains(&format!("(\"{id}\", "))
    });
    let untried: Vec<_> = untried.map(|function| function.id).collect();
    assert!(untried.is_empty(), "{untried:?}");
}
