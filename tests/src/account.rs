//! The account that a test's system is deployed to, as its operator sees it: for tests that disturb
//! what is deployed. Whatever they change is as it was when they end.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use app::ports::Clock;
use aws::DynamoTable;
use domain::container::Container;
use domain::{AgentId, ContainerId, RealmId, Topic};
use host::SystemClock;
use rustix::process::{Signal, kill_process};
use serde::Deserialize;
use serde_json::{Value, json};
use store::{Commit, Scope, Table, document, keys};

use crate::emulator::dynamo;
use crate::fault_proxy::FaultProxy;
use crate::http::Client;
use crate::platform::DEPLOYMENT;
use crate::reeve::mentioning;

/// An account with a deployment.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Account {
    /// Where its services answer.
    pub endpoint: String,
    /// The name of the root stack, with which the names of all things begin.
    pub stack: String,
    #[serde(skip)]
    dir: PathBuf,
}

impl Account {
    /// The one that `./tests/run` has deployed to.
    pub fn deployed() -> Self {
        let file = std::env::var_os(DEPLOYMENT)
            .unwrap_or_else(|| panic!("nothing is deployed: ./tests/run does it, or tests/aws/up"));
        let text = std::fs::read(&file).expect("the description of the deployment reads");
        let account: Self = serde_json::from_slice(&text).expect("it is what `up` says");
        let dir = Path::new(&file).parent().expect("it lies in a directory").to_owned();
        Self { dir, ..account }
    }

    /// Asks a service of it something, so many times at once.
    pub async fn at_once(
        &self,
        times: usize,
        service: &str,
        operation: &str,
        arguments: Value,
    ) -> Vec<Value> {
        let mut call = tokio::process::Command::new(script());
        call.args(self.arguments(service, operation, &arguments)).arg(times.to_string());
        let output = call.output().await.expect("python is there");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{service} {operation} {arguments}:\n{said}");
        serde_json::from_slice(&output.stdout).expect("it prints JSON")
    }

    /// Asks a service of it something.
    pub async fn call(&self, service: &str, operation: &str, arguments: Value) -> Value {
        self.at_once(1, service, operation, arguments).await.remove(0)
    }

    /// Invokes a function so many times at once, as its schedule would; what it answered.
    pub async fn invoke(&self, function: &str, times: usize) -> Vec<Value> {
        let asked = json!({ "FunctionName": self.name(function), "Payload": "{}" });
        self.at_once(times, "lambda", "invoke", asked).await
    }

    /// The tasks that ever ran for an agent, as far as the cluster remembers.
    pub async fn tasks(&self, agent: &str) -> usize {
        let (mut tasks, by) = (0, container(agent).to_string());
        for status in ["RUNNING", "STOPPED"] {
            let mut asked = json!({ "cluster": self.stack, "desiredStatus": status });
            loop {
                let listed = self.call("ecs", "list_tasks", asked.clone()).await;
                let some = json!({ "cluster": self.stack, "tasks": listed["taskArns"] });
                let found = self.call("ecs", "describe_tasks", some).await;
                let found = found["tasks"].as_array().expect("a list");
                tasks += found.iter().filter(|task| task["startedBy"] == by).count();
                if listed["nextToken"].is_null() {
                    break;
                }
                asked["nextToken"] = listed["nextToken"].clone();
            }
        }
        tasks
    }

    /// Lets a function reach the services of the account only through `proxy`, until what is returned
    /// is dropped.
    pub async fn through(&self, function: &str, proxy: &FaultProxy) -> Disturbed {
        let endpoint = proxy.endpoint();
        self.disturb(function, |found| {
            let variables = &mut found["Environment"]["Variables"];
            variables["AWS_ENDPOINT_URL"] = json!(endpoint);
            // The management endpoint of connections is told apart.
            if let Some(at) = variables["REEVE_CONNECTIONS"].as_str() {
                let path = at.splitn(4, '/').nth(3).expect("a path");
                variables["REEVE_CONNECTIONS"] = json!(format!("{endpoint}/{path}"));
            }
        })
        .await
    }

    /// Changes a function's configuration, until what is returned is dropped.
    pub async fn disturb(&self, function: &str, change: impl FnOnce(&mut Value)) -> Disturbed {
        let name = self.name(function);
        let asked = json!({ "FunctionName": name });
        let mut found = self.call("lambda", "get_function_configuration", asked).await;
        let configuration = |found: &Value| {
            json!({ "FunctionName": name, "Timeout": found["Timeout"],
                "Environment": { "Variables": found["Environment"]["Variables"] } })
        };
        let before = configuration(&found);
        change(&mut found);
        self.call("lambda", "update_function_configuration", configuration(&found)).await;
        Disturbed { account: self.clone(), function: function.to_owned(), before }
    }

