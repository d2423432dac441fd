//! What holds in the templates written by hand and no linter knows: what can be changed, taken away and
//! counted behind the first deployment.

use saphyr::{LoadableYamlNode, Scalar, Yaml};
use serde_json::{Map, Value, json};

use super::{by_hand, of_type, resources, root, stacks};

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
        other @ (Yaml::Value(Scalar::Null | Scalar::FloatingPoint(_))
        | Yaml::Representation(..)
        | Yaml::Alias(_)
        | Yaml::BadValue) => panic!("{other:?} is in no template"),
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
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    }
}

/// A protected machine is ended by nobody once its capacity provider is gone, so the stack would stay.
#[test]
fn machines_end_with_the_installation() {
    let template = template("containers.yaml");
    assert!(named(&template, "NewInstancesProtectedFromScaleIn").is_empty());
    let provider = &properties(&template, "InstanceCapacity")["AutoScalingGroupProvider"];
    assert_eq!(provider["ManagedTerminationProtection"], "DISABLED");
    assert_eq!(provider["ManagedDraining"], "ENABLED", "what works is waited for");
}

/// CloudFormation replaces a budget whose subscribers change, and refuses two of one name.
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

/// It is one for all WebSocket APIs of an account and region, so another installation's, too.
#[test]
fn the_accounts_logging_is_left_alone_where_it_is_somebody_elses() {
    let template = template("template.yaml");
    let condition = json!({ "Fn::Equals": [{ "Ref": "ApiGatewayLogging" }, "own"] });
    let of_the_account = of_type(&template, "AWS::ApiGateway::Account");
    let mut left = of_the_account.map(|(name, _)| name.as_str()).collect::<Vec<_>>();
    left.push("LoggingRole");
    assert_eq!(left, ["LoggingAccount", "LoggingRole"]);
    for name in left {
        let made = template["Resources"][name]["Condition"].as_str().unwrap();
        assert_eq!(template["Conditions"][made], condition, "{name}");
    }
}

/// As the guide to Lambda has it, so that what is throttled is not taken for lost.
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

#[test]
fn what_passes_through_the_bucket_is_there_for_a_day() {
    let template = template("state.yaml");
    let rules = &properties(&template, "Bucket")["LifecycleConfiguration"]["Rules"];
    for prefix in ["outgoing/", "incoming/"] {
        let rule = rules.as_array().unwrap().iter().find(|rule| rule["Prefix"] == prefix).unwrap();
        assert_eq!((&rule["Status"], &rule["ExpirationInDays"]), (&json!("Enabled"), &json!(1)));
        assert_eq!(rule["NoncurrentVersionExpiration"], json!({ "NoncurrentDays": 1 }));
    }
}

/// A budget that counts a tag which nothing carries counts nothing, and says so to nobody.
#[test]
fn everything_carries_the_tag_that_the_budget_counts() {
    let whole = template("template.yaml");
    let stack = json!({ "Ref": "AWS::StackName" });
    for (name, resource) in resources(&whole) {
        let tags = &resource["Properties"]["Tags"];
        let tag = match resource["Type"].as_str().unwrap() {
            // It costs nothing, and has none.
            "AWS::ApiGateway::Account" => continue,
            "AWS::ApiGatewayV2::Api" | "AWS::ApiGatewayV2::Stage" => json!([tags]),
            _ => json!([{ tags[0]["Key"].as_str().unwrap_or_default(): tags[0]["Value"] }]),
        };
        assert_eq!(tag, json!([{ "reeve": stack }]), "{name}");
    }
    let counted = template("watch.yaml");
    let counted = named(&counted, "TagKeyValue");
    assert_eq!(counted, [&json!([{ "Fn::Sub": "user:reeve$${Name}" }])]);
    assert_eq!(properties(&whole, "Watch")["Parameters"]["Name"], stack);
    // What starts later has it of what it was started by.
    let containers = template("containers.yaml");
    assert_eq!(properties(&containers, "EgressService")["PropagateTags"], "SERVICE");
    let machines = properties(&containers, "Instances")["Tags"].as_array().unwrap();
    let name = json!({ "Ref": "Name" });
    assert!(
        machines.contains(&json!({ "Key": "reeve", "Value": name, "PropagateAtLaunch": true }))
    );
    // And whoever deploys says no other.
    let config = std::fs::read_to_string(root().join("samconfig.toml")).unwrap();
    assert!(!config.contains("tags"), "{config}");
}

/// A resolver asks the owner of a name, and a name spells whatever whoever asks knows.
#[test]
fn no_name_resolves_but_what_is_needed() {
    let network = template("network.yaml");
    let domains = |list: &str| properties(&network, list)["Domains"].clone();
    let id = |name: &str| json!({ "Fn::GetAtt": format!("{name}.Id") });
    let rules = properties(&network, "Names")["FirewallRules"].as_array().unwrap();
    let [known, agents, rest] = &rules[..] else { panic!("{rules:?}") };
    assert_eq!(known["FirewallDomainListId"], id("Known"));
    assert_eq!(agents["Fn::If"][1]["FirewallDomainListId"], id("HttpAgents"));
    assert_eq!(rest["FirewallDomainListId"], id("AnyName"));
    assert_eq!(domains("AnyName"), json!(["*"]));
    assert_eq!((&rest["Action"], &rest["BlockResponse"]), (&json!("BLOCK"), &json!("NXDOMAIN")));
    let last = rest["Priority"].as_u64();
    assert!(known["Priority"].as_u64() < last);
    assert!(agents["Fn::If"][1]["Priority"].as_u64() < last);
    let association = properties(&network, "NamesOfVpc");
    assert_eq!(association["FirewallRuleGroupId"], id("Names"));
    assert_eq!(association["VpcId"], json!({ "Ref": "Vpc" }));

    // Nobody but AWS, or nobody at all, owns what is below these; the rest are names of one host.
    let known = domains("Known");
    let (below, hosts): (Vec<_>, Vec<_>) =
        known.as_array().unwrap().iter().partition(|name| name.to_string().contains('*'));
    assert_eq!(below, [&json!("*.internal"), &json!({ "Fn::Sub": "*.${AWS::URLSuffix}" })]);
    // They are those that egress dials, which is not told of others.
    let egress = std::fs::read_to_string(root().join("infra/egress/src/config.rs")).unwrap();
    let (_, bases) = egress.split_once("fn public_base").unwrap();
    let (bases, _) = bases.split_once("/// What can be asked").unwrap();
    let host = regex::Regex::new("https://([a-z.]+)").unwrap();
    let dialled: Vec<_> = host.captures_iter(bases).map(|found| found[1].to_owned()).collect();
    assert_eq!(hosts, dialled.iter().collect::<Vec<_>>());
    let containers = template("containers.yaml");
    let environment = named(&containers, "Environment");
    assert!(!format!("{environment:?}").contains("BASE_URL"));
}
