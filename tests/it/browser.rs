//! The console in a real browser.

use std::path::Path;
use std::process::Stdio;

use tests::reeve::{Options, Reeve};
use tokio::process::Command;

/// Everything under `tests/browser`, against a reeve of its own.
#[tokio::test]
async fn console() {
    let browser = Path::new(env!("CARGO_MANIFEST_DIR")).join("browser");
    assert!(browser.join("node_modules").exists(), "no node_modules: run ./tests/run once");
    let mut reeve = Reeve::start(Options::default()).await;
    let shots = tempfile::tempdir().unwrap();
    let done = Command::new("node")
        .args(["--test", "--test-concurrency=1"])
        .env("REEVE_URL", &reeve.url)
        .env("REEVE_KEY", &reeve.key)
        .env("SHOTS", shots.path())
        .current_dir(browser)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&done.stdout);
    let errors = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{said}\n{errors}");
    reeve.stop().await;
}
