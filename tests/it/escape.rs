//! What an agent tries that must not work: each attempt is a shell in the agent's place, in a real
//! `reeve`, as whoever runs the tests and as an ordinary user if that is root.
//!
//! An attempt says what it got at, and `tried` at its end. One that says only that has got nowhere,
//! and the next prompt shows that the agent's machine is well.

mod attempts;
mod bombs;

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tests::http::Client;
use tests::reeve::{Options, Reeve};

/// A directive that runs a script of any form.
fn shell(script: &str) -> String {
    format!("!shell echo {} | base64 -d | bash", STANDARD.encode(script))
}

/// An agent in a sandbox.
struct World {
    reeve: Reeve,
    client: Client,
    session: String,
}

impl World {
    async fn open(options: Options) -> Self {
        let reeve = Reeve::start(options).await;
        let client = reeve.realm().await;
        let session = client.conversation().await;
        Self { reeve, client, session }
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

/// Everything above once more as `nobody`, if this is root.
#[tokio::test]
async fn all_of_it_holds_for_an_ordinary_user() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let output = tokio::process::Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(std::env::current_exe().unwrap())
        .args(["escape::", "--test-threads=2"])
        .current_dir("/")
        .output();
    let output = tokio::time::timeout(Duration::from_secs(170), output).await.unwrap().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("attempts::the_shim_cannot_be_seen ... ok"), "{said}");
}
