//! Containers on ECS: the suite of their port, what the platform is told of each, and what comes of
//! a platform that refuses, loses answers and is late.

#![expect(clippy::unwrap_used, reason = "all of this runs in tests")]

mod world;

use std::time::Duration;

use app::ports::{Compute, ComputeError};
use aws::compute::{SIZES, Size};
use domain::container::Resources;
use domain::plan::ContainerPlan;
use futures::future::join_all;
use http::StatusCode;
use serde_json::{Value, json};
use tests::compute::{Platform, observed, plan};
use tests::fault_proxy::Fault;
use world::{World, next};
pub(crate) use world::{image, image_on};

mod emulated {
    tests::for_compute!(super::World::open());
}

/// What a refused `RunTask` is answered with.
fn failures(reason: &str) -> Fault {
    let arn = "arn:aws:ecs:us-east-1:000000000000:container-instance/c/i";
    let failure = json!({ "arn": arn, "reason": reason });
    Fault::Answer(StatusCode::OK, json!({ "tasks": [], "failures": [failure] }))
}

#[tokio::test]
async fn a_task_says_whose_it_is_and_gets_its_boot_document() {
    let world = World::open().await;
    let plan = plan();
    world.ecs().provision(&plan).await.unwrap();
    let call = world.proxy().calls("RunTask").pop().unwrap().body;
    assert_eq!(call["startedBy"], plan.container.to_string());
    assert_eq!(call["taskDefinition"], format!("{}-small", world.name()));
    assert_eq!(call["launchType"], "FARGATE");
    assert_eq!(call["count"], 1);
    let network = &call["networkConfiguration"]["awsvpcConfiguration"];
    assert_eq!(network["subnets"], json!(["subnet-1", "subnet-2"]));
    assert_eq!(network["securityGroups"], json!(["sg-1"]));
    assert_eq!(network["assignPublicIp"], "DISABLED");
    let mut tags: Vec<_> = call["tags"].as_array().unwrap().iter().collect();
    tags.sort_by_key(|tag| tag["key"].as_str());
    let expected = [
        ("agent", plan.agent.to_string()),
        ("container", plan.container.to_string()),
        ("generation", "1".to_owned()),
        ("realm", plan.realm.to_string()),
    ];
    let expected = expected.map(|(key, value)| json!({ "key": key, "value": value }));
    assert_eq!(tags, expected.iter().collect::<Vec<_>>());
    assert_eq!(call["propagateTags"], "TASK_DEFINITION", "what it costs is counted");
    let own = &call["overrides"]["containerOverrides"][0];
    assert_eq!(own["name"], "agent");
    assert_eq!(own["environment"][0]["name"], "REEVE_BOOT");
    let boot: Value =
        serde_json::from_str(own["environment"][0]["value"].as_str().unwrap()).unwrap();
    assert_eq!(boot["container"], plan.container.to_string());
    assert_eq!(boot["generation"], 1);
    // A managed connection on which nobody speaks for ten minutes is ended.
    assert!(boot["heartbeatSeconds"].as_u64().is_some_and(|beat| 0 < beat && beat < 300), "{boot}");
    assert_eq!(boot["token"], plan.token);
    assert_eq!(boot["egress"], json!({ "tcp": "127.0.0.1:9" }));
    world.ecs().stop(plan.container).await.unwrap();
}

#[tokio::test]
async fn on_machines_of_the_cluster_its_own_strategy_decides() {
    let world = World::open().await;
    let (ecs, plan) = (world.deployed(&[("REEVE_CAPACITY", "EC2")]), plan());
    ecs.provision(&plan).await.unwrap();
    let call = world.proxy().calls("RunTask").pop().unwrap().body;
    assert_eq!(call["launchType"], Value::Null);
    assert_eq!(call["capacityProviderStrategy"], Value::Null);
    let network = &call["networkConfiguration"]["awsvpcConfiguration"];
    assert_eq!(network["assignPublicIp"], Value::Null);
    ecs.stop(plan.container).await.unwrap();
}

#[tokio::test]
async fn a_task_is_as_large_as_its_container_is_to_be() {
    let world = World::open().await;
    let wanted = Resources { cpu_count: Some(2), ..Resources::default() };
    let plan = ContainerPlan { resources: wanted, ..plan() };
    world.ecs().provision(&plan).await.unwrap();
    let call = world.proxy().calls("RunTask").pop().unwrap().body;
    assert_eq!(call["taskDefinition"], format!("{}-large", world.name()));
    world.ecs().stop(plan.container).await.unwrap();
    let wanted = Resources { cpu_count: Some(64), ..Resources::default() };
    let too_large = ContainerPlan { resources: wanted, ..tests::compute::plan() };
    let error = world.ecs().provision(&too_large).await.unwrap_err();
    assert!(matches!(&error, ComputeError::Refused(why) if why.contains("16 GiB")), "{error:?}");
}

