//! The templates of the deployment: within what AWS allows, no wider than what the functions declare,
//! and nothing to be said against them by the tools that look at such things. That they deploy is
//! proved by deploying them: `tests/aws/up`, with the policies enforced.

mod by_hand;
mod command;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use app::Grant;
use gate::{Need, Trigger};
use serde_json::{Value, json};

/// What AWS allows in one template, and in one HTTP API.
const RESOURCES: usize = 500;
const INTEGRATIONS: usize = 300;

/// Where a policy says `*`, and why it must. Whatever else does is a mistake.
const EVERYTHING: &[(&str, &str)] = &[
    ("FindChanges", "AWS knows dynamodb:ListStreams for no resource"),
    ("List", "AWS knows ecs:ListTasks for no resource; a condition names the cluster"),
    ("Trace", "AWS knows X-Ray's actions for no resource"),
];

/// The same of the templates written by hand: the file and the line.
const EVERYTHING_BY_HAND: &[(&str, &str, &str)] = &[
    ("containers.yaml", r#"Resource: "*""#, "ecr:GetAuthorizationToken is known for no resource"),
    ("network.yaml", r#"Action: "*""#, "an endpoint: what may be done says each role's own policy"),
    ("network.yaml", r#"Resource: "*""#, "the same; a condition names the account"),
    ("state.yaml", "Action: kms:*", "whoever administers the account administers its key"),
    ("state.yaml", r#"Resource: "*""#, "in a key's own policy that is the key"),
    ("state.yaml", "Action: s3:*", "a denial: nothing without TLS"),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

/// The generated stacks of functions, by artifact.
fn stacks() -> BTreeMap<String, Value> {
    let mut stacks = BTreeMap::new();
    for entry in std::fs::read_dir(root().join("infra/aws/generated")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let content = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        if name != "openapi" {
            stacks.insert(name, content);
        }
    }
    stacks
}

fn by_hand() -> Vec<(String, String)> {
    let entries = std::fs::read_dir(root().join("infra/aws")).unwrap().map(|e| e.unwrap().path());
    let templates = entries.filter(|path| path.extension().is_some_and(|kind| kind == "yaml"));
    templates
        .map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, std::fs::read_to_string(&path).unwrap())
        })
        .collect()
}

fn resources(stack: &Value) -> impl Iterator<Item = (&String, &Value)> {
    stack["Resources"].as_object().unwrap().iter()
}

fn of_type<'a>(stack: &'a Value, kind: &'a str) -> impl Iterator<Item = (&'a String, &'a Value)> {
    resources(stack).filter(move |(_, resource)| resource["Type"] == kind)
}

/// The statements of a function's own policy.
fn statements<'a>(stack: &'a Value, function: &str) -> Vec<&'a Value> {
    let role = &stack["Resources"][format!("{function}Role")]["Properties"]["Policies"];
    let policies = role.as_array().unwrap().iter();
    policies.flat_map(|policy| policy["PolicyDocument"]["Statement"].as_array().unwrap()).collect()
}

fn actions(statement: &Value) -> Vec<&str> {
    let action = &statement["Action"];
    match action.as_array() {
        Some(actions) => actions.iter().map(|action| action.as_str().unwrap()).collect(),
        None => vec![action.as_str().unwrap()],
    }
}

