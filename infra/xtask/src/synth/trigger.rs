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
        Trigger::Unrouted => Some(Use::ApiAddress),
        Trigger::Socket(_)
        | Trigger::Url(_)
        | Trigger::Webhook(_)
        | Trigger::Every(_)
        | Trigger::TaskStopped
        | Trigger::Installation => None,
    }
}

/// Whether nobody waits for the answer, so that what fails must be kept.
pub(super) fn is_asynchronous(trigger: &Trigger) -> bool {
    match trigger {
        Trigger::Every(_) | Trigger::TaskStopped | Trigger::Installation => true,
        Trigger::Socket(_)
        | Trigger::Url(_)
        | Trigger::Webhook(_)
        | Trigger::Unrouted
        | Trigger::Nudges
        | Trigger::Changes => false,
    }
}

/// What limits how often a request of the HTTP API is dealt with at once.
pub(super) const THROTTLED: &str = "the HTTP API's throttle is the limit";

/// What limits how often this invokes a function at once. None where nothing does.
pub(super) fn limit(trigger: &Trigger) -> Option<&'static str> {
    match trigger {
        Trigger::Url(_) | Trigger::Webhook(_) => None,
        Trigger::Unrouted => Some(THROTTLED),
        Trigger::Socket(_) => Some("the WebSocket API's throttle is the limit"),
        Trigger::Nudges => Some("the queue's maximum concurrency is the limit"),
        Trigger::Every(_) => Some("its schedule says how often"),
        Trigger::Changes => Some("one batch of each shard of the table's stream is the limit"),
        Trigger::TaskStopped => Some("one for each task that ends, which realms limit"),
        Trigger::Installation => Some("CloudFormation asks once for each change of the stack"),
    }
}

/// A route of the HTTP API.
pub(super) fn route(name: &str, method: &str, path: &str, add: &mut impl FnMut(&str, Value)) {
    // The stage is the first segment.
    let path = path.strip_prefix("/v1").unwrap_or(path);
    http(name, &format!("{method} {path}"), add);
}

fn http(name: &str, key: &str, add: &mut impl FnMut(&str, Value)) {
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
    add("Route", gateway_route(name, "HttpApi", key));
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
                // For almost as long as the stream keeps them: what is given up is a gap for who follows,
                // and what has left the stream by itself would not be told to anybody.
                "MaximumRetryAttempts": -1,
                "MaximumRecordAgeInSeconds": 82_800,
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
        Trigger::Unrouted => http(name, "$default", add),
        Trigger::Url(_) => url(name, "RESPONSE_STREAM", Some(&cors()), add),
        // Programs call it, not pages.
        Trigger::Webhook(_) => url(name, "BUFFERED", None, add),
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

/// A page of any origin may follow events, as it may call the HTTP API: what it may see says the key or
/// the ticket that it sends, and no cookie.
fn cors() -> Value {
    json!({
        "AllowOrigins": ["*"],
        "AllowMethods": ["GET"],
        "AllowHeaders": ["authorization", "cache-control", "last-event-id"],
        "ExposeHeaders": ["x-request-id"],
        "MaxAge": 3600,
    })
}

/// A URL that is open to all.
fn url(name: &str, mode: &str, cors: Option<&Value>, add: &mut impl FnMut(&str, Value)) {
    let mut url = json!({
        "Type": "AWS::Lambda::Url",
        "Metadata": { "checkov": { "skip": [
            skip("CKV_AWS_258", "the function authenticates by itself, as every function does"),
        ] } },
        "Properties": {
            "TargetFunctionArn": { "Ref": name },
            "AuthType": "NONE",
            "InvokeMode": mode,
        },
    });
    if let Some(cors) = cors {
        url["Properties"]["Cors"] = cors.clone();
    }
    add("Url", url);
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn of(trigger: &Trigger) -> BTreeMap<String, Value> {
        let mut made = BTreeMap::new();
        resources("ConnectorsReceive", trigger, &mut |suffix: &str, resource| {
            made.insert(suffix.to_owned(), resource);
        });
        made
    }

    /// Nothing is called back yet; what will be takes no more than a line in the table of functions.
    #[test]
    fn whoever_calls_back_has_a_url_that_answers_in_one_piece() {
        let made = of(&Trigger::Webhook("connectors.receive"));
        let url = &made["Url"]["Properties"];
        assert_eq!(url["InvokeMode"], "BUFFERED");
        assert_eq!(url["AuthType"], "NONE", "others sign in their own way, not in that of AWS");
        assert_eq!(url["TargetFunctionArn"], json!({ "Ref": "ConnectorsReceive" }));
        assert_eq!(url["Cors"], Value::Null);
        for permission in ["UrlPermission", "UrlInvokePermission"] {
            assert_eq!(made[permission]["Properties"]["Principal"], "*");
        }
        assert!(used(&Trigger::Webhook("connectors.receive")).is_none(), "it may do nothing more");
        assert!(!is_asynchronous(&Trigger::Webhook("connectors.receive")));
    }

    #[test]
    fn a_stream_is_streamed_to_pages_of_any_origin() {
        let made = of(&Trigger::Url("sessions.events"));
        let url = &made["Url"]["Properties"];
        assert_eq!(url["InvokeMode"], "RESPONSE_STREAM");
        let allowed = url["Cors"]["AllowHeaders"].as_array().unwrap();
        assert!(
            allowed.contains(&json!("last-event-id")) && allowed.contains(&json!("authorization"))
        );
        assert_eq!(url["Cors"]["AllowCredentials"], Value::Null);
    }
}
