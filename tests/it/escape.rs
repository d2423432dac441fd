//! What an agent tries that must not work: each attempt is a shell in the agent's place, in a real
//! `reeve`, once in a sandbox and once in a container of a Docker engine. Those in a sandbox also as an
//! ordinary user, if whoever runs the tests is root.
//!
//! An attempt says what it got at, and `tried` at its end. One that says only that has got nowhere,
//! and the next prompt shows that the agent's machine is well.

mod attempts;
mod bombs;
mod neighbours;
mod report;

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tests::http::Client;
use tests::reeve::{Options, Reeve};

use crate::ecs::image_on;

/// A directive that runs a script of any form.
fn shell(script: &str) -> String {
    format!("!shell echo {} | base64 -d | bash", STANDARD.encode(script))
}

/// Where the agents run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Home {
    Sandbox,
    Docker,
}

impl Home {
    fn is_sandbox(self) -> bool {
        self == Self::Sandbox
    }

    /// Of a sandbox `text`, which says nothing of a container of an engine.
    fn of_sandbox(self, text: &str) -> &str {
        if self.is_sandbox() { text } else { "" }
    }

    /// `options`, and where agents run.
    fn choose(self, options: Options) -> Options {
        match self {
            Self::Sandbox => options,
            Self::Docker => options
                .arg("--compute")
                .arg("docker")
                .arg("--image")
                .arg(image_on("reeve-agents:test")),
        }
    }
}

/// An agent, and where it is.
struct World {
    reeve: Reeve,
    client: Client,
    agent: String,
    session: String,
    home: Home,
}

impl World {
    async fn open(home: Home, options: Options) -> Self {
        let reeve = Reeve::start(home.choose(options)).await;
        let client = reeve.realm().await;
        let agent = client.agent().await;
        let session = client.session(&agent).await;
        Self { reeve, client, agent, session, home }
    }

    /// What a script says in the agent's place.
    async fn run(&self, script: &str) -> String {
        self.client.ask(&self.session, &shell(script)).await
    }

    /// What came of an attempt, and whether all is well behind it.
    async fn attempt(&mut self, script: &str) {
        let said = self.run(&format!("exec 2>/dev/null\n{script}\necho tried")).await;
        assert_eq!(said, "tried\n", "the attempt got at something");
        assert_eq!(self.client.ask(&self.session, "!say well").await, "well");
        self.reeve.stop().await;
    }
}

/// Everything in a sandbox once more as `nobody`, if this is root.
#[tokio::test]
async fn all_of_it_holds_for_an_ordinary_user() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let output = tokio::process::Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(std::env::current_exe().unwrap())
        .args(["escape::", "--skip=::docker::", "--test-threads=2"])
        .current_dir("/")
        .output();
    let output = tokio::time::timeout(Duration::from_secs(170), output).await.unwrap().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("attempts::sandbox::the_shim_cannot_be_looked_into ... ok"), "{said}");
}
