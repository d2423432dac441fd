//! Every function as it is shipped: the built artifact behind a Lambda runtime API, with its sample
//! event, on an emulated account.

mod runtime_api;
mod sockets;
mod unrouted;
mod workers;
mod world;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use base64::Engine;
use gate::Route;
use serde_json::{Value, json};
use tests::fault_proxy::{Fault, FaultProxy, Held};
use tests::http::PATIENCE;
use tests::sample::{self, Ids};
use tokio::time::timeout;

use runtime_api::{Answer, Function, TRACE};
use world::World;

/// The artifact that a function is part of.
fn artifact(id: &str) -> &str {
    id.split_once('.').expect("an area").0
}

/// The function of a route, in this world.
async fn function(world: &World, route: &Route) -> Function {
    Function::start(artifact(route.id), route.id, &world.environment()).await
}

fn route(id: &str) -> Route {
    routes::routes().into_iter().find(|route| route.id == id).expect("a route")
}

#[test]
fn every_function_has_its_sample_and_every_sample_its_function() {
    let ids: BTreeSet<String> = routes::routes()
        .iter()
        .map(|route| route.id)
        .chain(routes::functions().iter().map(|function| function.id))
        .map(str::to_owned)
        .collect();
    let events = Path::new(env!("CARGO_MANIFEST_DIR")).join("../events");
    let files: BTreeSet<String> = std::fs::read_dir(events)
        .unwrap()
        .filter_map(|entry| {
            Some(entry.unwrap().file_name().to_str()?.strip_suffix(".json")?.into())
        })
        .collect();
    let without: Vec<_> = ids.difference(&files).collect();
    assert!(without.is_empty(), "without a sample: {without:?}");
    // `<function>.<variant>` is another sample of a function.
    let nobodys = files.iter().filter(|file| {
        !ids.contains(*file) && !file.rsplit_once('.').is_some_and(|(id, _)| ids.contains(id))
    });
    let nobodys: Vec<_> = nobodys.collect();
    assert!(nobodys.is_empty(), "nobody's: {nobodys:?}");
}

#[tokio::test]
async fn every_route_answers_its_sample() {
    let world = World::start().await;
    for route in routes::routes() {
        let ids = world.everything_for(&route).await;
        let function = function(&world, &route).await;
        let (status, headers, body) = function.invoke(&world.sample(route.id, &ids)).await.http();
        assert_eq!(status, u64::from(route.status()), "{}: {body}\n{}", route.id, function.log());
        assert_eq!(headers["x-content-type-options"], "nosniff", "{}", route.id);
        let request = headers["x-request-id"].as_str().expect("an id");

        // One line for the request, which says whose it was; and its figures.
        let lines = function.lines();
        let told: Vec<_> = lines.iter().filter(|line| line["message"] == "answered").collect();
        let [told] = told[..] else { panic!("{}: {lines:#?}", route.id) };
        assert_eq!((&told["http.route"], &told["request.id"]), (&json!(route.id), &json!(request)));
        let span = &told["spans"][0];
        assert_eq!(span["xray_trace_id"], TRACE, "{}: {told:#}", route.id);
        if route.access != api::Access::Public {
            assert_eq!(span["realm"], world.realm.to_string(), "{}: {told:#}", route.id);
        }
        let figures = lines.iter().filter(|line| line["_aws"]["CloudWatchMetrics"].is_array());
        let figures: Vec<_> = figures.filter(|line| line["http_route"] == route.id).collect();
        assert_eq!(figures.len(), 1, "{}: {lines:#?}", route.id);
        assert!(figures[0]["http_server_request_duration_seconds"].is_array(), "{figures:#?}");
        assert_eq!(figures[0]["request_id"], span["request_id"]);
    }
}

