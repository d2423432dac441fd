//! The image, run as the cloud runs it, behind a real egress: what is deployed, without a cloud.
//!
//! Needs a container engine and the images of `infra/aws/images/build`, with the agents of other
//! makers: `./tests/run` has them.

use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::Stdio;

use domain::plan::AgentPlan;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use wire::shim::Down;

use crate::given::{echo, prompt, prompt_to};
use crate::plane::{Contained, Plane, Setup};

const IMAGE: &str = "reeve-shim:test";

/// What `tests/aws/up` says of what it has started.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Engine {
    docker_host: String,
}

impl Engine {
    fn find() -> Self {
        let file = std::env::var_os("REEVE_TEST_DEPLOYMENT").expect("./tests/run starts an engine");
        serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap()
    }

    fn docker(&self, arguments: &[&str]) -> std::process::Command {
        let mut command = std::process::Command::new("docker");
        command.env("DOCKER_HOST", &self.docker_host).args(arguments);
        command
    }

    /// The address at which containers find this machine.
    fn bridge(&self) -> Ipv4Addr {
        let done = self.docker(&["network", "inspect", "bridge"]).output().unwrap();
        let networks: Value = serde_json::from_slice(&done.stdout).unwrap();
        let network = &networks[0]["IPAM"]["Config"][0];
        if let Some(gateway) = network["Gateway"].as_str() {
            return gateway.parse().unwrap();
        }
        // Where none was chosen it is the first address.
        let (first, _) = network["Subnet"].as_str().unwrap().split_once('/').unwrap();
        Ipv4Addr::from_bits(first.parse::<Ipv4Addr>().unwrap().to_bits() + 1)
    }
}

/// A shim in a container, and the egress it is behind. Both end with it.
struct World {
    plane: Plane,
    name: String,
    engine: Engine,
    _egress: Child,
}

impl Drop for World {
    fn drop(&mut self) {
        let mut remove = self.engine.docker(&["rm", "--force", &self.name]);
        remove.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
    }
}

impl World {
    async fn start(test: &str) -> Self {
        let engine = Engine::find();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let control = format!("ws://{}/v1/shim", listener.local_addr().unwrap());
        // The build of everything puts the two programs side by side.
        let program = Path::new(env!("CARGO_BIN_EXE_shim")).with_file_name("egress");
        let mut child = Command::new(program)
            .env_clear()
            .env("REEVE_LISTEN", format!("{}:0", engine.bridge()))
            .env("REEVE_CONTROL", control)
            .env("REEVE_SCRIPTED", "1")
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stdout.take().unwrap()).lines();
        let egress = loop {
            let line = log.next_line().await.unwrap().expect("egress is ready");
            let line: Value = serde_json::from_str(&line).unwrap();
            if let Some(address) = line["fields"]["listen"].as_str() {
                break address.to_owned();
            }
        };
        // What it logs from here on is read by nobody, and is to be no reason to stand still.
        #[expect(clippy::disallowed_methods, reason = "reads for as long as the process logs")]
        tokio::spawn(async move { while let Ok(Some(_)) = log.next_line().await {} });
        let name = format!("reeve-test-{test}-{}", std::process::id());
        let run = engine.docker(&[
            "run",
            "--name",
            &name,
            "--rm",
            "--read-only",
            "--cap-drop=ALL",
            "--security-opt=no-new-privileges",
            "--env=REEVE_BOOT",
            IMAGE,
        ]);
        let contained = Contained { listener, egress, run: run.into() };
        let plane = Plane::with(Setup { contained: Some(contained), ..Setup::default() }).await;
        Self { plane, name, engine, _egress: child }
    }

    /// What a shell in the agent's place says.
    async fn shell(&mut self, run: u128, command: &str) -> String {
        self.plane.command(prompt(1, run, &format!("!shell {command}"))).await;
        self.plane.completed(1, run).await;
        self.plane.said(1, run)
    }
}