#[test]
fn the_template_has_every_size() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let template = std::fs::read_to_string(root.join("infra/aws/containers.yaml")).unwrap();
    for Size { name, milli_processors, memory } in SIZES {
        // A processor is 1024 of its units, and memory is said in MiB.
        let (cpu, memory) = (milli_processors * 1024 / 1000, memory >> 20);
        let size = format!(
            "      Family: !Sub \"${{Name}}-{name}\"\n      Cpu: \"{cpu}\"\n      Memory: \"{memory}\"\n"
        );
        assert!(template.contains(&size), "{size}");
    }
}

#[tokio::test]
async fn every_page_of_a_list_is_read() {
    let world = World::open().await;
    let plans: Vec<_> = (0..3).map(|_| plan()).collect();
    for outcome in join_all(plans.iter().map(|plan| world.ecs().provision(plan))).await {
        outcome.unwrap();
    }
    let one = || Fault::Rewrite(|body| body["maxResults"] = json!(1));
    world.proxy().fault("ListTasks", one(), 3);
    let before = world.proxy().calls("ListTasks").len();
    assert_eq!(world.ecs().list().await.unwrap().len(), plans.len());
    assert_eq!(world.proxy().calls("ListTasks").len() - before, 3);
    for outcome in join_all(plans.iter().map(|plan| world.ecs().stop(plan.container))).await {
        outcome.unwrap();
    }
    let arn = |n: u32| format!("arn:aws:ecs:us-east-1:000000000000:task/{}/{n}", world.name());
    let many = json!({ "taskArns": (0..250).map(arn).collect::<Vec<_>>() });
    world.proxy().fault("ListTasks", Fault::Answer(StatusCode::OK, many), 1);
    let before = world.proxy().calls("DescribeTasks").len();
    assert!(
        world.ecs().list().await.unwrap().is_empty(),
        "what is not known any more is not there"
    );
    let asked = &world.proxy().calls("DescribeTasks")[before..];
    let mut sizes: Vec<_> =
        asked.iter().map(|call| call.body["tasks"].as_array().unwrap().len()).collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [50, 100, 100]);
}

#[tokio::test]
async fn what_has_no_room_now_may_have_it_later() {
    let world = World::open().await;
    let plan = plan();
    for reason in ["RESOURCE:MEMORY", "RESOURCE:ENI", "AGENT"] {
        world.proxy().fault("RunTask", failures(reason), 1);
        let error = world.ecs().provision(&plan).await.unwrap_err();
        let ComputeError::Unavailable(why) = error else { panic!("{error:?}") };
        assert!(why.to_string().contains(reason), "{why}");
        assert_eq!(world.ecs().describe(plan.container).await.unwrap(), None);
    }
    world.ecs().provision(&plan).await.unwrap();
    assert_eq!(world.ecs().describe(plan.container).await.unwrap(), Some(observed(&plan)));
    world.ecs().stop(plan.container).await.unwrap();
}

#[tokio::test]
async fn what_will_never_work_says_what_to_change() {
    let world = World::open().await;
    let plan = plan();
    world.proxy().fault("RunTask", failures("MISSING"), 1);
    world.proxy().fault("RunTask", Fault::error(400, "InvalidParameterException"), 1);
    for expected in ["deploy the installation again", "REEVE_SUBNETS"] {
        let error = world.ecs().provision(&plan).await.unwrap_err();
        assert!(matches!(&error, ComputeError::Refused(_)), "{error:?}");
        assert!(error.to_string().contains(expected), "{error}");
    }
    // Nobody has registered its task definition.
    let definition = json!({ "taskDefinition": format!("{}-small:1", world.name()) });
    world.call("ECS.DeregisterTaskDefinition", definition).await;
    world.proxy().fault("RunTask", Fault::Rewrite(|body| body["taskDefinition"] = json!("no")), 1);
    let error = world.ecs().provision(&plan).await.unwrap_err();
    assert!(error.to_string().contains("REEVE_TASK_FAMILY"), "{error}");
}

#[tokio::test]
async fn a_cluster_that_is_gone_is_said() {
    let world = World::open().await;
    world.proxy().fault("ListTasks", Fault::error(400, "ClusterNotFoundException"), 1);
    let error = world.ecs().ready().await.unwrap_err();
    assert!(
        matches!(&error, ComputeError::Refused(why) if why.contains(world.name())),
        "{error:?}"
    );
    world.ecs().ready().await.unwrap();
}