#[tokio::test]
async fn xray_is_told_what_a_sampled_invocation_asks_of_others() {
    let world = World::start().await;
    let daemon = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut environment = world.environment();
    environment.push(("AWS_XRAY_DAEMON_ADDRESS", daemon.local_addr().unwrap().to_string()));
    let function = Function::start("agents", "agents.list", &environment).await;
    let (status, ..) = function.invoke(&world.sample("agents.list", &Ids::new())).await.http();
    assert_eq!(status, 200);
    let mut told = vec![0; 65_536];
    let length = timeout(PATIENCE, daemon.recv(&mut told)).await.unwrap().unwrap();
    let told = std::str::from_utf8(&told[..length]).unwrap();
    let (head, call) = told.split_once('\n').unwrap();
    assert_eq!(head, r#"{"format":"json","version":1}"#);
    let call: Value = serde_json::from_str(call).unwrap();
    assert_eq!((&call["name"], &call["trace_id"]), (&json!("DynamoDB"), &json!(TRACE)));
    assert_eq!(call["parent_id"], "53995c3f42cd8ad8");
    assert_eq!(call["id"].as_str().map(str::len), Some(16));
    assert!(call["start_time"].as_f64() <= call["end_time"].as_f64(), "{call:#}");
}

#[tokio::test]
async fn a_request_is_refused_in_a_function_as_anywhere() {
    let world = World::start().await;
    let create = route("agents.create");
    let function = function(&world, &create).await;
    let event = |change: &dyn Fn(&mut Value)| {
        let mut event: Value =
            serde_json::from_str(&world.sample("agents.create", &Ids::new())).unwrap();
        event["headers"].as_object_mut().unwrap().remove("idempotency-key");
        change(&mut event);
        event.to_string()
    };
    let stranger = event(&|event| event["headers"]["authorization"] = json!("Bearer nobody"));
    let large = event(&|event| event["body"] = json!("x".repeat(1024 * 1024 + 1)));
    let malformed = event(&|event| event["body"] = json!("{"));
    let elsewhere = event(&|event| event["rawPath"] = json!("/v1/nowhere"));
    for (event, status, code) in [
        (stranger, 401, "unauthenticated"),
        (large, 413, "body_too_large"),
        (malformed, 400, "invalid_body"),
        (elsewhere, 404, "no_such_route"),
    ] {
        let (found, headers, body) = function.invoke(&event).await.http();
        assert_eq!(found, status, "{body}");
        assert_eq!(headers["content-type"], "application/problem+json");
        let problem: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(problem["code"], code);
    }
    // Spellings that are one: a stage that the gateway has cut off, an alias, a body in base64.
    let encoded = |event: &mut Value| {
        let body = event["body"].as_str().unwrap().to_owned();
        event["body"] = json!(base64::engine::general_purpose::STANDARD.encode(body));
        event["isBase64Encoded"] = json!(true);
    };
    for same in [
        event(&|event| event["rawPath"] = json!("/agents")),
        event(&|event| {
            event["rawPath"] = json!("/api/agents");
            event["requestContext"]["stage"] = json!("$default");
        }),
        event(&encoded),
    ] {
        let (status, _, body) = function.invoke(&same).await.http();
        assert_eq!(status, 201, "{body}");
    }
}

#[tokio::test]
async fn a_function_that_is_not_there_ends_at_its_start() {
    let world = World::start().await;
    for artifact in ["agents", "sockets", "workers"] {
        let mut function = Function::start(artifact, "no.such", &world.environment()).await;
        assert!(!function.ended().await.success());
        assert!(function.log().contains("no.such"), "{}", function.log());
    }
    // So does one that is not told what it needs, and says what.
    let mut environment = world.environment();
    environment.retain(|(name, _)| *name != "REEVE_TABLE");
    let mut function = Function::start("agents", "agents.list", &environment).await;
    assert!(!function.ended().await.success());
    assert!(function.log().contains("REEVE_TABLE"), "{}", function.log());
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_told_so_in_time() {
    // Takes every connection and never answers.
    let mute = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", mute.local_addr().unwrap());
    let world = World::start().await;
    let mut environment = world.environment();
    environment.retain(|(name, _)| *name != "AWS_ENDPOINT_URL");
    environment.push(("AWS_ENDPOINT_URL", endpoint));
    let function = Function::start("agents", "agents.list", &environment).await;
    let event = world.sample("agents.list", &Ids::new());
    let answer = function.invoke_within(&event, Duration::from_secs(2)).await;
    let (status, headers, body) = answer.http();
    assert_eq!(status, 503, "{body}");
    let problem: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(problem["code"], "unavailable");
    assert_eq!(problem["instance"], headers["x-request-id"]);
}

#[tokio::test]
async fn no_page_is_larger_than_lambda_passes_on() {
    let world = World::start().await;
    let ids = world.everything_for(&route("sessions.events")).await;
    // Eight megabytes of what grows when it is spelled: each is one item of a quarter of a megabyte.
    world.tell(&ids, 32, &"\"".repeat(120_000)).await;
    let mut event: Value = serde_json::from_str(&world.sample("sessions.events", &ids)).unwrap();
    let function = function(&world, &route("sessions.events")).await;
    let (mut after, mut seen, mut pages) = (0, 0, 0);
    loop {
        event["rawQueryString"] = json!(format!("limit=1000&after={after}"));
        let whole = function.invoke(&event.to_string()).await.whole();
        assert!(whole.to_string().len() < 6 * 1024 * 1024, "{}", whole.to_string().len());
        assert_eq!(whole["statusCode"], 200, "{whole}");
        let page: Value = serde_json::from_str(whole["body"].as_str().unwrap()).unwrap();
        let items = page["items"].as_array().unwrap();
        (seen, pages) = (seen + items.len(), pages + 1);
        after = items.last().and_then(|event| event["seq"].as_u64()).unwrap_or(after);
        if page["nextCursor"].is_null() {
            break;
        }
    }
    assert_eq!(seen, 32);
    assert!(pages > 1, "{pages}");
}

/// A file that is larger than Lambda passes on, in the workspace of an agent; its bytes.
async fn large(world: &World, ids: &Ids) -> Vec<u8> {
    let content: Vec<u8> = (0..=250).cycle().take(7_000_000).collect();
    world.put_file(&ids["agentId"], sample::FILE, &content).await;
    content
}

#[tokio::test]
async fn what_lambda_does_not_pass_on_is_left_where_who_asked_is_sent() {
    let world = World::start().await;
    for (id, form, more) in [
        ("files.get", "application/octet-stream", 0..1),
        ("files.export", "application/x-tar", 512..100_000),
    ] {
        let ids = world.everything_for(&route(id)).await;
        let content = large(&world, &ids).await;
        let function = function(&world, &route(id)).await;
        let (status, headers, body) = function.invoke(&world.sample(id, &ids)).await.http();
        assert_eq!((status, body.as_str()), (303, ""), "{id}: {}", function.log());
        assert_eq!(headers["cache-control"], "no-store");
        let address = headers["location"].as_str().unwrap();
        assert!(
            address.contains("/outgoing/") && address.contains("X-Amz-Expires=600"),
            "{address}"
        );
        // Whoever has the address needs no key.
        let http = tests::http::connector();
        let left = http.get(address).send().await.unwrap();
        assert_eq!(
            (left.status().as_u16(), &left.headers()["content-type"]),
            (200, &form.parse().unwrap())
        );
        let disposition = left.headers()["content-disposition"].to_str().unwrap().to_owned();
        assert!(disposition.starts_with("attachment; filename*=UTF-8''"), "{disposition}");
        let left = left.bytes().await.unwrap();
        assert!(more.contains(&(left.len() - content.len())), "{id}: {}", left.len());
        assert!(left.windows(content.len()).any(|part| part == content), "{id}");
        let mended = address.replace("X-Amz-Expires=600", "X-Amz-Expires=6000");
        assert_eq!(http.get(mended).send().await.unwrap().status(), 403, "an address is signed");
    }
}

#[tokio::test]
async fn a_part_that_is_too_large_is_not_left_but_asked_for_in_parts() {
    let world = World::start().await;
    let ids = world.everything_for(&route("files.get")).await;
    let content = large(&world, &ids).await;
    let function = function(&world, &route("files.get")).await;
    let mut event: Value = serde_json::from_str(&world.sample("files.get", &ids)).unwrap();
    event["headers"]["range"] = json!("bytes=1000000-6999999");
    let (status, _, body) = function.invoke(&event.to_string()).await.http();
    let problem: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &problem["code"]), (413, &json!("transfer_too_large")));
    event["headers"]["range"] = json!("bytes=1000000-1000099");
    let (status, headers, body) = function.invoke(&event.to_string()).await.http();
    assert_eq!((status, &headers["content-range"]), (206, &json!("bytes 1000000-1000099/7000000")));
    let body = base64::engine::general_purpose::STANDARD.decode(body).unwrap();
    assert_eq!(body, content[1_000_000..1_000_100]);
}

