//! The nested stacks of the functions: one for each artifact, from the route table and from the table
//! of what no request invokes.
//!
//! What holds here: a function is its code, a role of its own with the statements that its grants
//! become, a log group of its own, and what invokes it. A stack has those parameters that it uses.

use std::collections::{BTreeMap, BTreeSet};

use api::Access;
use app::Grant;
use gate::Trigger;
use serde_json::{Map, Value, json};

use super::policy::{self, Authority};
use super::trigger;

/// What a stack of functions may be given, and what for.
const PARAMETERS: &[(&str, &str)] = &[
    ("ApiUrl", "Where the HTTP API answers, without a path."),
    ("Architecture", "What the artifacts were built for."),
    ("Bucket", "The name of the bucket of blobs."),
    ("Capacity", "What containers run on."),
    ("Cluster", "The name of the ECS cluster."),
    ("Connections", "The management endpoint of the WebSocket API."),
    ("DeadLetters", "The ARN of the queue for what nobody could take."),
    ("Egress", "The host and port that containers dial."),
    ("ErrandsQueue", "The URL of the queue that nudges the scheduler."),
    ("ErrandsQueueArn", "The ARN of the queue that nudges the scheduler."),
    ("ExecutionRole", "The ARN of the role with which ECS starts containers."),
    ("FirstKey", "The ARN of the secret for the installation's first API key."),
    ("HttpApi", "The id of the HTTP API."),
    ("Key", "The ARN of the KMS key."),
    ("LogRetention", "Days for which logs are kept."),
    ("Name", "How the names of functions begin."),
    ("SecurityGroups", "What containers may reach."),
    ("SigningKey", "The ARN of the secret with the key that signs the tokens of shims."),
    ("SocketApi", "The id of the WebSocket API."),
    ("StreamUrl", "The address that clients dial for their stream."),
    ("Subnets", "Where containers are."),
    ("Table", "The name of the table."),
    ("TableStream", "The ARN of the table's change stream."),
    ("TaskFamily", "How the families of task definitions begin."),
    ("UrlConcurrency", "How many executions a function with a URL may have at once; 0: no limit."),
];

/// The condition of a reservation.
const BOUNDED: &str = "Bounded";

/// One function, whatever invokes it.
struct Function {
    id: &'static str,
    summary: &'static str,
    authority: Authority,
    timeout: u32,
    memory: u32,
    invoked: Invoked,
    /// The function with a URL of its own to which this route sends some on.
    elsewhere: Option<&'static str>,
}

