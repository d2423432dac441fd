//! What invokes a function, as resources.

use gate::Trigger;
use serde_json::{Value, json};

use super::policy::{self, Use};
use super::stack::skip;

/// What a function must be allowed to be invoked like this.
pub(super) fn used(trigger: &Trigger) -> Option<Use> {
    match trigger {
        Trigger::Nudges => Some(Use::TakeNudges),
        Trigger::Changes => Some(Use::ReadChanges),
        Trigger::Socket(_)
        | Trigger::Url(_)
        | Trigger::Every(_)
        | Trigger::TaskStopped
        | Trigger::Installation => None,
    }
}

/// Whether nobody waits for the answer, so that what fails must be kept.
pub(super) fn is_asynchronous(trigger: &Trigger) -> bool {
    match trigger {
        Trigger::Every(_) | Trigger::TaskStopped | Trigger::Installation => true,
        Trigger::Socket(_) | Trigger::Url(_) | Trigger::Nudges | Trigger::Changes => false,
    }
}

/// A route of the HTTP API.
pub(super) fn route(name: &str, method: &str, path: &str, add: &mut impl FnMut(&str, Value)) {
    // The stage is the first segment.
    let path = path.strip_prefix("/v1").unwrap_or(path);
    add(
        "Integration",
        json!({
            "Type": "AWS::ApiGatewayV2::Integration",
            "Properties": {
                "ApiId": { "Ref": "HttpApi" },
                "IntegrationType": "AWS_PROXY",
                "IntegrationUri": { "Fn::GetAtt": [name, "Arn"] },
                "PayloadFormatVersion": "2.0",
                "TimeoutInMillis": 30_000,
            },
        }),
    );
    add("Route", gateway_route(name, "HttpApi", &format!("{method} {path}")));
    add("Permission", gateway_permission(name, "HttpApi"));
}

/// The table's change stream.
fn changes(name: &str, add: &mut impl FnMut(&str, Value)) {
    add(
        "Changes",
        json!({
            "Type": "AWS::Lambda::EventSourceMapping",
            "Properties": {
                "EventSourceArn": { "Ref": "TableStream" },
                "FunctionName": { "Ref": name },
                "StartingPosition": "TRIM_HORIZON",
                "BatchSize": 100,
                // One batch of a shard at a time: with more, only the changes of one item are sure to
                // stay in order, and a session's events are many items.
                "ParallelizationFactor": 1,
                // A batch that comes again begins where it began, so that whoever publishes knows it.
                "BisectBatchOnFunctionError": false,
                "FunctionResponseTypes": ["ReportBatchItemFailures"],
                // For as long as the stream keeps them: what is given up is a gap for who follows.
                "MaximumRetryAttempts": -1,
                "MaximumRecordAgeInSeconds": -1,
                "DestinationConfig": { "OnFailure": { "Destination": { "Ref": "DeadLetters" } } },
            },
        }),
    );
}

/// A route of the WebSocket API.
fn socket(name: &str, key: &str, add: &mut impl FnMut(&str, Value)) {
    let uri = format!(
        "arn:${{AWS::Partition}}:apigateway:${{AWS::Region}}:lambda:path/2015-03-31/functions/${{{name}.Arn}}/invocations"
    );
    add(
        "Integration",
        json!({
            "Type": "AWS::ApiGatewayV2::Integration",
            "Properties": {
                "ApiId": { "Ref": "SocketApi" },
                "IntegrationType": "AWS_PROXY",
                "IntegrationMethod": "POST",
                "IntegrationUri": { "Fn::Sub": uri },
            },
        }),
    );
    add("Route", gateway_route(name, "SocketApi", key));
    add("Permission", gateway_permission(name, "SocketApi"));
}

