//! A request for every route of the table: paths with real ids, bodies that their schemas allow.
//! What is here comes from the routes themselves, so a route that is added is swept with the rest.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use api::{Access, Verb};
use gate::Route;
use serde_json::{Map, Value, json};

use crate::http::{Client, Reply};

/// The OpenAPI document.
pub static DOCUMENT: LazyLock<Value> =
    LazyLock::new(|| api::openapi("Reeve", "0", &routes::routes()));

/// The file that a workspace has: the example of a path in the document.
pub const FILE: &str = "notes/sample.txt";

/// One id for each variable of a path, and for fields of bodies of the same name.
pub type Ids = BTreeMap<&'static str, String>;

/// One of everything, in the realm of `client`, at rest.
pub async fn everything(client: &Client) -> Ids {
    let template = json!({ "name": "mine", "driver": "acp" });
    let key = client.made("/v1/keys", json!({ "name": "another" })).await;
    let template = client.made("/v1/templates", template).await;
    let agent = client.agent_with(json!({ "labels": { "team": "one" } })).await;
    let session = client.session(&agent).await;
    let run = client.prompt(&session, "hello").await;
    client.ended(&run).await;
    let me = client.get("/v1/me").await;
    let listed = catalogued(&me.text("/realm/id"));
    client.post("/v1/registry/agents", listed.clone()).await.is(201);
    // Nobody may be led to such an address: it fails at once, and stays so.
    let bundle = json!({ "registryAgent": listed["id"] });
    let bundle = client.post("/v1/bundles", bundle).await.text("/id");
    let path = format!("/v1/bundles/{bundle}");
    let settled = async || client.get(&path).await.is(200)["state"] == "failed";
    crate::given::at_last("the bundle is settled", settled).await;
    let plan = client.get(&format!("/v1/agents/{agent}")).await.text("/plan");
    client.put_file(&agent, FILE, b"a sample\n").await;
    let snapshot = client.made(&format!("/v1/agents/{agent}/snapshots"), Value::Null).await;
    let container = client.made("/v1/containers", json!({})).await;
    let install = format!("/v1/containers/{container}/agents");
    let instance = client.made(&install, json!({ "manualAgent": manual() })).await;
    Ids::from([
        ("realmId", me.text("/realm/id")),
        ("keyId", key),
        ("templateId", template),
        ("registryAgentId", text(&listed["id"])),
        ("registryAgent", text(&listed["id"])),
        ("digest", bundle),
        ("hash", plan),
        ("agentId", agent),
        ("sessionId", session),
        ("runId", run),
        ("snapshotId", snapshot),
        ("instanceId", instance),
        ("containerId", container),
    ])
}

/// An agent for the catalog of a realm, whose id no other realm's has.
pub fn catalogued(realm: &str) -> Value {
    let place = json!({ "archive": "https://127.0.0.1/agent", "cmd": "agent" });
    json!({
        "id": realm.to_lowercase().replace('_', "-"),
        "name": "Sample",
        "distribution": { "binary": { "linux-x86_64": place, "linux-aarch64": place } },
    })
}

fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}

/// An agent as it is described where it is needed: the echo agent.
pub fn manual() -> Value {
    let binary = json!({ "executable": "builtin:echo" });
    json!({ "id": "echo-local", "distribution": { "type": "binary", "binary": binary } })
}

/// One of everything, in the realm of `client`, where the route will do what it does.
pub async fn everything_for(client: &Client, route: &Route) -> Ids {
    let mut ids = everything(client).await;
    if route.id.ends_with(".cancel") {
        let run = client.prompt(&ids["sessionId"], "!wait").await;
        client.reaches(&run, "streaming").await;
        ids.insert("runId", run);
    } else if route.id == "containers.install" {
        ids.insert("agentId", client.agent().await);
    } else if route.id.ends_with(".recover") {
        let agent = client.agent_with(json!({ "repositories": ["there-is-none"] })).await;
        let session = client.session(&agent).await;
        let run = client.prompt(&session, "hello").await;
        assert_eq!(client.ended(&run).await["code"], "container_unavailable");
        ids.insert("containerId", agent.replace("agt_", "ctr_"));
        ids.insert("agentId", agent);
    } else if route.id == "runs.answer" {
        let agent = client.agent_with(json!({ "permissions": "ask" })).await;
        let session = client.session(&agent).await;
        let run = client.prompt(&session, "!permission").await;
        let run = client.reaches(&run, "awaiting_approval").await;
        let text = |value: &Value| value.as_str().expect("an id").to_owned();
        ids.insert("requestId", text(&run["permissions"][0]["requestId"]));
        ids.insert("runId", text(&run["id"]));
    }
    ids
}

/// All that a realm shows of itself, versions and event numbers included.
pub async fn shown(client: &Client, ids: &Ids) -> Vec<(String, Value)> {
    let mut shown = Vec::new();
    for route in guarded().filter(|route| route.verb == Verb::Get) {
        let path = path(&route, ids);
        let value = if query(&route).contains(&"cursor") {
            Value::Array(client.all(&format!("{path}?limit=100")).await)
        } else {
            client.get(&path).await.is(200)
        };
        shown.push((path, value));
    }
    shown
}