#[test]
fn each_route_and_each_function_is_deployed_once() {
    let mut expected: Vec<(String, String)> = Vec::new();
    for route in routes::routes() {
        let path = route.path.strip_prefix("/v1").expect("the stage is the first segment");
        let key = format!("{} {path}", route.verb.as_str().to_uppercase());
        expected.push((route.id.to_owned(), key));
    }
    for function in routes::functions() {
        let keys = function.triggers.iter().filter_map(|trigger| match trigger {
            Trigger::Socket(key) => Some((*key).to_owned()),
            Trigger::Unrouted => Some("$default".to_owned()),
            Trigger::Url(_)
            | Trigger::Webhook(_)
            | Trigger::Nudges
            | Trigger::Every(_)
            | Trigger::Changes
            | Trigger::TaskStopped
            | Trigger::Installation => None,
        });
        expected.push((function.id.to_owned(), keys.collect()));
    }
    let mut deployed = Vec::new();
    for (artifact, stack) in &stacks() {
        for (name, function) in of_type(stack, "AWS::Serverless::Function") {
            let properties = &function["Properties"];
            let code = format!("../../../target/lambda/{artifact}/bootstrap.zip");
            assert_eq!(properties["CodeUri"], code.as_str());
            let integration = format!("integrations/${{{name}Integration}}");
            let to_it =
                |route: &&Value| route["Properties"]["Target"]["Fn::Sub"] == integration.as_str();
            let mut routes =
                of_type(stack, "AWS::ApiGatewayV2::Route").map(|(_, route)| route).filter(to_it);
            let key = routes.next().map(|route| &route["Properties"]["RouteKey"]);
            assert!(routes.next().is_none(), "{name} has two routes");
            let key = key.and_then(Value::as_str).unwrap_or_default();
            deployed.push((properties["Handler"].as_str().unwrap().to_owned(), key.to_owned()));
        }
    }
    expected.sort();
    deployed.sort();
    assert_eq!(deployed, expected);
}

#[test]
fn every_stack_is_part_of_the_whole() {
    let hand = by_hand();
    let (_, root) = hand.iter().find(|(name, _)| name == "template.yaml").unwrap();
    let generated = stacks().into_keys().map(|name| format!("generated/{name}.json"));
    let nested = hand.iter().map(|(name, _)| name.clone()).filter(|name| name != "template.yaml");
    for template in generated.chain(nested) {
        assert_eq!(root.matches(&format!("TemplateURL: {template}\n")).count(), 1, "{template}");
    }
}

#[test]
fn everything_keeps_within_what_aws_allows() {
    let mut integrations = 0;
    for (name, stack) in &stacks() {
        // Nothing in here becomes more than one resource: roles, URLs and sources are all spelled out.
        let count = resources(stack).count();
        assert!(count <= RESOURCES * 9 / 10, "{name} has {count} resources: split it");
        let http = of_type(stack, "AWS::ApiGatewayV2::Integration")
            .filter(|(_, one)| one["Properties"]["ApiId"]["Ref"] == "HttpApi");
        integrations += http.count();
    }
    assert!(integrations <= INTEGRATIONS * 9 / 10, "{integrations} integrations of one HTTP API");
    assert!(integrations > 0);
}

/// What every function does: write its log, and its traces.
const ANY: &[&str] = &[
    "logs:CreateLogStream",
    "logs:PutLogEvents",
    "xray:PutTelemetryRecords",
    "xray:PutTraceSegments",
];

/// Leaving behind what it could not take.
const LEAVE: &[&str] = &["sqs:SendMessage", "kms:Decrypt", "kms:GenerateDataKey"];

/// The actions that a grant becomes.
fn of_grant(grant: Grant) -> &'static [&'static str] {
    match grant {
        Grant::TableRead => {
            &["dynamodb:BatchGetItem", "dynamodb:GetItem", "dynamodb:Query", "kms:Decrypt"]
        }
        Grant::TableWrite => &[
            "dynamodb:ConditionCheckItem",
            "dynamodb:DeleteItem",
            "dynamodb:PutItem",
            "dynamodb:UpdateItem",
            "kms:Decrypt",
        ],
        Grant::ComputeStart => &["ecs:RunTask", "ecs:TagResource", "iam:PassRole"],
        Grant::ComputeStop => &["ecs:DescribeTasks", "ecs:ListTasks", "ecs:StopTask"],
        Grant::Push => &["execute-api:ManageConnections"],
        Grant::BlobRead => &["s3:GetObject", "s3:ListBucket", "kms:Decrypt"],
        Grant::BlobWrite => &["s3:DeleteObject", "s3:PutObject", "kms:GenerateDataKey"],
        Grant::Outgoing => &["s3:GetObject", "s3:PutObject", "kms:Decrypt", "kms:GenerateDataKey"],
        Grant::UploadOpen => &["s3:PutObject", "kms:GenerateDataKey"],
        Grant::UploadTake => &["s3:GetObject", "s3:ListBucket", "kms:Decrypt"],
        Grant::Feed | Grant::WorkspaceRead | Grant::WorkspaceWrite | Grant::Outside => &[],
    }
}

