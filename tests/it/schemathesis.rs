//! A stranger reads the OpenAPI document and tries everything in it, and much that is not.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};
use tests::reeve::{Options, Reeve, tools};
use tokio::process::Command;

/// Nothing is answered that is not in the document, nothing with a 5xx; what the document allows is
/// accepted, what it does not allow is refused, and who shows no key gets nothing.
#[tokio::test]
async fn whole_document() {
    let schemathesis = tools().join("venv/bin/schemathesis");
    assert!(schemathesis.exists(), "{}: run ./tests/run once", schemathesis.display());
    let mut reeve = Reeve::start(Options::default()).await;
    let own = tempfile::tempdir().unwrap();
    let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemathesis");
    let done = Command::new(schemathesis)
        .arg("--config-file")
        .arg(ours.join("config.toml"))
        .args(["run", "--no-color", "--checks", "all"])
        .args(["--phases", "examples,coverage,fuzzing,stateful", "--request-timeout", "10"])
        .arg("--header")
        .arg(format!("Authorization: Bearer {}", reeve.key))
        .arg(format!("{}/v1/openapi.json", reeve.url))
        .env("SCHEMATHESIS_HOOKS", "hooks")
        .env("REEVE_THINGS", things(&reeve).await.to_string())
        .env("PYTHONPATH", ours)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .current_dir(own.path())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&done.stdout);
    let errors = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{said}\n{errors}");
    // The stranger neither revoked the key nor closed the realm: so all of that reached the routes.
    reeve.client().get("/v1/me").await.is(200);
    reeve.stop().await;
}

/// What exists, to be named and broken: ids by their prefix.
async fn things(reeve: &Reeve) -> Value {
    let client = reeve.client();
    let mut things = BTreeMap::<_, Vec<_>>::new();
    for _ in 0..6 {
        let session = client.conversation().await;
        let agent = client.get(&format!("/v1/sessions/{session}")).await.text("/agentId");
        let run = client.prompt(&session, "hello").await;
        let template = json!({ "name": "echo", "driver": "acp" });
        let template = client.made("/v1/templates", template).await;
        for id in [session, agent, run, template] {
            things.entry(id[..4].to_owned()).or_default().push(id);
        }
    }
    json!(things)
}