#[tokio::test]
async fn a_throttled_start_is_one_start() {
    let world = World::open().await;
    let plan = plan();
    world.proxy().fault("RunTask", Fault::throttling(), 3);
    world.ecs().provision(&plan).await.unwrap();
    assert_eq!(world.proxy().calls("RunTask").len(), 4);
    assert_eq!(world.tasks(plan.container).await.len(), 1);
    world.ecs().stop(plan.container).await.unwrap();
}

#[tokio::test]
async fn throttling_without_an_end_is_told_in_time() {
    let world = World::open().await;
    world.proxy().fault("RunTask", Fault::throttling(), 100);
    let asked = tokio::time::timeout(Duration::from_secs(20), world.ecs().provision(&plan())).await;
    let error = asked.expect("there is a deadline").unwrap_err();
    assert!(matches!(error, ComputeError::Unavailable(_)), "{error:?}");
    assert!(world.proxy().calls("RunTask").len() > 2, "it was tried again");
}

#[tokio::test]
async fn a_start_whose_answer_is_lost_is_one_start() {
    let world = World::open().await;
    let plan = plan();
    world.proxy().fault("RunTask", Fault::LoseAnswer, 1);
    world.ecs().provision(&plan).await.unwrap();
    assert_eq!(world.proxy().calls("RunTask").len(), 2);
    assert_eq!(world.tasks(plan.container).await.len(), 1);
    world.ecs().stop(plan.container).await.unwrap();
}

#[tokio::test]
async fn a_list_that_lags_starts_nothing_twice() {
    let world = World::open().await;
    let plan = plan();
    world.ecs().provision(&plan).await.unwrap();
    let none = || Fault::Answer(StatusCode::OK, json!({ "taskArns": [] }));
    world.proxy().fault("ListTasks", none(), 1);
    world.ecs().provision(&plan).await.unwrap();
    // Not even where another deployment asks, with other parameters.
    world.proxy().fault("ListTasks", none(), 1);
    world.deployed(&[("REEVE_EGRESS", "elsewhere.internal:8080")]).provision(&plan).await.unwrap();
    assert_eq!(world.tasks(plan.container).await.len(), 1);
    world.ecs().stop(plan.container).await.unwrap();
}

#[tokio::test]
async fn a_start_that_a_late_list_hid_is_listed_later_and_removed_alone() {
    let world = World::open().await;
    let plan = plan();
    let second = next(&plan);
    world.ecs().provision(&plan).await.unwrap();
    let none = Fault::Answer(StatusCode::OK, json!({ "taskArns": [] }));
    world.proxy().fault("ListTasks", none, 1);
    world.ecs().provision(&second).await.unwrap();
    assert_eq!(world.ecs().list().await.unwrap(), [observed(&plan), observed(&second)]);
    world.ecs().remove(observed(&plan)).await.unwrap();
    assert_eq!(world.ecs().list().await.unwrap(), [observed(&second)]);
    assert!(world.ecs().lag() > Duration::ZERO, "and until then nothing is missed");
    world.ecs().stop(plan.container).await.unwrap();
}

#[tokio::test]
async fn a_start_that_ended_begins_again_once_for_all_who_ask() {
    let world = World::open().await;
    let plan = plan();
    for ends in 1..=2 {
        world.ecs().provision(&plan).await.unwrap();
        world.up(plan.container).await;
        world.quit(plan.agent).await;
        assert_eq!(world.exited().await, observed(&plan));
        assert_eq!(world.tasks(plan.container).await.len(), ends);
    }
    for asked in join_all((0..4).map(|_| world.ecs().provision(&plan))).await {
        asked.unwrap();
    }
    assert_eq!(world.tasks(plan.container).await.len(), 3);
    assert_eq!(world.ecs().list().await.unwrap(), [observed(&plan)]);
    world.ecs().stop(plan.container).await.unwrap();
}

#[tokio::test]
async fn a_late_task_counts_as_running() {
    let world = World::open().await;
    let plan = plan();
    world.ecs().provision(&plan).await.unwrap();
    let task = &world.tasks(plan.container).await[0];
    for status in ["PROVISIONING", "PENDING", "ACTIVATING"] {
        let mut late = task.clone();
        late["lastStatus"] = json!(status);
        let answer = json!({ "tasks": [late], "failures": [] });
        world.proxy().fault("DescribeTasks", Fault::Answer(StatusCode::OK, answer), 2);
        let found = world.ecs().describe(plan.container).await.unwrap();
        assert_eq!(found, Some(observed(&plan)), "{status}");
        assert_eq!(world.ecs().list().await.unwrap(), [observed(&plan)], "{status}");
    }
    world.ecs().stop(plan.container).await.unwrap();
}