#[tokio::test]
async fn an_answer_that_takes_too_long_to_be_left_is_given_up_in_time() {
    let world = World::start().await;
    let ids = world.everything_for(&route("files.get")).await;
    large(&world, &ids).await;
    let proxy = FaultProxy::start(world.emulator.endpoint()).await;
    let mut environment = world.environment();
    environment.retain(|(name, _)| *name != "AWS_ENDPOINT_URL");
    environment.push(("AWS_ENDPOINT_URL", proxy.endpoint()));
    let function = Function::start("files", "files.get", &environment).await;
    let bucket = environment.iter().find(|(name, _)| *name == "REEVE_BUCKET").unwrap();
    let held = Held::default();
    proxy.fault(&format!("/{}/outgoing/", bucket.1), Fault::Hold(held.clone()), usize::MAX);
    let event = world.sample("files.get", &ids);
    let answer = function.invoke_within(&event, Duration::from_secs(4)).await;
    held.came(1).await;
    let (status, headers, body) = answer.http();
    let problem: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &problem["code"]), (413, &json!("transfer_too_large")), "{body}");
    assert_eq!(problem["instance"], headers["x-request-id"]);
}

#[tokio::test]
async fn who_wants_a_stream_is_sent_where_it_is_with_a_ticket_that_works_once() {
    let world = World::start().await;
    let ids = world.everything_for(&route("runs.get")).await;
    let asks = function(&world, &route("sessions.events")).await;
    let mut event: Value = serde_json::from_str(&world.sample("sessions.events", &ids)).unwrap();
    event["headers"]["accept"] = json!("text/event-stream");
    event["headers"]["last-event-id"] = json!("1");
    let (status, headers, body) = asks.invoke(&event.to_string()).await.http();
    assert_eq!((status, &headers["cache-control"]), (307, &json!("no-store")), "{body}");
    let location = headers["location"].as_str().expect("an address");
    let rest = location.strip_prefix("https://events.example").expect("the address we were told");
    let (path, query) = rest.split_once('?').expect("a query");
    assert_eq!(path, event["rawPath"]);
    assert!(query.contains("after=1") && query.contains("ticket="), "{query}");

    // It is followed without a key.
    let mut follow: Value =
        serde_json::from_str(&world.sample("sessions.events.stream", &ids)).unwrap();
    follow["headers"].as_object_mut().unwrap().remove("authorization");
    follow["rawQueryString"] = json!(query);
    let streams = Function::start("sessions", "sessions.events.stream", &world.environment()).await;
    let stream = async |event: &Value| match streams
        .invoke_within(&event.to_string(), Duration::from_secs(6))
        .await
    {
        Answer::Stream(head, body) => (head["statusCode"].as_u64().unwrap(), body),
        other @ (Answer::Whole(_) | Answer::Failed(_)) => panic!("{other:?}"),
    };
    let (status, body) = stream(&follow).await;
    assert_eq!(status, 200, "{body}");
    assert!(body.contains("id: 2\n") && !body.contains("id: 1\n"), "{body}");
    // Once. Nor does a changed one work, or one that is presented where streams are not.
    let ticket = query.rsplit_once('=').unwrap().1.to_owned();
    assert_eq!(stream(&follow).await.0, 401);
    follow["rawQueryString"] = json!(query.replace("et_0", "et_1"));
    assert_eq!(stream(&follow).await.0, 401);
    event["headers"]["authorization"] = json!(format!("Bearer {ticket}"));
    assert_eq!(asks.invoke(&event.to_string()).await.http().0, 401);
}