    /// The table of the deployment.
    pub fn table(&self) -> DynamoTable {
        dynamo(&self.endpoint, &self.stack, Arc::new(SystemClock::default()))
    }

    /// Does what time does to the errands of a realm that a scheduler holds: their leases are over.
    pub async fn end_leases(&self, client: &Client) {
        let (table, realm, now) = (self.table(), realm(client).await, SystemClock::default().now());
        for shard in 0..keys::DUE_SHARDS {
            let mut after = None;
            loop {
                let (page, next) = store::due::head(&table, shard, after, 100).await.unwrap();
                for held in page.into_iter().filter(|due| due.value.realm == realm) {
                    if held.value.held_until.is_some_and(|until| until > now) {
                        let (_, write) = store::due::claim(&held, now);
                        let commit = Commit { name: "test.lease", writes: vec![write] };
                        table.commit(commit).await.unwrap();
                    }
                }
                match next {
                    Some(next) => after = Some(next),
                    None => break,
                }
            }
        }
    }

    /// The connections that follow a topic, as the table has them.
    pub async fn followers(&self, client: &Client, topic: Topic) -> Vec<String> {
        let (table, scope) = (self.table(), scope(client).await);
        let fail = |error| panic!("{error}");
        let found = store::subscription::of_topic(&table, scope, topic, fail).await;
        found.unwrap().followers.into_iter().map(|row| row.value.connection).collect()
    }

    /// Whether the table has a connection.
    pub async fn knows(&self, connection: &str) -> bool {
        self.table().get(&keys::connection(connection)).await.unwrap().is_some()
    }

    /// The connection of an agent's shim, as the table has it.
    pub async fn shim(&self, client: &Client, agent: &str) -> Option<String> {
        let key = keys::container(scope(client).await, container(agent));
        let row = document::get::<Container>(&self.table(), &key).await.unwrap();
        row.and_then(|row| row.value.connection)
    }

    /// Ends a connection as the API does after ten idle minutes, or two hours.
    pub async fn end_connection(&self, connection: &str) {
        let asked = json!({ "ConnectionId": connection });
        self.call("apigatewaymanagementapi", "delete_connection", asked).await;
    }

    fn name(&self, function: &str) -> String {
        format!("{}-{}", self.stack, function.replace('.', "-"))
    }

    fn arguments<'a>(
        &'a self,
        service: &'a str,
        operation: &'a str,
        arguments: &Value,
    ) -> [Box<OsStr>; 4] {
        let text = |text: &str| Box::from(OsStr::new(text));
        [
            Box::from(self.dir.as_os_str()),
            text(service),
            text(operation),
            text(&arguments.to_string()),
        ]
    }
}

/// A function of the deployment that is not as it was deployed. It is again when this is dropped.
#[derive(Debug)]
pub struct Disturbed {
    account: Account,
    function: String,
    before: Value,
}

impl Disturbed {
    /// Kills every process of the function that speaks through `proxy`, in the midst of what it does.
    pub fn kill(&self, proxy: &FaultProxy) {
        let through = mentioning(Path::new(&format!("AWS_ENDPOINT_URL={}", proxy.endpoint())));
        let handler = mentioning(Path::new(&format!("_HANDLER={}", self.function)));
        let both: Vec<_> = through.into_iter().filter(|pid| handler.contains(pid)).collect();
        assert!(!both.is_empty(), "nothing runs as {}", self.function);
        for pid in both {
            // One that has just ended by itself is as dead.
            kill_process(pid, Signal::KILL).ok();
        }
    }
}

impl Drop for Disturbed {
    fn drop(&mut self) {
        let Self { account, before, .. } = self;
        let mut call = std::process::Command::new(script());
        call.args(account.arguments("lambda", "update_function_configuration", before));
        let output = call.output().expect("python is there");
        assert!(
            output.status.success() || std::thread::panicking(),
            "{} stays disturbed",
            self.function
        );
    }
}

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("aws/call")
}

fn container(agent: &str) -> ContainerId {
    let ulid = agent.trim_start_matches("agt_");
    assert!(agent.parse::<AgentId>().is_ok(), "{agent} is no agent");
    format!("ctr_{ulid}").parse().expect("the container of an agent has its number")
}

async fn realm(client: &Client) -> RealmId {
    client.get("/v1/me").await.text("/realm/id").parse().expect("a realm")
}

#[expect(clippy::disallowed_methods, reason = "a test may enter its own realm")]
async fn scope(client: &Client) -> Scope {
    Scope::grant(realm(client).await)
}