/// What `trigger` needs to invoke the function `name`.
pub(super) fn resources(name: &str, trigger: &Trigger, add: &mut impl FnMut(&str, Value)) {
    let function = json!({ "Fn::GetAtt": [name, "Arn"] });
    match trigger {
        Trigger::Socket(key) => socket(name, key, add),
        Trigger::Url(_) => url(name, add),
        Trigger::Nudges => add(
            "Nudges",
            json!({
                "Type": "AWS::Lambda::EventSourceMapping",
                "Properties": {
                    "EventSourceArn": { "Ref": "ErrandsQueueArn" },
                    "FunctionName": { "Ref": name },
                    // One invocation sees to all that is due: what came meanwhile is one nudge.
                    "BatchSize": 10,
                    "ScalingConfig": { "MaximumConcurrency": 10 },
                },
            }),
        ),
        Trigger::Changes => changes(name, add),
        Trigger::Every(expression) => {
            add(
                "Schedule",
                json!({
                    "Type": "AWS::Scheduler::Schedule",
                    "Properties": {
                        "ScheduleExpression": expression,
                        "FlexibleTimeWindow": { "Mode": "OFF" },
                        "Target": {
                            "Arn": function,
                            "RoleArn": { "Fn::GetAtt": [format!("{name}ScheduleRole"), "Arn"] },
                            // The next one comes by itself and does the same.
                            "RetryPolicy": { "MaximumRetryAttempts": 0 },
                        },
                    },
                }),
            );
            let invoke = policy::allow("Invoke", &["lambda:InvokeFunction"], &function);
            add(
                "ScheduleRole",
                json!({
                    "Type": "AWS::IAM::Role",
                    "Properties": {
                        "AssumeRolePolicyDocument": policy::assumed_by("scheduler.amazonaws.com"),
                        "Policies": [policy::policy("invoke", &[invoke])],
                    },
                }),
            );
        }
        Trigger::TaskStopped => {
            let cluster =
                "arn:${AWS::Partition}:ecs:${AWS::Region}:${AWS::AccountId}:cluster/${Cluster}";
            add(
                "Rule",
                json!({
                    "Type": "AWS::Events::Rule",
                    "Properties": {
                        "Description": "A container has stopped.",
                        "EventPattern": {
                            "source": ["aws.ecs"],
                            "detail-type": ["ECS Task State Change"],
                            "detail": {
                                "clusterArn": [{ "Fn::Sub": cluster }],
                                "lastStatus": ["STOPPED"],
                            },
                        },
                        "Targets": [{ "Id": "function", "Arn": function }],
                    },
                }),
            );
            add(
                "RulePermission",
                json!({
                    "Type": "AWS::Lambda::Permission",
                    "Properties": {
                        "FunctionName": { "Ref": name },
                        "Action": "lambda:InvokeFunction",
                        "Principal": "events.amazonaws.com",
                        "SourceArn": { "Fn::GetAtt": [format!("{name}Rule"), "Arn"] },
                    },
                }),
            );
        }
        Trigger::Installation => add(
            "Installation",
            json!({
                "Type": "Custom::Installation",
                "Properties": { "ServiceToken": function, "ServiceTimeout": 300 },
            }),
        ),
    }
}

fn url(name: &str, add: &mut impl FnMut(&str, Value)) {
    add(
        "Url",
        json!({
            "Type": "AWS::Lambda::Url",
            "Metadata": { "checkov": { "skip": [
                skip("CKV_AWS_258", "authenticates by itself, by ticket or key, as every route does"),
            ] } },
            "Properties": {
                "TargetFunctionArn": { "Ref": name },
                "AuthType": "NONE",
                "InvokeMode": "RESPONSE_STREAM",
            },
        }),
    );
    // Whoever calls a URL that is open to all needs both.
    let permission = |action: &str, condition: (&str, Value)| {
        let (member, value) = condition;
        json!({
            "Type": "AWS::Lambda::Permission",
            "Properties": {
                "FunctionName": { "Ref": name },
                "Action": action,
                "Principal": "*",
                member: value,
            },
        })
    };
    let open = ("FunctionUrlAuthType", json!("NONE"));
    add("UrlPermission", permission("lambda:InvokeFunctionUrl", open));
    let through_it = ("InvokedViaFunctionUrl", json!(true));
    add("UrlInvokePermission", permission("lambda:InvokeFunction", through_it));
}

fn gateway_route(name: &str, api: &str, key: &str) -> Value {
    json!({
        "Type": "AWS::ApiGatewayV2::Route",
        "Properties": {
            "ApiId": { "Ref": api },
            "RouteKey": key,
            "AuthorizationType": "NONE",
            "Target": { "Fn::Sub": format!("integrations/${{{name}Integration}}") },
        },
    })
}

/// Every stage and route of the API may invoke it; only its own routes name it.
fn gateway_permission(name: &str, api: &str) -> Value {
    let source = format!(
        "arn:${{AWS::Partition}}:execute-api:${{AWS::Region}}:${{AWS::AccountId}}:${{{api}}}/*"
    );
    json!({
        "Type": "AWS::Lambda::Permission",
        "Properties": {
            "FunctionName": { "Ref": name },
            "Action": "lambda:InvokeFunction",
            "Principal": "apigateway.amazonaws.com",
            "SourceArn": { "Fn::Sub": source },
        },
    })
}
