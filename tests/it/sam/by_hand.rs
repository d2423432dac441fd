//! What holds in the templates written by hand and no linter knows: what can be changed, taken away and
//! counted behind the first deployment.

use saphyr::{LoadableYamlNode, Scalar, Yaml};
use serde_json::{Map, Value, json};

use super::{by_hand, stacks};

/// A template as CloudFormation reads it: a tag is the function that it is short for.
fn template(name: &str) -> Value {
    let (_, text) = by_hand().into_iter().find(|(file, _)| file == name).unwrap();
    plain(&Yaml::load_from_str(&text).unwrap()[0])
}

fn plain(yaml: &Yaml<'_>) -> Value {
    match yaml {
        Yaml::Value(Scalar::String(text)) => text.as_ref().into(),
        Yaml::Value(Scalar::Boolean(flag)) => (*flag).into(),
        Yaml::Value(Scalar::Integer(number)) => (*number).into(),
        Yaml::Sequence(values) => values.iter().map(plain).collect(),
        Yaml::Mapping(members) => {
            let member = |(name, value): (&Yaml<'_>, &Yaml<'_>)| {
                (name.as_str().expect("names are strings").to_owned(), plain(value))
            };
            Value::Object(members.iter().map(member).collect::<Map<_, _>>())
        }
        Yaml::Tagged(tag, value) if tag.suffix == "Ref" => json!({ "Ref": plain(value) }),
        Yaml::Tagged(tag, value) => json!({ format!("Fn::{}", tag.suffix): plain(value) }),
        other => panic!("{other:?} is in no template"),
    }
}

fn properties<'a>(template: &'a Value, resource: &str) -> &'a Value {
    &template["Resources"][resource]["Properties"]
}

/// Everything of this name, wherever it is.
fn named<'a>(value: &'a Value, name: &str) -> Vec<&'a Value> {
    match value {
        Value::Array(values) => values.iter().flat_map(|value| named(value, name)).collect(),
        Value::Object(members) => {
            let below = members.values().flat_map(|value| named(value, name));
            members.get(name).into_iter().chain(below).collect()
        }
        _ => Vec::new(),
    }
}

#[test]
fn machines_end_with_the_installation() {
    let template = template("containers.yaml");
    assert!(named(&template, "NewInstancesProtectedFromScaleIn").is_empty());
    let provider = &properties(&template, "InstanceCapacity")["AutoScalingGroupProvider"];
    assert_eq!(provider["ManagedTerminationProtection"], "DISABLED");
    assert_eq!(provider["ManagedDraining"], "ENABLED", "what works is waited for");
}

#[test]
fn whoever_is_told_can_be_another_later() {
    let template = template("watch.yaml");
    let budget = &template["Resources"]["Budget"];
    assert_eq!(named(budget, "BudgetName").len(), 0);
    assert!(!budget.to_string().contains("AlarmEmail") && !budget.to_string().contains("Fn::If"));
    let alarms = json!({ "Ref": "Alarms" });
    let topic = json!([{ "SubscriptionType": "SNS", "Address": alarms }]);
    let subscribers = named(budget, "Subscribers");
    assert_eq!(subscribers, [&topic, &topic]);
    // And who tells the topic may: by its policy, which is there before, and by that of its key.
    assert_eq!(budget["DependsOn"], "AlarmsPolicy");
    let policy = properties(&template, "AlarmsPolicy");
    assert_eq!(policy["Topics"], json!([alarms]));
    let state = self::template("state.yaml");
    assert_eq!(properties(&template, "Alarms")["KmsMasterKeyId"], json!({ "Ref": "Key" }));
    for statements in [named(policy, "Statement"), named(properties(&state, "Key"), "Statement")] {
        let mut services = statements.iter().flat_map(|one| named(one, "Service"));
        let both = json!(["budgets.amazonaws.com", "cloudwatch.amazonaws.com"]);
        assert!(services.any(|service| *service == both), "{statements:?}");
    }
}

#[test]
fn a_nudge_is_hidden_for_six_times_as_long_as_its_function_takes() {
    let template = template("state.yaml");
    let queue = properties(&template, "ErrandsQueue");
    let scheduler = &stacks()["workers"]["Resources"]["WorkersScheduler"]["Properties"];
    let hidden = 6 * scheduler["Timeout"].as_u64().unwrap();
    assert_eq!(queue["VisibilityTimeout"], hidden);
    let times = queue["RedrivePolicy"]["maxReceiveCount"].as_u64().unwrap();
    assert!(queue["MessageRetentionPeriod"].as_u64().unwrap() > times * hidden);
}

#[test]
fn what_is_deleted_of_the_bucket_leaves_no_marker() {
    let template = template("state.yaml");
    let rules = &properties(&template, "Bucket")["LifecycleConfiguration"]["Rules"];
    assert_eq!(rules[0]["ExpiredObjectDeleteMarker"], true);
    assert_eq!(rules[0]["Prefix"], Value::Null, "wherever it was");
}