#[tokio::test]
async fn a_stop_is_asked_after_until_nothing_is_left() {
    let world = World::open().await;
    let plan = plan();
    world.ecs().provision(&plan).await.unwrap();
    let mut leaving = world.tasks(plan.container).await[0].clone();
    let arn = leaving["taskArn"].clone();
    leaving["desiredStatus"] = json!("STOPPED");
    leaving["lastStatus"] = json!("DEPROVISIONING");
    let answer = |body: Value| Fault::Answer(StatusCode::OK, body);
    let left = |stopped: Result<(), ComputeError>| {
        assert!(matches!(stopped, Err(ComputeError::Leaving)), "{stopped:?}");
    };
    let told = || world.proxy().calls("StopTask").len();
    world.proxy().fault("StopTask", answer(json!({ "task": leaving })), 1);
    left(world.ecs().stop(plan.container).await);
    assert_eq!(told(), 1);

    // Who told it knows its name.
    let described = json!({ "tasks": [leaving], "failures": [] });
    world.proxy().fault("DescribeTasks", answer(described.clone()), 1);
    let before = world.proxy().calls("ListTasks").len();
    left(world.ecs().stop(plan.container).await);
    assert_eq!(world.proxy().calls("ListTasks").len(), before);

    // Another has to find it.
    world.proxy().fault("ListTasks", answer(json!({ "taskArns": [] })), 1);
    world.proxy().fault("ListTasks", answer(json!({ "taskArns": [arn] })), 1);
    world.proxy().fault("DescribeTasks", answer(described), 1);
    left(world.deployed(&[]).stop(plan.container).await);
    let [of_this, stopped] = &world.proxy().calls("ListTasks")[before..] else {
        panic!("it asks for what runs and for what stops");
    };
    assert_eq!(of_this.body["startedBy"], plan.container.to_string());
    assert_eq!(of_this.body["desiredStatus"], Value::Null, "a filter beside another");
    assert_eq!(stopped.body["desiredStatus"], "STOPPED");
    assert_eq!(stopped.body["startedBy"], Value::Null, "a filter beside another");
    assert_eq!(told(), 1, "once is enough");

    world.call("ECS.StopTask", json!({ "cluster": world.name(), "task": arn })).await;
    world.ecs().stop(plan.container).await.unwrap();
    assert!(!world.lives(plan.container));
}

#[tokio::test]
async fn what_somebody_else_runs_is_left_alone() {
    let world = World::open().await;
    let plan = plan();
    let other = json!({
        "cluster": world.name(),
        "taskDefinition": format!("{}-small", world.name()),
        "startedBy": plan.container.to_string(),
    });
    let task = world.call("ECS.RunTask", other).await["tasks"][0]["taskArn"].clone();
    assert_eq!(world.ecs().describe(plan.container).await.unwrap(), None);
    assert!(world.ecs().list().await.unwrap().is_empty());
    world.ecs().stop(plan.container).await.unwrap();
    let asked = json!({ "cluster": world.name(), "tasks": [task] });
    let found = world.call("ECS.DescribeTasks", asked).await;
    assert_ne!(found["tasks"][0]["desiredStatus"], "STOPPED", "{found}");
    assert_eq!(world.ecs().ended(task.as_str().unwrap()).await.unwrap(), None);
    world.call("ECS.StopTask", json!({ "cluster": world.name(), "task": task })).await;
}

#[tokio::test]
async fn an_end_is_not_told_where_the_start_goes_on_or_was_stopped_by_us() {
    let world = World::open().await;
    let plan = plan();
    world.ecs().provision(&plan).await.unwrap();
    let first = world.tasks(plan.container).await[0]["taskArn"].as_str().unwrap().to_owned();
    assert_eq!(world.ecs().ended(&first).await.unwrap(), None, "it runs");
    // Somebody else stops it.
    world.call("ECS.StopTask", json!({ "cluster": world.name(), "task": first })).await;
    assert_eq!(world.ecs().ended(&first).await.unwrap(), Some(observed(&plan)));
    world.ecs().provision(&plan).await.unwrap();
    assert_eq!(world.ecs().ended(&first).await.unwrap(), None, "it goes on");
    world.ecs().provision(&next(&plan)).await.unwrap();
    assert_eq!(world.ecs().ended(&first).await.unwrap(), Some(observed(&plan)));
    world.ecs().stop(plan.container).await.unwrap();
    let stopped = world.tasks(plan.container).await;
    let ours = stopped.iter().filter(|task| task["taskArn"] != first.as_str());
    for task in ours {
        let arn = task["taskArn"].as_str().unwrap();
        assert_eq!(world.ecs().ended(arn).await.unwrap(), None, "it was asked for");
    }
}
