//! A file of settings: at the start, and again while everything runs.

use std::fs;
use std::path::Path;

use rustix::process::{Signal, kill_process};
use serde_json::json;
use tests::given::at_last;
use tests::http::{Client, connector};
use tests::models::Models;
use tests::reeve::{Options, Reeve};

const KEY: &str = "sk-0123456789abcdef-in-a-file";

fn with(file: &Path) -> Options {
    Options::default().arg("--config").arg(file)
}

fn settings(models: &Models, more: &str) -> String {
    let url = &models.url;
    format!(
        "{more}\n[models.openai]\napi_key_file = \"key\"\nbase_url = \"{url}\"\nmodel = \"m\"\n"
    )
}

/// Has the file read again, and waits until it was `taken` or `refused` as often as `times`.
async fn again(reeve: &Reeve, outcome: &str, times: u32) {
    kill_process(reeve.pid(), Signal::HUP).unwrap();
    let line = format!("config_reloads_total{{outcome=\"{outcome}\"}} {times}");
    at_last(&line, async || {
        let figures = connector().get(format!("{}/metrics", reeve.url)).send().await.unwrap();
        figures.text().await.unwrap().lines().any(|told| told == line)
    })
    .await;
}

async fn asked(client: &Client, agent: &str) -> String {
    client.ask(&client.session(agent).await, "please say it back").await
}

#[tokio::test]
async fn models_change_while_it_runs_and_what_cannot_be_taken_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("reeve.toml");
    fs::write(dir.path().join("key"), format!("{KEY}\n")).unwrap();
    let models = Models::start().await;
    fs::write(&file, settings(&models, "log = \"info\"")).unwrap();
    let mut reeve = Reeve::start(with(&file)).await;
    let client = reeve.realm().await;
    let agent = client.agent_with(json!({ "driver": "vanilla" })).await;
    let first = asked(&client, &agent).await;
    assert!(first.contains("say it back"), "{first}");

    // Whoever was there is gone: without another place nobody would answer.
    drop(models);
    let models = Models::start().await;
    fs::write(&file, settings(&models, "log = \"debug\"")).unwrap();
    again(&reeve, "taken", 1).await;
    assert_eq!(asked(&client, &agent).await, first);
    assert!(reeve.log().contains("\"level\":\"DEBUG\""), "the log listens to it, too");

    for (times, (text, why)) in (1..).zip([
        (format!("[models.openai]\napi_key = [\"{KEY}\"]"), "line 2"),
        (format!("[models.openai]\napi-key = \"{KEY}\""), "unknown field"),
        (settings(&models, "log = \"=,=\""), "is no filter"),
        (settings(&models, "limits.memory = \"2 barrels\""), "is no limit"),
        (settings(&models, "limits.memory = \"2G\""), "limits take a restart"),
        (settings(&models, "repositories.it = \"/tmp\""), "repositories take a restart"),
        (settings(&models, "").replace("\"key\"", "\"no-such-key\""), "No such file"),
        (settings(&models, "").replace("http://", "gopher://"), "the models of the file"),
    ]) {
        fs::write(&file, text).unwrap();
        again(&reeve, "refused", times).await;
        assert!(reeve.log().contains(why), "{why}: {}", reeve.log());
        assert_eq!(asked(&client, &agent).await, first, "after {why}");
    }
    fs::remove_file(&file).unwrap();
    again(&reeve, "refused", 9).await;
    assert_eq!(asked(&client, &agent).await, first);
    assert!(!reeve.log().contains(KEY), "no credential is logged");
    reeve.stop().await;
}

#[tokio::test]
async fn limits_and_repositories_of_the_file_count_behind_the_command_line() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("reeve.toml");
    fs::write(dir.path().join("read.me"), "from the file").unwrap();
    let path = dir.path().display();
    fs::write(
        &file,
        format!("[limits]\nfiles = 99\nprocesses = 77\n[repositories]\nit = \"{path}\""),
    )
    .unwrap();
    let options = with(&file).arg("--limit").arg("files=88");
    let mut reeve = Reeve::start(options).await;
    let client = reeve.realm().await;
    let agent = client.agent_with(json!({ "repositories": ["it"] })).await;
    let script = "!shell ulimit -n; cat /repositories/it/read.me";
    let said = client.ask(&client.session(&agent).await, script).await;
    assert_eq!(said, "88\nfrom the file");
    reeve.stop().await;
}

#[tokio::test]
async fn a_file_that_says_nothing_usable_is_no_start() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("reeve.toml");
    for (text, why) in [
        ("modles = 1", "reeve.toml: line 1: unknown field `modles`"),
        ("\n[limits]\nmemory = 0", "limits.memory is no limit, or has no such value"),
        ("[repositories]\n\"a/b\" = \"/tmp\"", "repositories.a/b is not a name"),
    ] {
        fs::write(&file, text).unwrap();
        let told = Reeve::new().try_restart(with(&file)).await.unwrap_err();
        assert!(told.contains(why), "{told}");
    }
    fs::remove_file(&file).unwrap();
    let told = Reeve::new().try_restart(with(&file)).await.unwrap_err();
    assert!(told.contains("No such file"), "{told}");
}
