//! What is malformed is refused, says so, changes nothing and wakes nothing.

use gate::Route;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Map, Value, json};
use tests::http::{Client, Reply};
use tests::reeve::{Options, Reeve, mentioning};
use tests::sample::{self, Ids, method, shown};
use wire::Problem;

/// A realm with one of everything, where nothing runs.
async fn at_rest(reeve: &Reeve) -> (Client, Ids, Vec<(String, Value)>) {
    let client = reeve.client();
    let ids = sample::everything(&client).await;
    client.post(&format!("/v1/agents/{}/pause", ids["agentId"]), Value::Null).await.is(200);
    nothing_runs(&ids).await;
    // What has stopped is known to have a moment later.
    let container = format!("/v1/containers/{}", ids["agentId"].replace("agt_", "ctr_"));
    let known = async || client.get(&container).await.is(200)["container"]["state"] == "stopped";
    tests::given::at_last("its end is known", known).await;
    let before = shown(&client, &ids).await;
    (client, ids, before)
}

async fn nothing_runs(ids: &Ids) {
    let agent = ids["agentId"].trim_start_matches("agt_").to_owned();
    let gone = async || mentioning(std::path::Path::new(&agent)).is_empty();
    tests::given::at_last("nothing runs", gone).await;
}

async fn unchanged(client: &Client, ids: &Ids, before: &[(String, Value)]) {
    for ((path, now), (_, before)) in shown(client, ids).await.iter().zip(before) {
        assert_eq!(now, before, "{path}");
    }
    nothing_runs(ids).await;
}

#[track_caller]
fn refused(reply: &Reply, what: &str) {
    let problem = serde_json::from_slice::<Problem>(&reply.raw);
    let problem = problem.unwrap_or_else(|error| {
        panic!("{what}: {} {error} in {:.300}", reply.status, reply.body.to_string())
    });
    assert!((400..500).contains(&reply.status), "{what}: {:#}", reply.body);
    assert_eq!(problem.status, reply.status, "{what}");
    assert_eq!(reply.headers["content-type"], "application/problem+json", "{what}");
}

async fn send(client: &Client, route: &Route, ids: &Ids, form: &str, body: Vec<u8>) -> Reply {
    let request = client.request(method(route.verb), &sample::path(route, ids));
    client.send(request.header("content-type", form).body(body)).await
}

fn not_json() -> Vec<(&'static str, Vec<u8>)> {
    let text = |text: &str| text.as_bytes().to_vec();
    vec![
        ("half an object", text("{")),
        ("two documents", text("{}{}")),
        ("a trailing comma", text("{\"name\":\"a\",}")),
        ("words", text("name=a")),
        ("a NUL", vec![0]),
        ("invalid UTF-8", b"{\"name\":\"\xff\xfe\"}".to_vec()),
        ("a lone surrogate", text("{\"name\":\"\\ud800\"}")),
        ("an array", text("[]")),
        ("a string", text("\"name\"")),
        ("a number", text("1e999")),
        ("null", text("null")),
        ("deep arrays", "[".repeat(10_000).into_bytes()),
        ("deep objects", "{\"name\":".repeat(10_000).into_bytes()),
        ("deep inside", format!("{{\"name\":{}", "[".repeat(10_000)).into_bytes()),
        ("NaN", text("{\"name\":NaN}")),
        ("a byte order mark", b"\xef\xbb\xbf{}".to_vec()),
    ]
}

/// Values that no field of any shape takes, for a body that is otherwise right.
fn wrong(field: &str) -> Vec<Value> {
    let mut wrong = vec![json!({ "a": { "b": [] } }), json!([[[]]]), json!(-1), json!(1e300)];
    wrong.extend([json!(u64::MAX), json!(true), json!("\0"), json!("x".repeat(30_000))]);
    if !["command", "env", "systemPrompt", "prompt"].contains(&field) {
        wrong.extend([json!("a\nb"), json!("\u{7f}"), json!("\u{85}")]);
    }
    let takes = |value: &Value| match field {
        "force" | "pinned" => value.is_boolean(),
        "prompt" => value.as_str().is_some_and(|text| text.len() > 1),
        _ => false,
    };
    wrong.retain(|value| !takes(value));
    wrong
}

