//! A sample event for every function that a request invokes: what the gateway hands to it, about
//! things that do not exist. Those of other functions are written by hand beside them.

use api::Access;
use gate::{Route, Trigger};
use serde_json::{Map, Value, json};

/// Where sample events lie.
const EVENTS: &str = "events";

/// The ULID of the examples in the schemas, and of the key with which a sample is sent.
const ULID: &str = "01JD3Z6V0QK5S8M2W4X7Y9ABCD";

/// Path and text of every sample event that is generated.
pub(crate) fn generated() -> Vec<(String, String)> {
    let document = Document(api::openapi("Reeve", "0", &routes::routes()));
    let routes = routes::routes();
    let mut samples = Vec::new();
    for route in &routes {
        samples.push((route.id, document.event(route, None)));
    }
    for function in routes::functions() {
        for trigger in function.triggers {
            let (Trigger::Url(id) | Trigger::Webhook(id)) = trigger else { continue };
            let of = routes.iter().find(|route| route.id == *id);
            samples.extend(of.map(|route| (function.id, document.event(route, Some("$default")))));
        }
    }
    let place = |(id, event): (&str, Value)| {
        let text = serde_json::to_string_pretty(&event).unwrap_or_default();
        (format!("{EVENTS}/{id}.json"), format!("{text}\n"))
    };
    samples.into_iter().map(place).collect()
}

struct Document(Value);

impl Document {
    /// What the HTTP API hands to the function of `route`, or what the function's own URL does, whose
    /// only stage is `stage`.
    fn event(&self, route: &Route, stage: Option<&str>) -> Value {
        let operation = &self.0["paths"][route.path][route.verb.as_str()];
        let method = route.verb.as_str().to_uppercase();
        let (mut path, mut variables) = (route.path.to_owned(), Map::new());
        let mut query = Vec::new();
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            if let (Some(name), Some("path")) =
                (parameter["name"].as_str(), parameter["in"].as_str())
            {
                let value = self.example(&parameter["schema"]);
                path = path.replace(&format!("{{{name}}}"), value.as_str().unwrap_or_default());
                variables.insert(name.to_owned(), value);
            } else if let (Some(name), Some("query"), Some(true)) = (
                parameter["name"].as_str(),
                parameter["in"].as_str(),
                parameter["required"].as_bool(),
            ) {
                let value = self.example(&parameter["schema"]);
                query.push(format!("{name}={}", value.as_str().unwrap_or_default()));
            }
        }
        let body = self.body(&operation["requestBody"]["content"]["application/json"]["schema"]);
        let key = match stage {
            // The stage is no part of a route's key.
            None => format!("{method} {}", route.path.strip_prefix("/v1").unwrap_or(route.path)),
            Some(_) => "$default".to_owned(),
        };
        let host = match stage {
            None => "a1b2c3d4e5.execute-api.eu-central-1.amazonaws.com",
            Some(_) => "a1b2c3d4e5f6.lambda-url.eu-central-1.on.aws",
        };
        let mut event = json!({
            "version": "2.0",
            "routeKey": key,
            "rawPath": path,
            "rawQueryString": query.join("&"),
            "headers": headers(route, host, stage.is_some(), body.is_some()),
            "requestContext": {
                "accountId": "123456789012",
                "apiId": host.split('.').next(),
                "domainName": host,
                "domainPrefix": host.split('.').next(),
                "http": {
                    "method": method,
                    "path": path,
                    "protocol": "HTTP/1.1",
                    "sourceIp": "192.0.2.1",
                    "userAgent": "curl/8.5.0",
                },
                "requestId": "JKJaXmPLvHcESHA=",
                "routeKey": key,
                "stage": stage.unwrap_or("v1"),
                "time": "21/Nov/2025:09:00:00 +0000",
                "timeEpoch": 1_763_715_600_000_u64,
            },
            "isBase64Encoded": false,
        });
        if !variables.is_empty() && stage.is_none() {
            event["pathParameters"] = variables.into();
        }
        if let Some(body) = body {
            event["body"] = body.to_string().into();
        }
        event
    }

    /// What is required, and a name and a driver; none where the operation takes no body.
    fn body(&self, schema: &Value) -> Option<Value> {
        let schema = self.resolve(schema);
        let required = schema["required"].as_array();
        let wanted = |name: &str| {
            ["name", "driver", "agentId"].contains(&name)
                || required.is_some_and(|required| required.contains(&name.into()))
        };
        let given = schema["properties"].as_object()?.iter().filter(|(name, _)| wanted(name));
        Some(Value::Object(given.map(|(name, of)| (name.clone(), self.example(of))).collect()))
    }

    fn example(&self, schema: &Value) -> Value {
        let schema = self.resolve(schema);
        for choice in ["oneOf", "anyOf"] {
            if let Some(first) = schema[choice].get(0) {
                return self.example(first);
            }
        }
        if let Some(value) = schema.get("const").or_else(|| schema["examples"].get(0)) {
            return value.clone();
        }
        if let Some(choice) = schema["enum"].get(0) {
            return choice.clone();
        }
        match schema["type"].as_str().or_else(|| schema["type"][0].as_str()) {
            Some("integer") => schema["minimum"].as_u64().unwrap_or(1).into(),
            Some("boolean") => false.into(),
            Some("array") => json!([]),
            Some("object") => json!({}),
            _ => "sample".into(),
        }
    }

    fn resolve<'a>(&'a self, schema: &'a Value) -> &'a Value {
        let reference = schema["$ref"].as_str().and_then(|reference| reference.get(1..));
        reference.and_then(|pointer| self.0.pointer(pointer)).unwrap_or(schema)
    }
}

fn headers(route: &Route, host: &str, streams: bool, body: bool) -> Value {
    let mut headers = json!({
        "accept": if streams { "text/event-stream" } else { "application/json" },
        "host": host,
        "user-agent": "curl/8.5.0",
        "x-amzn-trace-id": "Root=1-6a6bd9d0-5759e988bd862e3fe1be46a9",
        "x-forwarded-for": "192.0.2.1",
        "x-forwarded-port": "443",
        "x-forwarded-proto": "https",
    });
    if route.access != Access::Public {
        headers["authorization"] = format!("Bearer rk_{ULID}_{}", "x".repeat(43)).into();
    }
    if body {
        headers["content-type"] = "application/json".into();
    }
    if route.verb.mutates() {
        headers["idempotency-key"] = format!("sample-{}", route.id).into();
    }
    headers
}
