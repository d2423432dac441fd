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
        let mut set = vec![("REEVE_METRICS", json!({ "Ref": "Name" }))];
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
                Grant::BlobRead
                | Grant::BlobWrite
                | Grant::Outgoing
                | Grant::UploadOpen
                | Grant::UploadTake => {
                    set.push(("REEVE_BUCKET", json!({ "Ref": "Bucket" })));
                }
                Grant::ComputeStart | Grant::ComputeStop => set.extend([
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
                Grant::Outgoing => out.extend(leave_answers()),
                Grant::UploadOpen => out.extend(open_uploads()),
                Grant::UploadTake => out.extend(take_uploads()),
                Grant::ComputeStart => out.extend(start_tasks()),
                Grant::ComputeStop => out.extend(stop_tasks()),
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

/// The action that puts is also that of every step of putting in parts. What is fetched from there is
/// fetched with these rights, by whoever was given its address.
fn leave_answers() -> [Value; 2] {
    [
        allow("LeaveAnswers", &["s3:GetObject", "s3:PutObject"], &blobs("/outgoing/*")),
        key("LeaveAnswersKey", "s3", &["kms:Decrypt", "kms:GenerateDataKey"]),
    ]
}

/// What is put there is put with these rights, by whoever was given its address.
fn open_uploads() -> [Value; 2] {
    [
        allow("OpenUploads", &["s3:PutObject"], &blobs("/incoming/*")),
        key("OpenUploadsKey", "s3", &["kms:GenerateDataKey"]),
    ]
}

fn take_uploads() -> [Value; 3] {
    [
        allow("TakeUploads", &["s3:GetObject"], &blobs("/incoming/*")),
        // Without it, S3 does not say of an object that it is not there.
        allow("MissUploads", &["s3:ListBucket"], &blobs("")),
        key("TakeUploadsKey", "s3", &["kms:Decrypt"]),
    ]
}

fn blobs(rest: &str) -> Value {
    json!({ "Fn::Sub": format!("arn:${{AWS::Partition}}:s3:::${{Bucket}}{rest}") })
}

fn of_ecs(resource: &str) -> Value {
    let arn =
        format!("arn:${{AWS::Partition}}:ecs:${{AWS::Region}}:${{AWS::AccountId}}:{resource}");
    json!({ "Fn::Sub": arn })
}

fn in_the_cluster() -> Value {
    json!({ "ArnEquals": { "ecs:cluster": of_ecs("cluster/${Cluster}") } })
}

fn start_tasks() -> [Value; 3] {
    let definitions = of_ecs("task-definition/${TaskFamily}-*");
    let started = json!({ "StringEquals": { "ecs:CreateAction": "RunTask" } });
    let by_ecs = json!({ "StringEquals": { "iam:PassedToService": "ecs-tasks.amazonaws.com" } });
    [
        when(allow("Start", &["ecs:RunTask"], &definitions), in_the_cluster()),
        when(allow("Mark", &["ecs:TagResource"], &of_ecs("task/${Cluster}/*")), started),
        when(allow("StartAs", &["iam:PassRole"], &json!({ "Ref": "ExecutionRole" })), by_ecs),
    ]
}

fn stop_tasks() -> [Value; 2] {
    let actions = ["ecs:DescribeTasks", "ecs:StopTask"];
    [
        when(allow("Stop", &actions, &of_ecs("task/${Cluster}/*")), in_the_cluster()),
        // AWS knows this action for no task and no cluster; the condition is what limits it.
        when(allow("List", &["ecs:ListTasks"], &json!("*")), in_the_cluster()),
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
    let via = json!({ "Fn::Sub": format!("{service}.${{AWS::Region}}.${{AWS::URLSuffix}}") });
    let through_it = json!({ "StringEquals": { "kms:ViaService": via } });
    when(allow(sid, actions, &json!({ "Ref": "Key" })), through_it)
}

fn when(mut statement: Value, condition: Value) -> Value {
    statement["Condition"] = condition;
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