/// Every route that asks who calls.
pub fn guarded() -> impl Iterator<Item = Route> {
    routes::routes().into_iter().filter(|route| route.access != Access::Public)
}

/// Every route that may change something.
pub fn mutating() -> impl Iterator<Item = Route> {
    guarded().filter(|route| route.verb.mutates())
}

/// The variables of a path, in order.
pub fn variables(path: &str) -> impl Iterator<Item = &str> {
    path.split('{').skip(1).map(|rest| rest.split('}').next().unwrap_or_default())
}

/// The path of a route, about these things.
pub fn path(route: &Route, ids: &Ids) -> String {
    let mut path = route.path.to_owned();
    for variable in variables(route.path) {
        let id = ids.get(variable).unwrap_or_else(|| {
            panic!("{} has a {{{variable}}}: teach tests/src/sample.rs to make one", route.id)
        });
        path = path.replace(&format!("{{{variable}}}"), id);
    }
    let parameters = operation(route)["parameters"].as_array().into_iter().flatten();
    let required = parameters.filter(|one| one["in"] == "query" && one["required"] == true);
    for parameter in required {
        let name = parameter["name"].as_str().expect("a name");
        let value = example(&parameter["schema"]);
        path = with(&path, &format!("{name}={}", value.as_str().unwrap_or_default()));
    }
    path
}

/// The path with one more parameter.
pub fn with(path: &str, parameter: &str) -> String {
    let separator = if path.contains('?') { '&' } else { '?' };
    format!("{path}{separator}{parameter}")
}

fn operation(route: &Route) -> &'static Value {
    &DOCUMENT["paths"][route.path][route.verb.as_str()]
}

/// What the body of a route looks like; none where it takes none.
pub fn schema(route: &Route) -> Option<&'static Value> {
    let schema = &operation(route)["requestBody"]["content"]["application/json"]["schema"];
    (!schema.is_null()).then(|| resolve(schema))
}

/// Whether the route must be given a body.
pub fn needs_body(route: &Route) -> bool {
    operation(route)["requestBody"]["required"] == true
}

/// The query parameters of a route.
pub fn query(route: &Route) -> Vec<&'static str> {
    let parameters = operation(route)["parameters"].as_array().into_iter().flatten();
    let query = parameters.filter(|parameter| parameter["in"] == "query");
    query.filter_map(|parameter| parameter["name"].as_str()).collect()
}

/// What a schema refers to.
pub fn resolve(schema: &'static Value) -> &'static Value {
    match schema["$ref"].as_str() {
        Some(reference) => DOCUMENT.pointer(&reference[1..]).expect("a schema of the document"),
        None => schema,
    }
}

/// A body that the route accepts, about these things: what is required, and a name and a driver.
pub fn body(route: &Route, ids: &Ids) -> Option<Value> {
    let properties = schema(route)?["properties"].as_object()?;
    let required = &schema(route)?["required"];
    let wanted = |name: &str| {
        ["name", "driver", "agentId"].contains(&name)
            || required.as_array().is_some_and(|required| required.contains(&json!(name)))
    };
    let given = properties.iter().filter(|(name, _)| wanted(name)).map(|(name, schema)| {
        let id = ids.get(name.as_str()).map(|id| json!(id));
        (name.clone(), id.unwrap_or_else(|| example(schema)))
    });
    Some(Value::Object(given.collect::<Map<_, _>>()))
}

/// The simplest value that a schema allows.
pub fn example(schema: &'static Value) -> Value {
    let schema = resolve(schema);
    for choice in ["oneOf", "anyOf"] {
        if let Some(first) = schema[choice].get(0) {
            return example(first);
        }
    }
    if let Some(value) = schema.get("const").or_else(|| schema["examples"].get(0)) {
        return value.clone();
    }
    match schema["type"].as_str().or_else(|| schema["type"][0].as_str()) {
        Some("integer") => schema["minimum"].as_u64().unwrap_or(1).into(),
        Some("boolean") => false.into(),
        Some("array") => json!([]),
        Some("object") => json!({}),
        Some("string") if schema["format"] == "date-time" => "2100-01-01T00:00:00Z".into(),
        _ => "sample".into(),
    }
}

impl Client {
    /// Calls a route about these things, as it should be called.
    pub async fn call(&self, route: &Route, ids: &Ids) -> Reply {
        self.call_with(route, ids, None).await
    }

    /// The same, as the request of that `Idempotency-Key` where one is given.
    pub async fn call_with(&self, route: &Route, ids: &Ids, once: Option<&str>) -> Reply {
        let mut request = self.request(method(route.verb), &path(route, ids));
        if let Some(once) = once {
            request = request.header("idempotency-key", once);
        }
        if let Some(body) = body(route, ids) {
            request = request.json(&body);
        }
        self.send(request).await
    }
}

/// The method of a verb.
pub fn method(verb: Verb) -> reqwest::Method {
    verb.as_str().to_uppercase().parse().expect("a verb is a method")
}
