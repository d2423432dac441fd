//! Where the system runs that a test speaks to: in one process on this machine, or deployed to an
//! account. What a test needs of either beyond HTTP is here and nowhere else.

use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use serde_json::json;
use tokio::process::Command;

use crate::given::at_last;
use crate::http::Client;
use crate::reeve::{Options, Reeve, mentioning};

/// A system that runs, and whoever operates it.
#[derive(Debug)]
pub struct Platform {
    operator: Client,
    home: Home,
}

#[derive(Debug)]
enum Home {
    Machine(#[expect(dead_code, reason = "stops when it is dropped")] Box<Reeve>),
    Account(Deployment),
}

/// What `tests/aws/up` says of what it has deployed.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Deployment {
    /// Where the HTTP API answers, without `/v1`.
    url: String,
    /// The first key.
    api_key: String,
    /// The engine that runs the tasks.
    docker_host: String,
}

/// Names the file in which `tests/aws/up` describes the deployment.
pub const DEPLOYMENT: &str = "REEVE_TEST_DEPLOYMENT";

impl Platform {
    /// One process on this machine, for this test alone.
    pub async fn one_process() -> Self {
        let reeve = Reeve::start(Options::default()).await;
        let operator = reeve.client().over_websocket();
        Self { operator, home: Home::Machine(Box::new(reeve)) }
    }

    /// What is deployed to the account, for all tests together: `./tests/run` deploys it.
    #[expect(clippy::unused_async, reason = "the other one starts something")]
    pub async fn deployed() -> Self {
        let file = std::env::var_os(DEPLOYMENT).unwrap_or_else(|| {
            panic!("nothing is deployed: ./tests/run does it, or tests/aws/up and {DEPLOYMENT}")
        });
        let text = std::fs::read(&file).expect("the description of the deployment reads");
        let deployment: Deployment = serde_json::from_slice(&text).expect("it is what `up` says");
        // The emulator hands on a function's stream when it has ended: what follows would wait for that.
        let operator = Client::new(&deployment.url, Some(&deployment.api_key)).over_websocket();
        Self { operator, home: Home::Account(deployment) }
    }

    /// Whoever holds the first key.
    pub fn operator(&self) -> &Client {
        &self.operator
    }

    /// Whoever holds the first key of a realm of their own, with these limits. Realms do not see each
    /// other, so tests may share one system.
    pub async fn realm(&self, limits: serde_json::Value) -> Client {
        let new = json!({ "name": "theirs", "limits": limits });
        let made = self.operator.post("/v1/realms", new).await;
        assert_eq!(made.status, 201, "{:#}", made.body);
        self.operator.with_key(Some(&made.text("/apiKey")))
    }

    /// Kills what runs for an agent, as a machine that fails would: nobody is told.
    pub async fn lose_container(&self, agent: &str) {
        match &self.home {
            Home::Machine(_) => {
                let all = processes(agent).into_iter();
                let shims: Vec<_> = all.filter(|pid| is_shim(*pid)).collect();
                assert!(!shims.is_empty(), "nothing runs for {agent}");
                for shim in shims {
                    kill_process(shim, Signal::KILL).expect("what runs can be killed");
                }
            }
            Home::Account(deployment) => {
                let containers = deployment.containers(agent).await;
                assert!(!containers.is_empty(), "nothing runs for {agent}");
                let mut arguments = vec!["kill".to_owned()];
                arguments.extend(containers);
                deployment.docker(&arguments).await;
            }
        }
    }

    /// Whether anything runs for an agent.
    pub async fn runs(&self, agent: &str) -> bool {
        match &self.home {
            Home::Machine(_) => !processes(agent).is_empty(),
            Home::Account(deployment) => !deployment.containers(agent).await.is_empty(),
        }
    }

    /// Returns when nothing runs for an agent.
    pub async fn at_rest(&self, agent: &str) {
        at_last("nothing of the agent runs", async || !self.runs(agent).await).await;
    }
}

fn ulid(agent: &str) -> &str {
    agent.trim_start_matches("agt_")
}

fn processes(agent: &str) -> Vec<Pid> {
    mentioning(Path::new(&format!("ctr_{}", ulid(agent))))
}

fn is_shim(pid: Pid) -> bool {
    let cmdline = Path::new("/proc").join(pid.as_raw_nonzero().to_string()).join("cmdline");
    std::fs::read(cmdline).is_ok_and(|text| text.windows(6).any(|part| part == b"--boot"))
}

impl Deployment {
    /// The running containers whose task was started for the agent.
    async fn containers(&self, agent: &str) -> Vec<String> {
        let all = self.docker(&["ps", "--quiet", "--no-trunc"].map(str::to_owned)).await;
        let mut of_agent = Vec::new();
        for id in all.lines() {
            let format = "{{range .Config.Env}}{{println .}}{{end}}";
            let arguments = ["inspect", "--format", format, id].map(str::to_owned);
            if self.docker(&arguments).await.contains(ulid(agent)) {
                of_agent.push(id.to_owned());
            }
        }
        of_agent
    }

    /// What `docker` says; nothing where it fails, as it does for a container that has just gone.
    async fn docker(&self, arguments: &[String]) -> String {
        let mut command = Command::new("docker");
        command.arg("--host").arg(&self.docker_host).args(arguments);
        let output = command.output().await.expect("docker can be started");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

/// Makes one test for each platform of every scenario of a suite.
#[macro_export]
macro_rules! on_each_platform {
    ($($suite:ident::$scenario:ident),+ $(,)?) => {
        mod one_process {
            $(#[tokio::test]
            async fn $scenario() {
                super::$suite::$scenario(&tests::platform::Platform::one_process().await).await;
            })+
        }
        mod deployed {
            $(#[tokio::test]
            async fn $scenario() {
                super::$suite::$scenario(&tests::platform::Platform::deployed().await).await;
            })+
        }
    };
}