fn of_need(need: Need) -> &'static [&'static str] {
    match need {
        Need::SigningKey => &["secretsmanager:GetSecretValue", "kms:Decrypt"],
        Need::FirstKey => &[
            "secretsmanager:GetSecretValue",
            "secretsmanager:PutSecretValue",
            "kms:Decrypt",
            "kms:GenerateDataKey",
        ],
        Need::Nudge => &["sqs:SendMessage", "kms:Decrypt", "kms:GenerateDataKey"],
    }
}

/// Messages and changes are fetched, and what nobody could take is left in a queue.
fn of_trigger(trigger: &Trigger) -> Vec<&'static str> {
    match trigger {
        Trigger::Socket(_) | Trigger::Url(_) | Trigger::Webhook(_) | Trigger::Unrouted => vec![],
        Trigger::Nudges => {
            vec!["sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage", "kms:Decrypt"]
        }
        Trigger::Changes => {
            let read = [
                "dynamodb:DescribeStream",
                "dynamodb:GetRecords",
                "dynamodb:GetShardIterator",
                "dynamodb:ListStreams",
            ];
            [&read, LEAVE].concat()
        }
        Trigger::Every(_) | Trigger::TaskStopped | Trigger::Installation => LEAVE.to_vec(),
    }
}

/// The actions that are allowed to each function by what it declares.
fn declared() -> BTreeMap<&'static str, BTreeSet<&'static str>> {
    let mut declared = BTreeMap::new();
    for route in routes::routes() {
        let authenticates = (route.access != api::Access::Public).then_some(Grant::TableRead);
        let grants = route.grants.iter().copied().chain(authenticates).flat_map(of_grant);
        declared.insert(route.id, ANY.iter().chain(grants).copied().collect());
    }
    for function in routes::functions() {
        let mut actions: BTreeSet<_> = ANY.iter().copied().collect();
        actions.extend(function.grants.iter().flat_map(|&grant| of_grant(grant)));
        actions.extend(function.needs.iter().flat_map(|&need| of_need(need)));
        actions.extend(function.triggers.iter().flat_map(of_trigger));
        declared.insert(function.id, actions);
    }
    declared
}

/// The functions of all stacks: the stack, the name there, and the properties.
fn functions(stacks: &BTreeMap<String, Value>) -> impl Iterator<Item = (&Value, &str, &Value)> {
    stacks.values().flat_map(|stack| {
        let functions = of_type(stack, "AWS::Serverless::Function");
        functions.map(move |(name, function)| (stack, name.as_str(), &function["Properties"]))
    })
}

#[test]
fn no_policy_is_wider_than_what_the_function_declares() {
    let (declared, stacks) = (declared(), stacks());
    let (mut wide, mut seen, mut start) = (BTreeSet::new(), 0, Vec::new());
    for (stack, name, properties) in functions(&stacks) {
        let id = properties["Handler"].as_str().unwrap();
        let statements = statements(stack, name);
        let allowed: BTreeSet<&str> = statements.iter().flat_map(|one| actions(one)).collect();
        assert_eq!(allowed, declared[id], "{id}");
        assert!(!allowed.iter().any(|action| action.contains('*')), "{id}: {allowed:?}");
        let everything = statements.iter().filter(|one| one["Resource"] == "*");
        wide.extend(everything.map(|one| one["Sid"].as_str().unwrap().to_owned()));
        if allowed.contains("ecs:RunTask") || allowed.contains("iam:PassRole") {
            start.push(id);
        }
        seen += 1;
    }
    assert_eq!(seen, declared.len());
    let expected = EVERYTHING.iter().map(|(sid, _)| (*sid).to_owned()).collect();
    assert_eq!(wide, expected);
    // Others end tasks: who gets hold of one of them gets no machine, and no role with it.
    assert_eq!(start, ["workers.scheduler"]);
}