#[tokio::test]
async fn a_malformed_body_changes_nothing() {
    let reeve = Reeve::start(Options::default()).await;
    let (client, ids, before) = at_rest(&reeve).await;
    let json = "application/json";
    for route in sample::mutating() {
        let Some(good) = sample::body(&route, &ids) else { continue };
        let good = good.as_object().unwrap();
        let whole = serde_json::to_vec(good).unwrap();
        for (what, body) in not_json() {
            let reply = send(&client, &route, &ids, json, body).await;
            refused(&reply, &format!("{} given {what}", route.id));
            assert_eq!(reply.body["code"], "invalid_body", "{} given {what}", route.id);
        }
        for form in ["text/plain", "application/x-www-form-urlencoded", "application/jsonx", ""] {
            let reply = send(&client, &route, &ids, form, whole.clone()).await;
            assert_eq!(reply.is(415)["code"], "unsupported_media_type", "{} {form}", route.id);
        }
        for bytes in [(1 << 20) + 1, 10 << 20] {
            let reply = send(&client, &route, &ids, json, vec![b' '; bytes]).await;
            assert_eq!(reply.is(413)["code"], "body_too_large", "{}", route.id);
        }
        if sample::needs_body(&route) {
            refused(&send(&client, &route, &ids, json, Vec::new()).await, route.id);
        }
        let mut unknown = good.clone();
        unknown.insert("surprise".to_owned(), json!(1));
        let unknown = serde_json::to_vec(&unknown).unwrap();
        let reply = send(&client, &route, &ids, json, unknown).await;
        assert_eq!(reply.is(400)["code"], "invalid_body", "{}", route.id);
        let properties = sample::schema(&route).unwrap()["properties"].as_object().unwrap();
        for field in properties.keys() {
            for value in wrong(field) {
                let what = format!("{} given {field}: {:.60}", route.id, value.to_string());
                let mut body = good.clone();
                body.insert(field.clone(), value);
                let body = serde_json::to_vec(&body).unwrap();
                refused(&send(&client, &route, &ids, json, body).await, &what);
            }
            // One name twice is two answers to one question.
            let value =
                good.get(field).cloned().unwrap_or_else(|| sample::example(&properties[field]));
            let twice = format!("{{\"{field}\":{value},\"{field}\":{value}}}");
            let reply = send(&client, &route, &ids, json, twice.into_bytes()).await;
            refused(&reply, &format!("{} given {field} twice", route.id));
        }
        for required in sample::schema(&route).unwrap()["required"].as_array().into_iter().flatten()
        {
            let mut without = good.clone();
            without.remove(required.as_str().unwrap());
            let without = serde_json::to_vec(&without).unwrap();
            refused(&send(&client, &route, &ids, json, without).await, route.id);
        }
    }
    unchanged(&client, &ids, &before).await;
}

