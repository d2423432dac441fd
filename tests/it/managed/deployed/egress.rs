//! The image of egress, started as its task definition starts it. In the emulated account itself egress
//! runs on the host: no container reaches an emulator on its loopback.

use std::process::Stdio;

use tests::http::PATIENCE;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use tokio::time::timeout;

/// As tests/aws/up builds it.
const IMAGE: &str = "reeve-egress:test";

/// A container of the engine that `DOCKER_HOST` names; gone when this is dropped.
struct Started(String);

impl Drop for Started {
    fn drop(&mut self) {
        let removed =
            std::process::Command::new("docker").args(["rm", "--force", &self.0]).output();
        assert!(removed.is_ok_and(|removed| removed.status.success()), "{} is left", self.0);
    }
}

async fn docker(arguments: &[&str]) -> String {
    let output = Command::new("docker").args(arguments).output().await.expect("docker is there");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {said}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned() + &said
}

/// The next that the engine tells of how a container is.
async fn told(started: &Started) -> String {
    let mut events = Command::new("docker")
        .args(["events", "--since", "10m", "--filter", "event=health_status"])
        .args(["--filter", "event=die", "--filter", &format!("container={}", started.0)])
        .args(["--format", "{{.Action}}"])
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("docker is there");
    let mut lines = BufReader::new(events.stdout.take().unwrap()).lines();
    let line = timeout(PATIENCE, lines.next_line()).await.expect("it is told in time").unwrap();
    line.expect("the engine tells of it")
}

#[tokio::test]
async fn the_image_of_egress_works_as_nobody_on_a_disk_that_takes_nothing() {
    let walls = ["--read-only", "--cap-drop", "ALL", "--user", "65532:65532", "--network", "none"];
    let told_of =
        ["--env", "REEVE_CONTROL=wss://control.invalid/v1", "--env", "REEVE_LISTEN=0.0.0.0:8080"];
    let run = ["run", "--detach", "--security-opt", "no-new-privileges"];
    let id = docker(&[&run[..], &walls[..], &told_of[..], &[IMAGE][..]].concat()).await;
    let started = Started(id);
    assert_eq!(told(&started).await, "health_status: healthy");
    let log = docker(&["logs", &started.0]).await;
    assert!(log.contains("\"ready\""), "{log}");
    // The command of the task definition's own check.
    docker(&["exec", &started.0, "/egress", "--check"]).await;
    let authorities = format!("{}:/etc/ssl/certs/ca-certificates.crt", started.0);
    let trusted = docker(&["cp", &authorities, "-"]).await;
    assert!(trusted.contains("BEGIN CERTIFICATE"), "somebody is trusted");
    docker(&["stop", "--time", "10", &started.0]).await;
    let ended = docker(&["inspect", "--format", "{{.State.ExitCode}}", &started.0]).await;
    assert_eq!(ended, "0", "it ends when it is told to");
}