/// Whoever is sent to the bucket goes there with the rights of the function that sent them: these, and
/// no more than there.
#[test]
fn who_sends_clients_to_the_bucket_may_do_there_what_they_are_sent_for() {
    let (mut of_outgoing, mut of_incoming) = (BTreeMap::new(), BTreeMap::new());
    let stacks = stacks();
    for (stack, name, properties) in functions(&stacks) {
        let id = properties["Handler"].as_str().unwrap();
        for statement in statements(stack, name) {
            let resource = statement["Resource"]["Fn::Sub"].as_str().unwrap_or_default();
            let Some((_, place)) = resource.split_once(":s3:::${Bucket}") else { continue };
            let before = match place {
                "/outgoing/*" => of_outgoing.insert(id, actions(statement)),
                "/incoming/*" => of_incoming.insert(id, actions(statement)),
                "" => {
                    assert_eq!(actions(statement), ["s3:ListBucket"], "{id}");
                    None
                }
                _ => {
                    assert_eq!(place, "/blobs/*", "{id}");
                    None
                }
            };
            assert_eq!(before, None, "{id}");
        }
    }
    let leave = || vec!["s3:GetObject", "s3:PutObject"];
    let left = [("files.archive", leave()), ("files.export", leave()), ("files.get", leave())];
    assert_eq!(of_outgoing, BTreeMap::from(left));
    let (put, take) = (|| vec!["s3:PutObject"], || vec!["s3:GetObject"]);
    let taken = [("files.import", take()), ("files.put", take()), ("files.upload", put())];
    assert_eq!(of_incoming, BTreeMap::from(taken));
}

/// Behind no API nothing throttles: whoever follows events holds an execution for minutes, and an
/// account has no endless number of them.
#[test]
fn what_is_behind_no_api_can_be_bounded() {
    let bound = json!({
        "Fn::If": ["Bounded", { "Ref": "UrlConcurrency" }, { "Ref": "AWS::NoValue" }],
    });
    let mut bounded = Vec::new();
    let stacks = stacks();
    for (stack, name, properties) in functions(&stacks) {
        let id = properties["Handler"].as_str().unwrap();
        let skipped = stack["Resources"][name]["Metadata"]["checkov"]["skip"].as_array().unwrap();
        let why = skipped.iter().find(|one| one["id"] == "CKV_AWS_115");
        let why = why.map(|one| one["comment"].as_str().unwrap());
        if stack["Resources"].get(format!("{name}Url")).is_some() {
            assert_eq!(properties["ReservedConcurrentExecutions"], bound, "{id}");
            assert_eq!(why, None, "{id}");
            bounded.push(id);
        } else {
            assert_eq!(properties["ReservedConcurrentExecutions"], Value::Null, "{id}");
            let routed = |api: &str| {
                let integration = &stack["Resources"][format!("{name}Integration")];
                integration["Properties"]["ApiId"]["Ref"] == api
            };
            let throttled = why.unwrap().contains("HTTP API's throttle");
            assert_eq!(throttled, routed("HttpApi"), "{id}: {why:?}");
            let throttled = why.unwrap().contains("WebSocket API's throttle");
            assert_eq!(throttled, routed("SocketApi"), "{id}: {why:?}");
        }
    }
    assert_eq!(bounded, ["sessions.events.stream"]);
}

