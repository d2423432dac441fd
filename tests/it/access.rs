//! Who may do what: every route there is, against everybody who may not.

use std::collections::BTreeSet;

use api::{Access, Verb};
use gate::Route;
use serde_json::{Value, json};
use tests::http::{Client, Reply};
use tests::reeve::{Options, Reeve};
use tests::sample::{self, Ids, shown};
use wire::{Problem, Scope};

/// Routes that answer a full key of another realm with something else than 404. May only shrink.
const NOT_404: [&str; 0] = [];

#[track_caller]
fn refused(reply: &Reply, status: u16, code: &str, whom: &str) {
    let problem: Problem = serde_json::from_slice(&reply.raw)
        .unwrap_or_else(|error| panic!("{whom}: {error} in {:#}", reply.body));
    assert_eq!((reply.status, problem.code.code()), (status, code), "{whom}: {:#}", reply.body);
    assert_eq!(problem.status, status);
    assert_eq!(reply.headers["content-type"], "application/problem+json", "{whom}");
    assert!(problem.instance.is_some_and(|id| reply.headers["x-request-id"] == *id), "{whom}");
}

/// Keys that do not work, each for its own reason.
async fn keys_that_do_not_work(client: &Client) -> Vec<(&'static str, Option<String>)> {
    let made = client.post("/v1/keys", json!({ "name": "revoked" })).await;
    let (id, revoked) = (made.text("/id"), made.text("/apiKey"));
    client.delete(&format!("/v1/keys/{id}")).await.is(204);
    client.delete(&format!("/v1/keys/{id}")).await.is(204);
    let soon = jiff::Timestamp::from_millisecond(now() + 3000).unwrap().to_string();
    let expiring = json!({ "name": "short-lived", "expires_at": soon });
    let expired = client.post("/v1/keys", expiring).await.text("/apiKey");
    let holder = client.with_key(Some(&expired));
    tests::given::at_last("it expires", async || holder.get("/v1/me").await.status == 401).await;
    let good = client.post("/v1/keys", json!({ "name": "good" })).await.text("/apiKey");
    let (unknown, _) = good.rsplit_once('_').unwrap();
    let shorter = good[..good.len() - 1].to_owned();
    let upper = good.replacen("rk_", "RK_", 1);
    vec![
        ("nobody", None),
        ("revoked", Some(revoked)),
        ("expired", Some(expired)),
        ("empty", Some(String::new())),
        ("malformed", Some("rk_x".to_owned())),
        ("another prefix", Some(upper)),
        ("a wrong secret", Some(format!("{unknown}_{}", "A".repeat(43)))),
        ("a secret cut short", Some(shorter)),
        ("a longer secret", Some(format!("{good}A"))),
        ("unknown", Some(format!("rk_01JD3Z6V0QK5S8M2W4X7Y9ABCD_{}", "A".repeat(43)))),
        ("long", Some("rk_".to_owned() + &"A".repeat(8000))),
    ]
}

pub(crate) fn now() -> i64 {
    // The server decides what is past; this only has to be a little ahead of it.
    let since = std::fs::metadata("/proc/self").unwrap().modified().unwrap();
    let since = since.duration_since(std::time::UNIX_EPOCH).unwrap();
    i64::try_from(since.as_millis()).unwrap()
}

#[tokio::test]
async fn nobody_without_a_working_key_gets_anywhere() {
    let reeve = Reeve::start(Options::default()).await;
    let client = reeve.client();
    let ids = sample::everything(&client).await;
    let strangers = keys_that_do_not_work(&client).await;
    let before = shown(&client, &ids).await;
    for route in sample::guarded() {
        for (why, key) in &strangers {
            let stranger = client.with_key(key.as_deref());
            let reply = stranger.call(&route, &ids).await;
            refused(&reply, 401, "unauthenticated", &format!("{} by {why}", route.id));
            assert!(reply.headers.contains_key("www-authenticate"));
        }
        // What is wrong besides is not said to strangers.
        let path = sample::path(&route, &ids);
        let garbage = client.with_key(None).request(sample::method(route.verb), &path);
        let garbage = client.send(garbage.body("{").header("idempotency-key", "")).await;
        refused(&garbage, 401, "unauthenticated", route.id);
    }
    assert_eq!(shown(&client, &ids).await, before);
}

fn needed(route: &Route) -> Option<Scope> {
    match route.access {
        Access::Scope(scope) => Some(scope),
        Access::Public | Access::Key => None,
    }
}

#[tokio::test]
async fn a_key_does_what_its_scopes_say_and_nothing_else() {
    let reeve = Reeve::start(Options::default()).await;
    let client = reeve.client();
    let ids = sample::everything(&client).await;
    let all: BTreeSet<Scope> = Scope::all();
    let mut lacking = std::collections::BTreeMap::new();
    for &scope in &all {
        let others: Vec<_> = all.iter().filter(|&&other| other != scope).collect();
        let made = client.post("/v1/keys", json!({ "name": "k", "scopes": others })).await;
        lacking.insert(scope, client.with_key(Some(&made.text("/apiKey"))));
    }
    let before = shown(&client, &ids).await;
    for route in sample::guarded() {
        let Some(scope) = needed(&route) else {
            assert_eq!(route.id, "keys.me", "a route without a scope");
            continue;
        };
        refused(&lacking[&scope].call(&route, &ids).await, 403, "scope_missing", route.id);
    }
    assert_eq!(shown(&client, &ids).await, before);
    // A key makes no key that may more than itself.
    let grown = json!({ "name": "k", "scopes": all });
    let grown = lacking[&Scope::Operator].post("/v1/keys", grown).await;
    refused(&grown, 403, "scope_missing", "keys.create");
    let limits = json!({ "limits": { "maxAgents": 1_000_000 } });
    let own = format!("/v1/realms/{}", ids["realmId"]);
    let limits = lacking[&Scope::Operator].patch(&own, limits).await;
    refused(&limits, 403, "scope_missing", "realms.update");
    assert_eq!(shown(&client, &ids).await, before);
}

