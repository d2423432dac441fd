//! A cluster of its own for each test, on the emulator, which runs tasks as containers of a Docker
//! engine: the one that `DOCKER_HOST` names.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use app::ports::{Compute, Observed};
use async_trait::async_trait;
use aws::compute::{CONTAINER, Ecs, SIZES};
use aws::{Environment, Sdk};
use domain::plan::ContainerPlan;
use domain::{AgentId, ContainerId};
use serde_json::{Value, json};
use tests::compute::{PATIENCE, Platform};
use tests::emulator::{self, Emulator};
use tests::fault_proxy::FaultProxy;
use tests::table::fresh;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::time::timeout;

/// What the containers are made of: the shim and nothing else.
const IMAGE: &str = "reeve-tests-shim";
const DOCKERFILE: &str = "ARG BASE
FROM $BASE
COPY shim /shim
ENTRYPOINT [\"/shim\", \"--boot-env\"]
";

pub(crate) struct World {
    emulator: Emulator,
    proxy: FaultProxy,
    name: String,
    ecs: Ecs,
}

impl World {
    pub(crate) async fn open() -> Self {
        let emulator = Emulator::start_own().await;
        let proxy = FaultProxy::start(emulator.endpoint()).await;
        let name = fresh();
        let ecs = ecs(&proxy.endpoint(), &[("REEVE_CLUSTER", &name), ("REEVE_TASK_FAMILY", &name)]);
        let world = Self { emulator, proxy, name, ecs };
        world.prepare().await;
        world
    }

    /// What a bad day does to calls.
    pub(crate) fn proxy(&self) -> &FaultProxy {
        &self.proxy
    }

    pub(crate) fn ecs(&self) -> &Ecs {
        &self.ecs
    }

    /// Containers as another deployment of this cluster would start them, which is told `more`.
    pub(crate) fn deployed(&self, more: &[(&str, &str)]) -> Ecs {
        let mut all = more.to_vec();
        all.extend([("REEVE_CLUSTER", &*self.name), ("REEVE_TASK_FAMILY", &*self.name)]);
        ecs(&self.proxy.endpoint(), &all)
    }

    /// The name of the cluster, and of everything else of this test.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    async fn prepare(&self) {
        build(IMAGE, "scratch");
        self.call("ECS.CreateCluster", json!({ "clusterName": self.name })).await;
        for size in SIZES {
            let definition = json!({
                "family": format!("{}-{}", self.name, size.name),
                "networkMode": "awsvpc",
                "requiresCompatibilities": ["FARGATE", "EC2"],
                "cpu": "256",
                "memory": "512",
                "containerDefinitions": [{ "name": CONTAINER, "image": IMAGE, "essential": true }],
            });
            self.call("ECS.RegisterTaskDefinition", definition).await;
        }
        let queue = self.call("AmazonSQS.CreateQueue", json!({ "QueueName": self.name })).await;
        assert_eq!(queue["QueueUrl"], self.queue(), "{queue}");
        let pattern = json!({
            "source": ["aws.ecs"],
            "detail-type": ["ECS Task State Change"],
            "detail": { "clusterArn": [self.cluster()], "lastStatus": ["STOPPED"] },
        });
        let rule = json!({ "Name": self.name, "EventPattern": pattern.to_string() });
        self.call("AWSEvents.PutRule", rule).await;
        let arn = format!("arn:aws:sqs:us-east-1:000000000000:{}", self.name);
        let targets = json!({ "Rule": self.name, "Targets": [{ "Id": "queue", "Arn": arn }] });
        self.call("AWSEvents.PutTargets", targets).await;
    }

    fn queue(&self) -> String {
        format!("{}/000000000000/{}", self.emulator.endpoint(), self.name)
    }

    fn cluster(&self) -> String {
        format!("arn:aws:ecs:us-east-1:000000000000:cluster/{}", self.name)
    }

    /// Asks the emulator for what only an operator asks for.
    pub(crate) async fn call(&self, operation: &str, body: Value) -> Value {
        let target = operation.replace("ECS.", "AmazonEC2ContainerServiceV20141113.");
        let client = tests::http::connector();
        let request = client
            .post(self.emulator.endpoint())
            .header("x-amz-target", target)
            .header("content-type", "application/x-amz-json-1.1")
            .body(body.to_string());
        let answer = request.send().await.unwrap();
        let (status, text) = (answer.status(), answer.text().await.unwrap());
        assert!(status.is_success(), "{operation}: {text}");
        serde_json::from_str(&text).unwrap_or_default()
    }

    /// The tasks of a container, whatever became of them.
    pub(crate) async fn tasks(&self, container: ContainerId) -> Vec<Value> {
        let mut all = Vec::new();
        for status in ["RUNNING", "STOPPED"] {
            let filter = json!({ "cluster": self.name, "desiredStatus": status });
            let arns = self.call("ECS.ListTasks", filter).await["taskArns"].clone();
            let asked = json!({ "cluster": self.name, "tasks": arns, "include": ["TAGS"] });
            let found = self.call("ECS.DescribeTasks", asked).await;
            all.extend(found["tasks"].as_array().unwrap().iter().cloned());
        }
        all.retain(|task| task["startedBy"] == container.to_string());
        all
    }

    /// What the next events say that has ended, waiting for one up to `seconds`.
    async fn ended(&self, seconds: u64) -> Vec<Observed> {
        let ask = json!({ "QueueUrl": self.queue(), "WaitTimeSeconds": seconds });
        let received = self.call("AmazonSQS.ReceiveMessage", ask).await;
        let mut ended = Vec::new();
        for message in received["Messages"].as_array().into_iter().flatten() {
            let event: Value = serde_json::from_str(message["Body"].as_str().unwrap()).unwrap();
            ended.extend(
                self.ecs.ended(event["detail"]["taskArn"].as_str().unwrap()).await.unwrap(),
            );
            let receipt = &message["ReceiptHandle"];
            let done = json!({ "QueueUrl": self.queue(), "ReceiptHandle": receipt });
            self.call("AmazonSQS.DeleteMessage", done).await;
        }
        ended
    }

    /// The engine's container that runs the shim of `container`.
    fn running(&self, container: ContainerId) -> Option<String> {
        let ours = format!("label=com.amazonaws.ecs.cluster={}", self.cluster());
        let all = docker(&["ps", "--quiet", "--no-trunc", "--filter", &ours]).unwrap();
        all.lines().find(|id| is_of(id, container)).map(str::to_owned)
    }
}

