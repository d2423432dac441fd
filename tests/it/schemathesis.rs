//! A stranger reads the OpenAPI document and tries everything in it, and much that is not.

use std::process::Stdio;

use tests::reeve::{Options, Reeve, tools};
use tokio::process::Command;

/// Says the same every time, whoever runs it.
const SEED: &str = "1";

/// Nothing is answered that is not in the document, and nothing with a 5xx.
#[tokio::test]
async fn whole_document() {
    let schemathesis = tools().join("venv/bin/schemathesis");
    assert!(schemathesis.exists(), "{}: run ./tests/run once", schemathesis.display());
    let mut reeve = Reeve::start(Options::default()).await;
    let own = tempfile::tempdir().unwrap();
    let done = Command::new(schemathesis)
        .args(["run", "--no-color", "--checks", "all", "--phases"])
        .arg("examples,coverage,fuzzing,stateful")
        .args(["--seed", SEED, "--generation-deterministic", "--generation-database", "none"])
        .args(["--max-examples", "30", "--max-time", "100", "--request-timeout", "10"])
        .arg("--header")
        .arg(format!("Authorization: Bearer {}", reeve.key))
        .arg(format!("{}/v1/openapi.json", reeve.url))
        .current_dir(own.path())
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