#[tokio::test]
async fn a_stream_is_streamed_and_ends_before_its_time() {
    let world = World::start().await;
    let ids = world.everything_for(&route("runs.get")).await;
    let mut environment = world.environment();
    environment.push(("AWS_LAMBDA_LOG_LEVEL", "DEBUG".to_owned()));
    let function = Function::start("sessions", "sessions.events.stream", &environment).await;
    let event = world.sample("sessions.events.stream", &ids);
    let time = Duration::from_secs(7);
    assert!(time < PATIENCE);
    let Answer::Stream(head, body) = function.invoke_within(&event, time).await else {
        panic!("a stream: {}", function.log());
    };
    assert_eq!(head["statusCode"], 200, "{head:#}");
    assert_eq!(head["headers"]["content-type"], "text/event-stream");
    let kinds: Vec<_> = body.lines().filter_map(|line| line.strip_prefix("event: ")).collect();
    assert!(kinds.contains(&"run_state"), "{body}");
    // It read the past once and then looked again and again: nothing comes twice.
    let ids: Vec<_> = body.lines().filter_map(|line| line.strip_prefix("id: ")).collect();
    let once: BTreeSet<_> = ids.iter().collect();
    assert_eq!(once.len(), ids.len(), "{body}");
    // What is said in the log meanwhile says of whom, as what was said before.
    let lines = function.lines();
    let begun = lines.iter().position(|line| line["message"] == "answered").expect("a line");
    let queries = |line: &&Value| line["target"].as_str().is_some_and(|at| at.starts_with("aws_"));
    let meanwhile: Vec<_> = lines[begun..].iter().filter(queries).collect();
    assert!(!meanwhile.is_empty(), "it looked again and again");
    for line in meanwhile {
        let invocation = &line["spans"][0];
        assert_eq!(invocation["name"], "invocation", "{line:#}");
        assert_eq!(invocation["realm"], world.realm.to_string(), "{line:#}");
        assert_eq!(invocation["xray_trace_id"], TRACE, "{line:#}");
        assert!(invocation["request_id"].is_string(), "{line:#}");
    }
}