impl Drop for World {
    /// The emulator forgets the containers of tasks that ended by themselves, and those of a test that
    /// failed.
    fn drop(&mut self) {
        let ours = format!("label=com.amazonaws.ecs.cluster={}", self.cluster());
        let all = docker(&["ps", "--all", "--quiet", "--filter", &ours]).unwrap_or_default();
        let mut remove = vec!["rm", "--force"];
        remove.extend(all.lines());
        if remove.len() > 2 {
            docker(&remove);
        }
    }
}

#[async_trait]
impl Platform for World {
    fn compute(&self) -> &dyn Compute {
        &self.ecs
    }

    async fn exited(&self) -> Observed {
        let next = async {
            loop {
                if let Some(observed) = self.ended(10).await.first() {
                    return *observed;
                }
            }
        };
        timeout(PATIENCE, next).await.expect("it ends")
    }

    async fn reported(&self) -> bool {
        !self.ended(1).await.is_empty()
    }

    async fn up(&self, container: ContainerId) {
        let ours = format!("label=com.amazonaws.ecs.cluster={}", self.cluster());
        let mut events = tokio::process::Command::new("docker")
            .args(["events", "--since", "10m", "--filter", "event=start", "--filter", &ours])
            .args(["--format", "{{.ID}}"])
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("docker is there");
        let mut started = BufReader::new(events.stdout.take().unwrap()).lines();
        let started = async {
            while let Some(id) = started.next_line().await.unwrap() {
                if is_of(&id, container) {
                    return;
                }
            }
            panic!("the engine tells of no start any more");
        };
        timeout(PATIENCE, started).await.expect("it starts");
    }

    async fn quit(&self, agent: AgentId) {
        // What `plan` makes has one ULID for both.
        let id = self.running(ContainerId::new(agent.ulid())).expect("it runs");
        docker(&["kill", &id]).unwrap();
    }

    fn lives(&self, container: ContainerId) -> bool {
        self.running(container).is_some()
    }
}

fn ecs(endpoint: &str, more: &[(&str, &str)]) -> Ecs {
    let environment = environment(endpoint, more);
    let sdk = Sdk::new(&environment).unwrap();
    Ecs::new(&sdk, &environment).unwrap()
}

fn environment(endpoint: &str, more: &[(&str, &str)]) -> Environment {
    let mut all = more.to_vec();
    all.extend([
        ("REEVE_CAPACITY", "FARGATE"),
        ("REEVE_SUBNETS", "subnet-1,subnet-2"),
        ("REEVE_SECURITY_GROUPS", "sg-1"),
        // Nobody answers there.
        ("REEVE_EGRESS", "127.0.0.1:9"),
    ]);
    emulator::environment(endpoint, &all)
}

/// Whether the engine's container `id` runs and was booted for `container`.
fn is_of(id: &str, container: ContainerId) -> bool {
    let found = docker(&["inspect", "--format", "{{.State.Running}} {{.Config.Env}}", id]);
    let found = found.unwrap_or_default();
    found.starts_with("true ") && found.contains(&container.to_string())
}

/// What `docker` prints; none where it fails.
fn docker(arguments: &[&str]) -> Option<String> {
    let output = Command::new("docker").args(arguments).output().expect("docker is there");
    output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
}

/// The name of an image with the shim and nothing else, which the engine makes once.
pub(crate) fn image() -> &'static str {
    build(IMAGE, "scratch");
    IMAGE
}

/// The name of an image with the shim and what is in `base`: see `tests/aws/up`.
pub(crate) fn image_on(base: &str) -> String {
    let name = format!("{IMAGE}-on-{}", base.replace(':', "-"));
    build(&name, base);
    name
}

fn build(name: &str, base: &str) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("Dockerfile"), DOCKERFILE).unwrap();
    std::fs::copy(shim(), dir.path().join("shim")).unwrap();
    let context = dir.path().to_str().unwrap();
    let base = format!("BASE={base}");
    docker(&["build", "--quiet", "--tag", name, "--build-arg", &base, context])
        .expect("the engine builds an image");
}

/// The static shim, which is built with whatever embeds it.
fn shim() -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let target = tests.ancestors().nth(3).unwrap();
    let built = target.join("static").join(tests.ancestors().nth(2).unwrap().file_name().unwrap());
    let mut triples = std::fs::read_dir(built).unwrap().map(|entry| entry.unwrap().path());
    let shim = |triple: PathBuf| Some(triple.join("shim/shim")).filter(|shim| Path::exists(shim));
    triples.find_map(shim).expect("the shim is built")
}

/// What another start of the same container is asked for with.
pub(crate) fn next(plan: &ContainerPlan) -> ContainerPlan {
    ContainerPlan { generation: plan.generation + 1, ..plan.clone() }
}
