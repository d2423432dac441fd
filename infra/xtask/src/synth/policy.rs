//! What a grant becomes in the cloud: statements of a policy, and the environment that goes with them.
//!
//! What holds here: no action is a pattern. A resource is one only where AWS knows the action for no
//! resource, or where the resource is not there yet; each such place says so.

use app::Grant;
use gate::Need;
use serde_json::{Map, Value, json};

/// What a function may do.
pub(super) struct Authority {
    /// Whether it looks its caller's key up.
    pub(super) authenticates: bool,
    pub(super) grants: &'static [Grant],
    pub(super) needs: &'static [Need],
    pub(super) uses: Vec<Use>,
}

/// What neither a grant nor a need names.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// Saying where the client stream is.
    StreamAddress,
    /// Calling the HTTP API as any of its clients.
    ApiAddress,
    /// Taking messages from the queue of nudges.
    TakeNudges,
    /// Reading the table's change stream.
    ReadChanges,
}

const TABLE: &str =
    "arn:${AWS::Partition}:dynamodb:${AWS::Region}:${AWS::AccountId}:table/${Table}";

impl Authority {
    fn reads(&self) -> bool {
        self.authenticates || self.grants.contains(&Grant::TableRead)
    }

    pub(super) fn environment(&self) -> Map<String, Value> {
        // Figures of two installations of one account do not add up.
        let mut set =
            vec![("REEVE_METRICS", json!({ "Ref": "Name" })), ("RUST_LOG", json!("info"))];
        if self.reads() || self.grants.contains(&Grant::TableWrite) {
            set.push(("REEVE_TABLE", json!({ "Ref": "Table" })));
        }
        for grant in self.grants {
            match grant {
                Grant::TableRead
                | Grant::TableWrite
                | Grant::Feed
                | Grant::WorkspaceRead
                | Grant::WorkspaceWrite
                | Grant::Outside => {}
                Grant::BlobRead | Grant::BlobWrite => {
                    set.push(("REEVE_BUCKET", json!({ "Ref": "Bucket" })));
                }
                Grant::Compute => set.extend([
                    ("REEVE_CAPACITY", json!({ "Ref": "Capacity" })),
                    ("REEVE_CLUSTER", json!({ "Ref": "Cluster" })),
                    ("REEVE_EGRESS", json!({ "Ref": "Egress" })),
                    ("REEVE_SECURITY_GROUPS", json!({ "Ref": "SecurityGroups" })),
                    ("REEVE_SUBNETS", json!({ "Ref": "Subnets" })),
                    ("REEVE_TASK_FAMILY", json!({ "Ref": "TaskFamily" })),
                ]),
                Grant::Push => set.push(("REEVE_CONNECTIONS", json!({ "Ref": "Connections" }))),
            }
        }
        for need in self.needs {
            set.push(match need {
                Need::SigningKey => ("REEVE_SIGNING_SECRET", json!({ "Ref": "SigningKey" })),
                Need::Nudge => ("REEVE_ERRANDS_QUEUE", json!({ "Ref": "ErrandsQueue" })),
                Need::FirstKey => ("REEVE_BOOTSTRAP_SECRET", json!({ "Ref": "FirstKey" })),
            });
        }
        if self.uses.contains(&Use::StreamAddress) {
            set.push(("REEVE_STREAM_URL", json!({ "Ref": "StreamUrl" })));
        }
        if self.uses.contains(&Use::ApiAddress) {
            set.push(("REEVE_API_URL", json!({ "Ref": "ApiUrl" })));
        }
        set.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    pub(super) fn statements(&self) -> Vec<Value> {
        let mut out = Vec::new();
        let writes = self.grants.contains(&Grant::TableWrite);
        if self.reads() {
            let index = json!({ "Fn::Sub": format!("{TABLE}/index/index") });
            let actions = ["dynamodb:BatchGetItem", "dynamodb:GetItem", "dynamodb:Query"];
            out.push(allow("ReadTable", &actions, &json!([{ "Fn::Sub": TABLE }, index])));
        }
        if writes {
            // What a transaction is made of; there is no action for a transaction itself.
            let actions = [
                "dynamodb:ConditionCheckItem",
                "dynamodb:DeleteItem",
                "dynamodb:PutItem",
                "dynamodb:UpdateItem",
            ];
            out.push(allow("WriteTable", &actions, &json!({ "Fn::Sub": TABLE })));
        }
        if self.reads() || writes {
            out.push(key("TableKey", "dynamodb", &["kms:Decrypt"]));
        }
        for grant in self.grants {
            match grant {
                Grant::TableRead
                | Grant::TableWrite
                | Grant::Feed
                | Grant::WorkspaceRead
                | Grant::WorkspaceWrite
                | Grant::Outside => {}
                Grant::BlobRead => out.extend(read_blobs()),
                Grant::BlobWrite => out.extend(write_blobs()),
                Grant::Compute => out.extend(compute()),
                Grant::Push => {
                    let connections = "arn:${AWS::Partition}:execute-api:${AWS::Region}:${AWS::AccountId}:${SocketApi}/v1/*/@connections/*";
                    let actions = ["execute-api:ManageConnections"];
                    out.push(allow("Push", &actions, &json!({ "Fn::Sub": connections })));
                }
            }
        }
        for need in self.needs {
            match need {
                Need::SigningKey => {
                    let actions = ["secretsmanager:GetSecretValue"];
                    out.push(allow("SigningKey", &actions, &json!({ "Ref": "SigningKey" })));
                    out.push(key("SigningKeyKey", "secretsmanager", &["kms:Decrypt"]));
                }
                Need::Nudge => {
                    let actions = ["sqs:SendMessage"];
                    out.push(allow("Nudge", &actions, &json!({ "Ref": "ErrandsQueueArn" })));
                    out.push(key("NudgeKey", "sqs", &["kms:Decrypt", "kms:GenerateDataKey"]));
                }
                Need::FirstKey => {
                    let actions =
                        ["secretsmanager:GetSecretValue", "secretsmanager:PutSecretValue"];
                    out.push(allow("FirstKey", &actions, &json!({ "Ref": "FirstKey" })));
                    let actions = ["kms:Decrypt", "kms:GenerateDataKey"];
                    out.push(key("FirstKeyKey", "secretsmanager", &actions));
                }
            }
        }
        for used in &self.uses {
            match used {
                Use::StreamAddress | Use::ApiAddress => {}
                Use::TakeNudges => {
                    let actions =
                        ["sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage"];
                    out.push(allow("TakeNudges", &actions, &json!({ "Ref": "ErrandsQueueArn" })));
                    out.push(key("NudgeKey", "sqs", &["kms:Decrypt"]));
                }
                Use::ReadChanges => {
                    let actions = [
                        "dynamodb:DescribeStream",
                        "dynamodb:GetRecords",
                        "dynamodb:GetShardIterator",
                    ];
                    out.push(allow("ReadChanges", &actions, &json!({ "Ref": "TableStream" })));
                    // AWS knows this action for no resource.
                    out.push(allow("FindChanges", &["dynamodb:ListStreams"], &json!("*")));
                    out.extend(dead_letters());
                }
            }
        }
        out
    }
}

fn read_blobs() -> [Value; 3] {
    [
        allow("ReadBlobs", &["s3:GetObject"], &blobs("/blobs/*")),
        // Without it, S3 does not say of an object that it is not there.
        allow("MissBlobs", &["s3:ListBucket"], &blobs("")),
        key("ReadBlobsKey", "s3", &["kms:Decrypt"]),
    ]
}

fn write_blobs() -> [Value; 2] {
    [
        allow("WriteBlobs", &["s3:DeleteObject", "s3:PutObject"], &blobs("/blobs/*")),
        key("WriteBlobsKey", "s3", &["kms:GenerateDataKey"]),
    ]
}

fn blobs(rest: &str) -> Value {
    json!({ "Fn::Sub": format!("arn:${{AWS::Partition}}:s3:::${{Bucket}}{rest}") })
}

fn compute() -> Vec<Value> {
    let arn = |resource: &str| json!({ "Fn::Sub": format!("arn:${{AWS::Partition}}:ecs:${{AWS::Region}}:${{AWS::AccountId}}:{resource}") });
    let here = json!({ "ArnEquals": { "ecs:cluster": arn("cluster/${Cluster}") } });
    let when = |mut statement: Value, condition: &Value| {
        statement["Condition"] = condition.clone();
        statement
    };
    vec![
        when(allow("Start", &["ecs:RunTask"], &arn("task-definition/${TaskFamily}-*")), &here),
        when(
            allow("Mark", &["ecs:TagResource"], &arn("task/${Cluster}/*")),
            &json!({ "StringEquals": { "ecs:CreateAction": "RunTask" } }),
        ),
        when(
            allow("Stop", &["ecs:DescribeTasks", "ecs:StopTask"], &arn("task/${Cluster}/*")),
            &here,
        ),
        // AWS knows this action for no task and no cluster; the condition is what limits it.
        when(allow("List", &["ecs:ListTasks"], &json!("*")), &here),
        when(
            allow("StartAs", &["iam:PassRole"], &json!({ "Ref": "ExecutionRole" })),
            &json!({ "StringEquals": { "iam:PassedToService": "ecs-tasks.amazonaws.com" } }),
        ),
    ]
}

/// What every function may: write its own log, and its traces.
pub(super) fn every_function(name: &str) -> Vec<Value> {
    let log = json!({ "Fn::GetAtt": [format!("{name}Logs"), "Arn"] });
    vec![
        allow("Log", &["logs:CreateLogStream", "logs:PutLogEvents"], &log),
        // AWS knows these actions for no resource.
        allow("Trace", &["xray:PutTelemetryRecords", "xray:PutTraceSegments"], &json!("*")),
    ]
}

/// Leaving behind what it could not take.
pub(super) fn dead_letters() -> Vec<Value> {
    vec![
        allow("DeadLetters", &["sqs:SendMessage"], &json!({ "Ref": "DeadLetters" })),
        key("DeadLettersKey", "sqs", &["kms:Decrypt", "kms:GenerateDataKey"]),
    ]
}

/// The installation's key, used through one service only.
fn key(sid: &str, service: &str, actions: &[&str]) -> Value {
    let mut statement = allow(sid, actions, &json!({ "Ref": "Key" }));
    let via = json!({ "Fn::Sub": format!("{service}.${{AWS::Region}}.${{AWS::URLSuffix}}") });
    statement["Condition"] = json!({ "StringEquals": { "kms:ViaService": via } });
    statement
}

pub(super) fn allow(sid: &str, actions: &[&str], resource: &Value) -> Value {
    json!({ "Sid": sid, "Effect": "Allow", "Action": actions, "Resource": resource })
}

pub(super) fn policy(name: &str, statements: &[Value]) -> Value {
    json!({
        "PolicyName": name,
        "PolicyDocument": { "Version": "2012-10-17", "Statement": statements },
    })
}

pub(super) fn assumed_by(service: &str) -> Value {
    json!({
        "Version": "2012-10-17",
        "Statement": [{
            "Effect": "Allow",
            "Action": "sts:AssumeRole",
            "Principal": { "Service": service },
        }],
    })
}