#[test]
fn what_is_written_by_hand_says_everything_only_where_it_must() {
    let mut wide = BTreeSet::new();
    for (name, text) in by_hand() {
        for line in text.lines().map(str::trim) {
            let everything = line.ends_with(r#""*""#) || line.ends_with(":*");
            if everything && (line.starts_with("Action") || line.starts_with("Resource")) {
                wide.insert((name.clone(), line.to_owned()));
            }
        }
    }
    let expected =
        EVERYTHING_BY_HAND.iter().map(|(file, line, _)| ((*file).into(), (*line).into()));
    assert_eq!(wide, expected.collect());
}

/// A tool that `./tests/run` has installed, or the machine has.
fn tool(venv: &str, name: &str) -> Command {
    let tests = std::env::current_exe().unwrap();
    let target = tests.ancestors().nth(3).expect("tests lie in <target>/<profile>/deps");
    let own = target.join("tools").join(venv).join("bin").join(name);
    let mut command = Command::new(if own.exists() { own } else { name.into() });
    command
        .current_dir(root())
        .env("AWS_DEFAULT_REGION", "us-east-1")
        .env("SAM_CLI_TELEMETRY", "0");
    command
}

fn run(mut command: Command) -> Output {
    let output = command.output().expect("it is installed by ./tests/run");
    let (out, err) = (&output.stdout, &output.stderr);
    let (out, err) = (String::from_utf8_lossy(out), String::from_utf8_lossy(err));
    assert!(output.status.success(), "{command:?}\n{out}\n{err}");
    output
}

#[test]
fn sam_has_nothing_against_the_root() {
    let mut sam = tool("aws", "sam");
    sam.args(["validate", "--lint"]);
    let said = run(sam).stdout;
    assert!(String::from_utf8_lossy(&said).contains("is a valid SAM Template"));
}

/// The linter follows the root into the nested stacks: that each is given what it takes, and has the
/// outputs that others are given.
#[test]
fn cfn_lint_has_nothing_against_any() {
    let mut lint = tool("aws", "cfn-lint");
    let hand = by_hand().into_iter().map(|(name, _)| format!("infra/aws/{name}"));
    let generated = stacks().into_keys().map(|name| format!("infra/aws/generated/{name}.json"));
    lint.args(hand).args(generated);
    run(lint);
}

#[test]
fn checkov_has_nothing_against_any_but_what_is_explained() {
    let mut checkov = tool("checkov", "checkov");
    checkov.args(["--directory", "infra/aws", "--framework", "cloudformation", "--output", "json"]);
    // It asks its maker for explanations otherwise, and waits.
    checkov.args(["--skip-download"]);
    let found: Value = serde_json::from_slice(&run(checkov).stdout).unwrap();
    assert_eq!(found["summary"]["failed"], 0);
    assert_eq!(found["summary"]["parsing_errors"], 0);
    assert!(found["summary"]["passed"].as_u64().unwrap() > 100);
    let skipped = found["results"]["skipped_checks"].as_array().unwrap();
    for one in skipped {
        let why = one["check_result"]["suppress_comment"].as_str().unwrap_or_default();
        assert!(why.len() > 20, "{} of {} is not explained", one["check_id"], one["resource"]);
    }
    // A suppression of what would pass is one too many.
    let skipped: BTreeSet<&str> =
        skipped.iter().map(|one| one["check_id"].as_str().unwrap()).collect();
    let texts = by_hand().into_iter().map(|(_, text)| text);
    let texts = texts.chain(stacks().into_values().map(|stack| stack.to_string()));
    let check = regex::Regex::new(r"CKV2?_AWS_\d+").unwrap();
    let text: String = texts.collect();
    let named: BTreeSet<&str> = check.find_iter(&text).map(|found| found.as_str()).collect();
    assert_eq!(named, skipped);
}