enum Invoked {
    /// By a request of the HTTP API.
    Route { method: String, path: &'static str },
    /// By something else.
    By(&'static [Trigger]),
}

/// Every stack of functions, by the name of its artifact.
pub(crate) fn stacks() -> BTreeMap<&'static str, Value> {
    let mut artifacts = BTreeMap::<_, Vec<Function>>::new();
    let other = routes::functions();
    for route in routes::routes() {
        let artifact = route.id.split_once('.').map_or(route.id, |(artifact, _)| artifact);
        let sent_on =
            |function: &&gate::Function| function.triggers.contains(&Trigger::Url(route.id));
        let mut needs = Vec::new();
        if artifact == "stream" {
            needs.push(policy::Use::StreamAddress);
        }
        artifacts.entry(artifact).or_default().push(Function {
            id: route.id,
            summary: route.summary,
            authority: Authority {
                authenticates: route.access != Access::Public,
                grants: route.grants,
                needs: &[],
                uses: needs,
            },
            // What the HTTP API waits for, less the way there and back.
            timeout: 29,
            memory: if route.grants.iter().copied().any(moves_much) { 1024 } else { 256 },
            invoked: Invoked::Route {
                method: route.verb.as_str().to_uppercase(),
                path: route.path,
            },
            elsewhere: other.iter().find(sent_on).map(|function| function.id),
        });
    }
    for function in &other {
        artifacts.entry(function.artifact()).or_default().push(Function {
            id: function.id,
            summary: function.summary,
            authority: Authority {
                authenticates: false,
                grants: function.grants,
                needs: function.needs,
                uses: function.triggers.iter().filter_map(trigger::used).collect(),
            },
            timeout: function.timeout,
            memory: function.memory,
            invoked: Invoked::By(function.triggers),
            elsewhere: None,
        });
    }
    artifacts
        .into_iter()
        .map(|(artifact, functions)| (artifact, stack(artifact, &functions)))
        .collect()
}

/// Whether it comes with more bytes than a request or an answer has: they are packed, hashed and
/// encrypted, and a function has as much of a processor as of memory.
const fn moves_much(grant: Grant) -> bool {
    matches!(grant, Grant::Outgoing | Grant::UploadTake)
}

fn stack(artifact: &str, functions: &[Function]) -> Value {
    let mut resources = Map::new();
    for function in functions {
        resources.extend(function.resources(artifact));
    }
    let resources = Value::Object(resources);
    let globals = json!({ "Function": {
        "Runtime": "provided.al2023",
        "Architectures": [{ "Ref": "Architecture" }],
        "Tracing": "Active",
    }});
    let mut named = BTreeSet::new();
    names(&resources, &mut named);
    names(&globals, &mut named);
    let parameters: Map<_, _> = PARAMETERS
        .iter()
        .filter(|(name, _)| named.contains(*name))
        .map(|(name, description)| {
            ((*name).to_owned(), json!({ "Type": "String", "Description": description }))
        })
        .collect();
    let mut template = json!({
        "AWSTemplateFormatVersion": "2010-09-09",
        "Transform": "AWS::Serverless-2016-10-31",
        "Description": format!("Reeve: the functions of {artifact}. Generated by `cargo xtask synth`."),
        "Parameters": parameters,
        "Globals": globals,
        "Resources": resources,
    });
    for function in functions.iter().filter(|function| function.has_url()) {
        template["Conditions"] = json!({
            BOUNDED: { "Fn::Not": [{ "Fn::Equals": [{ "Ref": "UrlConcurrency" }, "0"] }] },
        });
        let url = format!("{}Url", logical(function.id));
        template["Outputs"][&url] = json!({ "Value": { "Fn::GetAtt": [url, "FunctionUrl"] } });
    }
    template
}

/// What a template names, in `Ref`, `Fn::GetAtt` and `Fn::Sub`.
fn names(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::String(text) => {
            let names = text.split("${").skip(1).filter_map(|rest| rest.split_once('}'));
            found.extend(names.map(|(name, _)| name.to_owned()));
        }
        Value::Array(values) => values.iter().for_each(|value| names(value, found)),
        Value::Object(members) => {
            found.extend(members.get("Ref").and_then(Value::as_str).map(str::to_owned));
            members.values().for_each(|value| names(value, found));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// `sessions.prompt` as the name of a resource: `SessionsPrompt`.
pub(super) fn logical(id: &str) -> String {
    id.split(['.', '_', '-'])
        .map(|word| {
            let (first, rest) = word.split_at(1);
            first.to_uppercase() + rest
        })
        .collect()
}

impl Function {
    fn resources(&self, artifact: &str) -> Map<String, Value> {
        let name = logical(self.id);
        // Known before the function is, so that its role need not wait for it.
        let function_name = format!("${{Name}}-{}", self.id.replace('.', "-"));
        let mut out = Map::new();
        let mut add = |suffix: &str, resource: Value| {
            out.insert(format!("{name}{suffix}"), resource);
        };
        add("", self.function(artifact, &name, &function_name));
        add("Role", self.role(&name));
        add(
            "Logs",
            json!({
                "Type": "AWS::Logs::LogGroup",
                "Properties": {
                    "LogGroupName": { "Fn::Sub": format!("/aws/lambda/{function_name}") },
                    "RetentionInDays": { "Ref": "LogRetention" },
                    "KmsKeyId": { "Ref": "Key" },
                },
            }),
        );
        match &self.invoked {
            Invoked::Route { method, path } => trigger::route(&name, method, path, &mut add),
            Invoked::By(triggers) => {
                for trigger in *triggers {
                    trigger::resources(&name, trigger, &mut add);
                }
            }
        }
        out
    }

    fn function(&self, artifact: &str, name: &str, function_name: &str) -> Value {
        let mut environment = self.authority.environment();
        if let Some(id) = self.elsewhere {
            let address = json!({ "Fn::GetAtt": [format!("{}Url", logical(id)), "FunctionUrl"] });
            environment.insert("REEVE_EVENTS_URL".to_owned(), address);
        }
        let mut skipped = vec![
            skip(
                "CKV_AWS_117",
                "speaks to services of AWS only, with its role; nothing in the VPC is for it",
            ),
            skip("CKV_AWS_173", "its environment has names and addresses, no secret"),
        ];
        if !self.is_invoked_asynchronously() {
            skipped.push(skip(
                "CKV_AWS_116",
                "its caller waits for it, or its event source keeps what failed",
            ));
        }
        if let Some(limits) = self.limits() {
            let why =
                format!("{limits}; a reservation would take from all functions of the account");
            skipped.push(skip("CKV_AWS_115", &why));
        }
        let mut function = json!({
            "Type": "AWS::Serverless::Function",
            "Metadata": { "checkov": { "skip": skipped } },
            "Properties": {
                "FunctionName": { "Fn::Sub": function_name },
                "Description": self.summary,
                "Handler": self.id,
                "CodeUri": format!("../../../target/lambda/{artifact}/bootstrap.zip"),
                "MemorySize": self.memory,
                "Timeout": self.timeout,
                "Role": { "Fn::GetAtt": [format!("{name}Role"), "Arn"] },
                "LoggingConfig": { "LogFormat": "JSON", "LogGroup": { "Ref": format!("{name}Logs") } },
                "Environment": { "Variables": environment },
            },
        });
        if self.has_url() {
            function["Properties"]["ReservedConcurrentExecutions"] = json!({ "Fn::If": [BOUNDED, { "Ref": "UrlConcurrency" }, { "Ref": "AWS::NoValue" }] });
        }
        if self.is_invoked_asynchronously() {
            function["Properties"]["DeadLetterQueue"] =
                json!({ "Type": "SQS", "TargetArn": { "Ref": "DeadLetters" } });
        }
        function
    }

    fn is_invoked_asynchronously(&self) -> bool {
        matches!(self.invoked, Invoked::By(triggers) if triggers.iter().any(trigger::is_asynchronous))
    }

    /// Whether anybody may invoke it as often as they please.
    fn has_url(&self) -> bool {
        self.limits().is_none()
    }

    /// What limits how often it runs at once. None where nothing does but a reservation.
    fn limits(&self) -> Option<String> {
        match self.invoked {
            Invoked::Route { .. } => Some(trigger::THROTTLED.to_owned()),
            Invoked::By(triggers) => {
                let limits: Option<Vec<_>> = triggers.iter().map(trigger::limit).collect();
                Some(limits?.join(", "))
            }
        }
    }

    fn role(&self, name: &str) -> Value {
        let mut statements = policy::every_function(name);
        statements.extend(self.authority.statements());
        if self.is_invoked_asynchronously() {
            statements.extend(policy::dead_letters());
        }
        json!({
            "Type": "AWS::IAM::Role",
            "Properties": {
                "AssumeRolePolicyDocument": policy::assumed_by("lambda.amazonaws.com"),
                "Policies": [policy::policy("grants", &statements)],
            },
        })
    }
}

/// Says why one check of checkov does not hold.
pub(super) fn skip(check: &str, why: &str) -> Value {
    json!({ "id": check, "comment": why })
}
