//! Snapshots, diffs and rollback, of a workspace whose directory is here.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use tests::given::at_last;
use tests::http::Client;
use tests::reeve::{Options, Reeve};

use super::{changed, get, paths, raw, workspace};

async fn history(client: &Client, agent: &str) -> Vec<Value> {
    client.all(&format!("/v1/agents/{agent}/snapshots?order=asc&limit=2")).await
}

async fn snapshot(client: &Client, agent: &str) -> Value {
    client.post(&format!("/v1/agents/{agent}/snapshots"), Value::Null).await.is(201)
}

fn id(snapshot: &Value) -> &str {
    snapshot["id"].as_str().expect("an id")
}

/// Every file below a directory.
fn files(directory: &Path) -> usize {
    let Ok(entries) = fs::read_dir(directory) else { return 0 };
    entries
        .map(|entry| entry.unwrap().path())
        .map(|path| if path.is_dir() { files(&path) } else { 1 })
        .sum()
}

#[tokio::test]
async fn each_run_that_changes_something_has_a_snapshot() {
    let reeve = Reeve::start(Options::default()).await;
    let client = reeve.client();
    let agent = client.agent().await;
    let session = client.session(&agent).await;
    let first = client
        .prompt(&session, "!write notes.txt one\n!shell mkdir -p src && echo a > src/a")
        .await;
    // One after the other, as fast as it goes: what each has left is looked at before its end is told.
    client.prompt(&session, "!say nothing").await;
    let second = client.prompt(&session, "!write notes.txt two\n!shell mv src/a src/b").await;
    client.ended(&first).await;
    assert_eq!(history(&client, &agent).await[0]["runId"], *first, "who knows of its end finds it");
    client.ended(&second).await;

    let history = history(&client, &agent).await;
    assert_eq!(history.len(), 2, "{history:#?}");
    assert_eq!((&history[0]["runId"], &history[0]["cause"]), (&json!(first), &json!("run")));
    assert_eq!((changed(&history[0]), &history[0]["files"]), ([2, 0, 0, 0], &json!(2)));
    assert_eq!(
        (&history[1]["runId"], &history[1]["parentId"]),
        (&json!(second), &history[0]["id"])
    );
    assert_eq!(changed(&history[1]), [0, 1, 0, 1]);
    let path = format!("/v1/agents/{agent}/snapshots/{}", id(&history[1]));
    assert_eq!(client.get(&path).await.is(200), history[1]);

    let diff = client.get(&format!("{path}/diff")).await.is(200);
    let expected = "--- a/notes.txt\n+++ b/notes.txt\n@@ -1 +1 @@\n-one\n\\ No newline at end of file\n+two\n\\ No newline at end of file\n";
    assert_eq!(diff["files"][0]["patch"], expected);
    assert_eq!(
        (&diff["files"][0]["additions"], &diff["files"][0]["deletions"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(
        (&diff["files"][1]["status"], &diff["files"][1]["fromPath"], &diff["files"][1]["path"]),
        (&json!("renamed"), &json!("src/a"), &json!("src/b"))
    );
    assert_eq!((&diff["from"], &diff["to"]), (&history[0]["id"], &history[1]["id"]));
}

#[tokio::test]
async fn a_rollback_adds_to_the_history_and_loses_nothing() {
    let reeve = Reeve::start(Options::default()).await;
    let client = reeve.client();
    let agent = client.agent().await;
    client.put_file(&agent, "a", b"one").await;
    client.put_file(&agent, "dir/b", b"b").await;
    client.put_file(&agent, "large", &vec![9; 9_000_000]).await;
    std::os::unix::fs::symlink("a", workspace(&reeve, &agent).join("link")).unwrap();
    let first = snapshot(&client, &agent).await;
    assert_eq!((changed(&first), &first["cause"]), ([4, 0, 0, 0], &json!("asked")));
    assert_eq!(id(&snapshot(&client, &agent).await), id(&first), "nothing has changed");

    // A file becomes a directory, a directory a file, one is new, one is gone.
    client.delete(&raw(&agent, "a")).await.is(204);
    client.put_file(&agent, "a/inside", b"x").await;
    client.delete(&raw(&agent, "dir")).await.is(204);
    client.put_file(&agent, "dir", b"a file").await;
    client.put_file(&agent, "new", b"new").await;
    client.delete(&raw(&agent, "large")).await.is(204);
    let now = format!("/v1/agents/{agent}/snapshots/{}/diff?against=now", id(&first));
    let now = client.get(&now).await.is(200);
    assert_eq!((changed(&now), &now["to"]), ([3, 0, 3, 0], &Value::Null));

    let back = format!("/v1/agents/{agent}/snapshots/{}/rollback", id(&first));
    let rolled = client.post(&back, Value::Null).await.is(201);
    assert_eq!(rolled["cause"], "rollback");
    assert_eq!(paths(&client, &agent).await, ["a", "dir", "dir/b", "large", "link"]);
    assert_eq!(get(&client, &agent, "a", &[]).await.raw, b"one");
    assert!(get(&client, &agent, "large", &[]).await.raw == vec![9; 9_000_000]);
    assert_eq!(fs::read_link(workspace(&reeve, &agent).join("link")).unwrap(), Path::new("a"));
    let all = history(&client, &agent).await;
    let causes: Vec<_> = all.iter().map(|one| one["cause"].as_str().unwrap()).collect();
    assert_eq!(causes, ["asked", "before_rollback", "rollback"]);
    assert_eq!(id(&snapshot(&client, &agent).await), id(&rolled), "it is what it was made");

    // What was there before the rollback is there again.
    let back = format!("/v1/agents/{agent}/snapshots/{}/rollback", id(&all[1]));
    client.post(&back, Value::Null).await.is(201);
    assert_eq!(paths(&client, &agent).await, ["a", "a/inside", "dir", "link", "new"]);

    // What has lost everything gets it back.
    fs::remove_dir_all(workspace(&reeve, &agent)).unwrap();
    let back = format!("/v1/agents/{agent}/snapshots/{}/rollback", id(&first));
    client.post(&back, Value::Null).await.is(201);
    assert_eq!(paths(&client, &agent).await, ["a", "dir", "dir/b", "large", "link"]);

    let session = client.session(&agent).await;
    let run = client.prompt(&session, "!read a\n!wait").await;
    client.reaches(&run, "streaming").await;
    assert_eq!(client.post(&back, Value::Null).await.is(409)["code"], "agent_busy");
    client.post(&format!("/v1/runs/{run}/cancel"), Value::Null).await;
    client.ended(&run).await;
    assert_eq!(client.ask(&session, "!read a").await, "one", "the agent has its files");
    let other = reeve.realm().await;
    assert_eq!(other.post(&back, Value::Null).await.is(404)["code"], "not_found");
}

#[tokio::test]
async fn ten_changed_files_cost_a_pack_and_a_manifest() {
    let reeve = Reeve::start(Options::default()).await;
    let client = reeve.client();
    let agent = client.agent().await;
    client.put_file(&agent, "0/0", b"x").await;
    let directory = workspace(&reeve, &agent);
    for n in 0..1000 {
        let path = directory.join(format!("{}/{n}", n % 10));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, format!("file {n}")).unwrap();
    }
    let first = snapshot(&client, &agent).await;
    assert_eq!(first["files"], 1000);
    let blobs = reeve.data().join("blobs");
    let before = files(&blobs);
    assert!(before <= 3, "{before} blobs for small files");
    for n in 0..10 {
        fs::write(directory.join(format!("{n}/{n}")), format!("changed {n}")).unwrap();
    }
    let second = snapshot(&client, &agent).await;
    assert_eq!(changed(&second), [0, 10, 0, 0]);
    assert_eq!(files(&blobs), before + 2);
    // The same bytes are there already.
    fs::copy(directory.join("5/5"), directory.join("5/copy")).unwrap();
    assert_eq!(changed(&snapshot(&client, &agent).await), [1, 0, 0, 0]);
    assert_eq!(files(&blobs), before + 3);

    client.delete(&format!("/v1/agents/{agent}")).await.is(204);
    at_last("nothing of it is left", async || files(&blobs) == 0).await;
    at_last("no row is left", async || {
        let rows = crate::stored::mentions(&reeve, "snp_");
        rows.is_empty()
    })
    .await;
}

#[tokio::test]
async fn killed_in_the_middle_a_history_is_whole() {
    for step in ["snapshot.create:before", "snapshot.create:after", "snapshot.rollback:before"] {
        let mut reeve =
            Reeve::start(Options::default().env("FAILPOINTS", format!("{step}=return"))).await;
        let agent = reeve.client().agent().await;
        reeve.client().put_file(&agent, "a", b"one").await;
        let path = format!("/v1/agents/{agent}/snapshots");
        if step.starts_with("snapshot.rollback") {
            let first = snapshot(&reeve.client(), &agent).await;
            reeve.client().put_file(&agent, "a", b"two").await;
            let back = format!("{path}/{}/rollback", id(&first));
            reeve.client().post_once(&back, "once", Value::Null).await.unwrap_err();
        } else {
            reeve.client().post_once(&path, "once", Value::Null).await.unwrap_err();
        }
        reeve.ended().await;
        reeve.restart(Options::default()).await;
        let client = reeve.client();
        let before = history(&client, &agent).await;
        let after = snapshot(&client, &agent).await;
        let all = history(&client, &agent).await;
        assert!(all.len() == before.len() || all.len() == before.len() + 1, "{step}: {all:#?}");
        for (one, next) in all.iter().zip(&all[1..]) {
            assert_eq!(one["id"], next["parentId"], "{step}");
        }
        assert_eq!(all.last(), Some(&after), "{step}");
        for one in &all {
            client.get(&format!("{path}/{}/diff", id(one))).await.is(200);
        }
        client.post(&format!("{path}/{}/rollback", id(&all[0])), Value::Null).await.is(201);
        assert_eq!(get(&client, &agent, "a", &[]).await.raw, b"one", "{step}");
    }
}