#[tokio::test]
async fn a_suspended_realm_is_refused_everywhere_until_it_goes_on() {
    let reeve = Reeve::start(Options::default()).await;
    let client = reeve.realm().await;
    let ids = sample::everything(&client).await;
    let run = client.prompt(&ids["sessionId"], "!wait").await;
    client.reaches(&run, "streaming").await;
    let realm = format!("/v1/realms/{}", ids["realmId"]);
    let operator = reeve.client();
    let suspended = operator.post(&format!("{realm}/suspend"), Value::Null).await.is(200);
    assert_eq!(suspended["state"], "suspended");
    for route in sample::guarded() {
        refused(&client.call(&route, &ids).await, 403, "realm_suspended", route.id);
    }
    let agent = ids["agentId"].trim_start_matches("agt_");
    let nothing_runs = async || tests::reeve::mentioning(std::path::Path::new(agent)).is_empty();
    tests::given::at_last("what it runs is stopped", nothing_runs).await;
    let own = operator.get("/v1/me").await.text("/realm/id");
    let own = operator.post(&format!("/v1/realms/{own}/suspend"), Value::Null).await;
    refused(&own, 422, "invalid_value", "an operator's own realm");
    operator.post(&format!("{realm}/resume"), Value::Null).await.is(200);
    let ended = client.ended(&run).await;
    assert_ne!(ended["state"], "completed");
    assert_eq!(client.ask(&ids["sessionId"], "!say on").await, "on");
}

#[tokio::test]
async fn another_realm_s_things_are_not_there() {
    let reeve = Reeve::start(Options::default()).await;
    let (theirs, ours) = (reeve.realm().await, reeve.realm().await);
    let ids = sample::everything(&theirs).await;
    let own = sample::everything(&ours).await;
    // A run in flight, so that there is something to stop.
    let run = theirs.prompt(&ids["sessionId"], "!wait").await;
    theirs.reaches(&run, "streaming").await;
    let ids: Ids = ids.into_iter().chain([("runId", run)]).collect();
    let before = shown(&theirs, &ids).await;
    let mut about_theirs = 0;
    for route in sample::guarded() {
        let named = sample::variables(route.path).count() > 0
            || sample::body(&route, &ids) != sample::body(&route, &own);
        let reply = ours.call(&route, &ids).await;
        if needed(&route) == Some(Scope::Operator) {
            refused(&reply, 403, "scope_missing", route.id);
        } else if named && !NOT_404.contains(&route.id) {
            refused(&reply, 404, "not_found", route.id);
            about_theirs += 1;
        } else {
            assert!(reply.status < 300, "{}: {:#}", route.id, reply.body);
            for id in ids.values() {
                assert!(!reply.body.to_string().contains(id.as_str()), "{} shows {id}", route.id);
            }
        }
    }
    assert!(about_theirs > 15, "{about_theirs}");
    // Ids besides those in paths and required fields.
    let from = json!({ "name": "stolen", "driver": "acp", "templateId": ids["templateId"] });
    refused(&ours.post("/v1/agents", from).await, 404, "not_found", "their template");
    let path = format!("/v1/sessions/{}/cancel", own["sessionId"]);
    let cancel = ours.post(&path, json!({ "runId": ids["runId"] })).await;
    refused(&cancel, 404, "not_found", "their run in our session");
    let listed = ours.get(&format!("/v1/sessions?agentId={}", ids["agentId"])).await.is(200);
    assert_eq!(listed["items"], json!([]));
    let stream =
        ours.request(reqwest::Method::GET, &format!("/v1/sessions/{}/events", ids["sessionId"]));
    let stream = ours.send(stream.header("accept", "text/event-stream")).await;
    refused(&stream, 404, "not_found", "their stream");
    assert_eq!(shown(&theirs, &ids).await, before);
}

#[tokio::test]
async fn what_is_public_says_nothing_of_anybody() {
    let reeve = Reeve::start(Options::default()).await;
    let ids = sample::everything(&reeve.client()).await;
    let anybody = reeve.client().with_key(None);
    let public = routes::routes().into_iter().filter(|route| route.access == Access::Public);
    for route in public {
        let reply = anybody.call(&route, &ids).await;
        assert_eq!((route.verb, reply.status), (Verb::Get, 200), "{}", route.id);
        assert!(ids.values().all(|id| !String::from_utf8_lossy(&reply.raw).contains(id.as_str())));
    }
    refused(&anybody.get("/v1/nothing").await, 404, "no_such_route", "a path nobody has");
    refused(&anybody.delete("/v1/agents").await, 405, "method_not_allowed", "a verb it has not");
}