#[tokio::test]
async fn a_malformed_path_or_query_changes_nothing() {
    let reeve = Reeve::start(Options::default()).await;
    let (client, ids, before) = at_rest(&reeve).await;
    for route in sample::guarded() {
        for variable in sample::variables(route.path) {
            let long = "A".repeat(5000);
            let (lower, other) = (ids[variable].to_lowercase(), ids[variable].replace('_', "-"));
            let more = format!("{}0", ids[variable]);
            // (A client resolves `%2e%2e` before it sends it.)
            for bad in [
                "..%2f..%2fetc%2fpasswd",
                "%00",
                "%0a",
                "%ff",
                "%c0%ae",
                "*",
                "null",
                "0",
                "%7B%7D",
                "rlm_",
                &long,
                &lower,
                &other,
                &more,
                "' OR 1=1 --",
                "%F0%9F%98%80",
            ] {
                if bad == ids[variable] {
                    // Written in lower case as it is.
                    continue;
                }
                let mut ids = ids.clone();
                ids.insert(
                    sample::variables(route.path).find(|v| v == &variable).map(known).unwrap(),
                    bad.replace(' ', "%20"),
                );
                let request = client.request(method(route.verb), &sample::path(&route, &ids));
                refused(&client.send(request).await, &format!("{} of {bad:.40}", route.id));
            }
        }
        let path = sample::path(&route, &ids);
        let asked = sample::query(&route);
        for (name, bad) in [
            ("limit", "0"),
            ("limit", "-1"),
            ("limit", "1001"),
            ("limit", "1e9"),
            ("limit", "ten"),
            ("limit", "99999999999999999999"),
            ("limit", ""),
            ("limit", "1.5"),
            ("limit", "%00"),
            ("cursor", "x"),
            ("cursor", "%00"),
            ("cursor", "MTo"),
            ("cursor", "%F0%9F%98%80"),
            ("cursor", &"A".repeat(600)),
            ("cursor", "MToAAAA="),
            ("order", "up"),
            ("order", ""),
            ("state", "gone"),
            ("label", "nothing"),
            ("label", "=x"),
            ("label", "..=x"),
            ("label", "a%00=x"),
            ("label", "a=%0a"),
            ("agentId", "agt_x"),
            ("after", "-1"),
            ("after", "x"),
            ("after", "18446744073709551616"),
        ] {
            if asked.contains(&name) {
                let reply = client.get(&sample::with(&path, &format!("{name}={bad}"))).await;
                refused(&reply, &format!("{} with {name}={bad:.40}", route.id));
                let code = if name == "cursor" { "invalid_cursor" } else { "invalid_parameter" };
                assert_eq!(reply.body["code"], code, "{} with {name}={bad:.40}", route.id);
            }
        }
        for name in &asked {
            let twice = client.get(&sample::with(&path, &format!("{name}=1&{name}=1"))).await;
            refused(&twice, &format!("{} with {name} twice", route.id));
        }
        if !asked.is_empty() {
            refused(&client.get(&sample::with(&path, "surprise=1")).await, route.id);
        }
    }
    let long = client.get(&format!("/v1/agents?limit={}", "1".repeat(60_000))).await;
    assert!((400..500).contains(&long.status), "{}", long.status);
    for version in ["x", "-1", "1.0", "\"1\", \"2\"", "W/\"1\"", "", "99999999999999999999"] {
        let path = format!("/v1/agents/{}", ids["agentId"]);
        let request = client.request(reqwest::Method::DELETE, &path).header("if-match", version);
        refused(&client.send(request).await, &format!("If-Match: {version}"));
    }
    unchanged(&client, &ids, &before).await;
}

fn known(variable: &str) -> &'static str {
    [
        "realmId",
        "keyId",
        "templateId",
        "agentId",
        "sessionId",
        "runId",
        "containerId",
        "instanceId",
        "registryAgentId",
        "digest",
        "hash",
        "snapshotId",
    ]
    .into_iter()
    .find(|known| *known == variable)
    .expect("tests/src/sample.rs knows the variable")
}

/// Any JSON of some depth, with the names that bodies have.
fn anything(names: Vec<String>) -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        "[ -~]{0,40}".prop_map(Value::from),
    ];
    let name = prop_oneof![4 => prop::sample::select(names), 1 => any::<String>()];
    leaf.prop_recursive(3, 24, 6, move |inner| {
        let object = prop::collection::vec((name.clone(), inner.clone()), 0..6);
        prop_oneof![
            prop::collection::vec(inner, 0..4).prop_map(Value::from),
            object.prop_map(|fields| Value::Object(fields.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

#[tokio::test]
async fn no_body_whatever_breaks_anything() {
    let reeve = Reeve::start(Options::default()).await;
    let (client, ids, _) = at_rest(&reeve).await;
    let mut runner =
        TestRunner::new(Config { cases: 1, failure_persistence: None, ..Config::default() });
    let mut sent = 0;
    for route in sample::mutating().filter(|route| !route.id.starts_with("keys.revoke")) {
        let Some(schema) = sample::schema(&route) else { continue };
        let names: Vec<_> = schema["properties"].as_object().unwrap().keys().cloned().collect();
        let bodies = anything(names);
        for _ in 0..60 {
            let mut body = bodies.new_tree(&mut runner).unwrap().current();
            // Half of them are right but for what was thrown in.
            if sent % 2 == 0
                && let Some(fields) = body.as_object_mut()
            {
                for (name, value) in sample::body(&route, &ids).unwrap().as_object().unwrap() {
                    fields.entry(name).or_insert_with(|| value.clone());
                }
            }
            let body = serde_json::to_vec(&body).unwrap();
            let reply = send(&client, &route, &ids, "application/json", body.clone()).await;
            let what = format!("{} given {}", route.id, String::from_utf8_lossy(&body));
            if reply.status >= 300 {
                refused(&reply, &what);
            }
            sent += 1;
        }
    }
    assert!(sent > 300, "{sent}");
    assert!(!reeve.log().contains("\"ERROR\""), "{}", reeve.log());
}