#[tokio::test]
async fn a_turn_in_a_container() {
    let mut world = World::start("turn").await;
    world.plane.command(prompt(1, 1, "one two")).await;
    world.plane.completed(1, 1).await;
    assert_eq!(world.plane.said(1, 1), "one two");
    // Longer than a message of the managed WebSocket, in parts of less.
    let long = "ß€𝄞 ".repeat(20_000);
    world.plane.send(&Down::Commands(vec![prompt(1, 2, &long)])).await;
    world.plane.completed(1, 2).await;
    assert_eq!(world.plane.said(1, 2), long);
    // A lost connection is dialled again, through egress, and nothing is lost.
    world.plane.socket = None;
    world.plane.accept().await;
    world.plane.command(prompt(1, 3, "again")).await;
    world.plane.completed(1, 3).await;
    assert_eq!(world.plane.said(1, 3), "again");
}

#[tokio::test]
async fn a_container_holds_nothing_and_lets_nothing_out_but_to_egress() {
    let mut world = World::start("holds").await;
    assert_eq!(world.shell(1, "id -u; id -g; pwd").await, "10001\n10001\n/workspace\n");
    let written = "for d in / /etc /usr/local/bin /workspace /home/agent /tmp /journal; do \
                   touch $d/x 2>/dev/null && echo $d; done";
    let all = "/workspace\n/home/agent\n/tmp\n/journal\n";
    assert_eq!(world.shell(2, written).await, all);
    let capabilities = "grep -E '^(Cap(Inh|Prm|Eff|Bnd|Amb)|NoNewPrivs)' /proc/self/status \
                        | tr -s '\\t' ' ' | cut -d ' ' -f 2";
    let none = "0000000000000000\n".repeat(5);
    assert_eq!(world.shell(3, capabilities).await, format!("{none}1\n"));
    // The shim is the container's first process, and the agent of the same uid.
    let look = "for secret in environ mem maps auxv; do head -c 1 /proc/1/$secret >/dev/null 2>&1 \
                && echo $secret; done; ls /proc/1/fd/ >/dev/null 2>&1 && echo fd; \
                tr '\\0' ' ' </proc/1/cmdline; grep -o '^Uid:.10001' /proc/1/status | tr '\\t' ' '; \
                env | grep -c REEVE_BOOT";
    let looked = "/usr/local/bin/shim --boot-env Uid: 10001\n0\n";
    assert_eq!(world.shell(4, look).await, looked);
}

/// The agent as `infra/aws/images/README.md` has it.
fn opencode() -> AgentPlan {
    let readme = include_str!("../../../infra/aws/images/README.md");
    let (_, behind) = readme.split_once("```json\n").expect("the README has an agent");
    let (agent, _) = behind.split_once("```").expect("it ends");
    let agent: Value = serde_json::from_str(agent).unwrap();
    AgentPlan {
        command: serde_json::from_value(agent["command"].clone()).unwrap(),
        env: serde_json::from_value(agent["env"].clone()).unwrap(),
        ..echo()
    }
}

#[tokio::test]
async fn opencode_works_with_its_tools_on_a_model_behind_egress() {
    let mut world = World::start("opencode").await;
    let made = "mkdir src && printf '# Thing\\n\\nA thing of use.\\n' >README.md && \
                printf 'fn main() {}\\n' >src/main.rs && git init -q && git add . && \
                git -c user.name=a -c user.email=a@b.c commit -q -m 'Begin the thing' && echo made";
    assert_eq!(world.shell(1, made).await, "made\n");
    world.plane.command(prompt_to(opencode(), 2, 2, "Explore /workspace")).await;
    let ended = world.plane.completed(2, 2).await;
    assert_eq!(ended.stop_reason.as_deref(), Some("end_turn"));
    let calls = world.plane.updates(2, 2, "tool_call");
    let titles: Vec<_> = calls.iter().map(|call| call["title"].clone()).collect();
    assert!(calls.len() > 2, "{titles:?}");
    assert!(titles.contains(&json!("bash")), "{titles:?}");
    let said = world.plane.said(2, 2);
    assert!(said.contains("Begin the thing"), "what git said came to the model: {said}");
    let report = world.shell(3, "cat report.md").await;
    assert!(report.contains("Begin the thing"), "{report}");
}
