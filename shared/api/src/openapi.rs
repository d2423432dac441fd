//! The OpenAPI 3.1 document, read from the table.

use std::collections::{BTreeMap, BTreeSet};

use axum::http::StatusCode;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};
use wire::{Problem, ProblemKind};

use crate::pipeline::MAX_BODY;
use crate::{Access, Route, Service};

/// Collects what one operation reads and answers.
#[derive(Debug)]
pub struct Operation<'a> {
    schemas: &'a mut SchemaGenerator,
    parameters: Vec<Value>,
    body: Option<Value>,
    replies: Map<String, Value>,
    problems: BTreeSet<ProblemKind>,
}

impl Operation<'_> {
    /// It takes the properties of `T` as parameters of `location`.
    pub fn parameters<T: JsonSchema>(&mut self, location: &str) {
        let schema = T::json_schema(self.schemas).to_value();
        let required = schema["required"].as_array().cloned().unwrap_or_default();
        for (name, schema) in schema["properties"].as_object().into_iter().flatten() {
            let mut schema = schema.clone();
            let description =
                schema.as_object_mut().and_then(|object| object.remove("description"));
            self.parameters.push(json!({
                "name": name, "in": location, "schema": schema,
                "description": description.unwrap_or_else(|| json!("")),
                "required": location == "path" || required.contains(&json!(name)),
            }));
        }
    }

    /// It takes a header.
    pub fn header(&mut self, name: &str, description: &str, schema: &Value) {
        self.parameters.push(json!({
            "name": name, "in": "header", "required": false, "description": description,
            "schema": schema,
        }));
    }

    /// It takes a JSON body.
    pub fn body<T: JsonSchema>(&mut self, required: bool) {
        let schema = self.schemas.subschema_for::<T>();
        self.body = Some(json!({
            "required": required,
            "description": format!("At most {MAX_BODY} bytes."),
            "content": { "application/json": { "schema": schema } },
        }));
        self.problem(ProblemKind::InvalidBody);
        self.problem(ProblemKind::UnsupportedMediaType);
    }

    /// It takes a body of bytes, in any form.
    pub fn bytes(&mut self) {
        let bytes = json!({ "type": "string", "format": "binary" });
        self.body = Some(json!({
            "required": false,
            "content": { "application/octet-stream": { "schema": bytes } },
        }));
    }

    /// It answers with a `T`.
    pub fn reply<T: JsonSchema>(&mut self, status: u16) {
        let schema = self.schemas.subschema_for::<T>();
        self.reply_as(status, "application/json", &schema.to_value());
    }

    /// It answers in another form than JSON, or in one more.
    pub fn reply_as(&mut self, status: u16, form: &str, schema: &Value) {
        let reply = self
            .replies
            .entry(status.to_string())
            .or_insert_with(|| json!({ "description": reason(status), "content": {} }));
        reply["content"][form] = json!({ "schema": schema });
    }

    /// It answers with nothing.
    pub fn empty_reply(&mut self, status: u16) {
        self.replies.insert(status.to_string(), json!({ "description": reason(status) }));
    }

    /// It may answer that what is too large for an answer can be fetched at another address.
    pub fn elsewhere(&mut self) {
        let location = "Where the answer is, for some minutes and without a key.";
        self.replies.insert(
            "303".to_owned(),
            json!({
                "description": reason(303),
                "headers": { "Location": {
                    "description": location, "schema": { "type": "string", "format": "uri" },
                } },
            }),
        );
    }

    /// It may answer with a problem.
    pub fn problem(&mut self, kind: ProblemKind) {
        self.problems.insert(kind);
    }
}

fn reason(status: u16) -> &'static str {
    StatusCode::from_u16(status).ok().and_then(|s| s.canonical_reason()).unwrap_or_default()
}

/// Renders the OpenAPI 3.1 document of `routes`.
pub fn openapi<S: Service>(title: &str, version: &str, routes: &[Route<S>]) -> Value {
    let mut schemas = SchemaSettings::draft2020_12()
        .with(|settings| settings.definitions_path = "/components/schemas".into())
        .into_generator();
    let mut paths = BTreeMap::<&str, Value>::new();
    for route in routes {
        let operation = operation(route, &mut schemas);
        paths.entry(route.path).or_insert_with(|| json!({}))[route.verb.as_str()] = operation;
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": title, "version": version,
            "description": "Lists are pages: give `nextCursor` back as `cursor`. Errors are problem details (RFC 9457) with a stable `code`. Mutating operations take an `Idempotency-Key` and answer a repeated request as they answered it first.",
        },
        "servers": [{ "url": "/" }],
        "paths": paths,
        "components": {
            "schemas": schemas.take_definitions(true),
            "securitySchemes": { "key": {
                "type": "http", "scheme": "bearer",
                "description": "An API key, `rk_<id>_<secret>`.",
            } },
        },
    })
}

fn operation<S: Service>(route: &Route<S>, schemas: &mut SchemaGenerator) -> Value {
    let mut operation = Operation {
        schemas,
        parameters: Vec::new(),
        body: None,
        replies: Map::new(),
        problems: route.problems.iter().copied().collect(),
    };
    (route.handler.describe)(&mut operation);
    operation.problem(ProblemKind::Internal);
    operation.problem(ProblemKind::Unavailable);
    let mut access = json!("public");
    if route.access != Access::Public {
        operation.problem(ProblemKind::Unauthenticated);
        operation.problem(ProblemKind::RealmSuspended);
        access = json!("key");
        if let Access::Scope(scope) = route.access {
            operation.problem(ProblemKind::ScopeMissing);
            access = json!(scope);
        }
    }
    if route.verb.mutates() {
        operation.problem(ProblemKind::BodyTooLarge);
        if route.access != Access::Public {
            operation.header(
                "Idempotency-Key",
                "Makes repeating this request safe: for a day, the same key answers with the first answer.",
                &json!({ "type": "string", "pattern": "^[!-~]{1,128}$" }),
            );
            operation.problem(ProblemKind::InvalidIdempotencyKey);
            operation.problem(ProblemKind::IdempotencyKeyReused);
            operation.problem(ProblemKind::IdempotencyInProgress);
            operation.problem(ProblemKind::Conflict);
        }
    }
    let mut by_status = BTreeMap::<u16, Vec<&'static str>>::new();
    for kind in &operation.problems {
        by_status.entry(kind.status()).or_default().push(kind.code());
    }
    let problem = operation.schemas.subschema_for::<Problem>();
    let Operation { parameters, body, mut replies, .. } = operation;
    for (status, codes) in by_status {
        let mut reply = json!({
            "description": format!("{}: {}", reason(status), codes.join(", ")),
            "content": { "application/problem+json": { "schema": problem } },
        });
        if status == ProblemKind::Unavailable.status() {
            reply["headers"] = json!({
                "Retry-After": {
                    "description": "After how many seconds it is worth another try.",
                    "schema": { "type": "integer", "minimum": 0 },
                },
            });
        }
        replies.insert(status.to_string(), reply);
    }
    let tag = route.id.split_once('.').map_or(route.id, |(area, _)| area);
    let mut operation = json!({
        "operationId": route.id, "summary": route.summary, "tags": [tag],
        "parameters": parameters, "responses": replies, "x-access": access,
        "security": if route.access == Access::Public { json!([]) } else { json!([{ "key": [] }]) },
    });
    if let Some(mut body) = body {
        if let Some(most) = route.upload {
            body["description"] = json!(format!("At most {most} bytes."));
        }
        operation["requestBody"] = body;
    }
    operation
}
