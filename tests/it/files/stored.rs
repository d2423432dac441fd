//! The same files where no directory is: a workspace is its latest snapshot, as in the cloud.

use serde_json::{Value, json};
use tests::sample;

use crate::in_process::InProcess;

#[tokio::test]
async fn every_change_is_a_snapshot_and_any_of_them_comes_back() {
    let reeve = InProcess::start().await;
    let ids = reeve.everything().await;
    let agent = format!("/v1/agents/{}", ids["agentId"]);
    let file = |path: &str| format!("{agent}/files/raw?path={path}");
    let text = json!("a text");
    let content = text.to_string();
    assert_eq!(reeve.send("put", &file("src/a"), Some(&text)).await.status, 204);
    assert_eq!(reeve.send("get", &file("src/a"), None).await.raw, content.as_bytes());
    assert_eq!(reeve.send("put", &file("src"), None).await.body["code"], "in_the_way");
    assert_eq!(reeve.send("put", &file("src/a/b"), None).await.body["code"], "in_the_way");
    assert_eq!(reeve.send("delete", &file("gone"), None).await.status, 404);
    let list = reeve.send("get", &format!("{agent}/files?prefix=s"), None).await.body;
    let paths: Vec<_> = list["items"].as_array().unwrap().iter().map(|one| &one["path"]).collect();
    assert_eq!(paths, ["src", "src/a"]);
    let history = reeve.send("get", &format!("{agent}/snapshots"), None).await.body;
    let latest = history["items"][0].clone();
    assert_eq!((&latest["cause"], &latest["changed"]["added"]), (&json!("edit"), &json!(1)));
    // Asking for one makes none: it is there.
    let asked = reeve.send("post", &format!("{agent}/snapshots"), None).await;
    assert_eq!((asked.status, &asked.body["id"]), (201, &latest["id"]));

    assert_eq!(reeve.send("delete", &file("src"), None).await.status, 204);
    assert_eq!(reeve.send("get", &file("src/a"), None).await.status, 404);
    let of_latest = format!("{agent}/snapshots/{}", latest["id"].as_str().unwrap());
    let now = reeve.send("get", &format!("{of_latest}/diff?against=now"), None).await.body;
    assert_eq!(
        (&now["files"][0]["status"], &now["files"][0]["path"]),
        (&json!("deleted"), &json!("src/a"))
    );
    let back = reeve.send("post", &format!("{of_latest}/rollback"), None).await;
    assert_eq!((back.status, &back.body["cause"]), (201, &json!("rollback")));
    assert_eq!(reeve.send("get", &file("src/a"), None).await.raw, content.as_bytes());

    // The first one is there as well.
    let first = format!("{agent}/snapshots/{}/diff", ids["snapshotId"]);
    let since = reeve.send("get", &first, None).await.body;
    assert_eq!(since["files"][0]["path"], sample::FILE);
    assert_eq!(since["from"], Value::Null);
}

#[tokio::test]
async fn while_a_container_has_the_workspace_nobody_else_changes_it() {
    let reeve = InProcess::start().await;
    let ids = reeve.everything().await;
    let agent = format!("/v1/agents/{}", ids["agentId"]);
    let file = format!("{agent}/files/raw?path={}", sample::FILE);
    reeve.run_container(&ids["sessionId"]).await;
    for (verb, path) in [
        ("put", file.clone()),
        ("delete", file.clone()),
        ("post", format!("{agent}/files/import")),
        ("post", format!("{agent}/snapshots")),
        ("post", format!("{agent}/snapshots/{}/rollback", ids["snapshotId"])),
    ] {
        let refused = reeve.send(verb, &path, None).await;
        assert_eq!(
            (refused.status, &refused.body["code"]),
            (409, &json!("agent_busy")),
            "{verb} {path}"
        );
    }
    // Reading goes on.
    assert_eq!(reeve.send("get", &file, None).await.status, 200);
}

#[tokio::test]
async fn a_reclaimed_agent_has_no_files_and_says_so() {
    let reeve = InProcess::start().await;
    let ids = reeve.everything().await;
    reeve.reclaim(&ids["agentId"]).await;
    // What is asked of a snapshot finds none.
    let of_snapshots = ["files.history", "files.show", "files.diff", "files.rollback"];
    let routes = routes::routes();
    let of_files = routes.iter().filter(|route| {
        let of_an_agent = route.id.starts_with("files.") && route.path.contains("{agentId}");
        of_an_agent && !of_snapshots.contains(&route.id)
    });
    let mut asked = 0;
    for route in of_files {
        let refused = reeve.call(route, &ids).await;
        let told = (refused.status, &refused.body["code"], refused.commits);
        assert_eq!(told, (410, &json!("agent_reclaimed"), 0), "{}", route.id);
        asked += 1;
    }
    assert_eq!(asked, 8);
}
