//! Workspaces of agents that mean harm: nothing leads out of them, and nothing holds anybody up.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use reqwest::Method;
use rustix::fs::{CWD, Mode, RenameFlags, renameat_with};
use serde_json::{Value, json};
use tests::http::Client;
use tests::reeve::{Options, Reeve};

use super::{get, paths, raw, workspace};

/// What nobody is to see.
const SECRET: &str = "what lies outside";

/// An agent whose workspace is full of traps, and a directory outside that they lead to.
async fn trapped(reeve: &Reeve, client: &Client) -> (String, tempfile::TempDir) {
    let agent = client.agent().await;
    client.put_file(&agent, "plain", b"plain").await;
    let (here, outside) = (workspace(reeve, &agent), tempfile::tempdir().unwrap());
    fs::write(outside.path().join("secret"), SECRET).unwrap();
    symlink(outside.path().join("secret"), here.join("link")).unwrap();
    symlink(outside.path(), here.join("directory")).unwrap();
    symlink("../../..", here.join("up")).unwrap();
    symlink("loop", here.join("loop")).unwrap();
    rustix::fs::mkfifoat(CWD, here.join("pipe"), Mode::from_raw_mode(0o666)).unwrap();
    drop(UnixListener::bind(here.join("socket")).unwrap());
    File::create(here.join("sparse")).unwrap().set_len(10 << 30).unwrap();
    fs::write(here.join("line\nbreak"), "x").unwrap();
    fs::write(here.join(OsStr::from_bytes(b"not \xff utf-8")), "x").unwrap();
    fs::write(here.join("locked"), "x").unwrap();
    fs::set_permissions(here.join("locked"), fs::Permissions::from_mode(0o0)).unwrap();
    let mut deep = here.clone();
    for _ in 0..150 {
        deep = deep.join("deeper");
        fs::create_dir(&deep).unwrap();
    }
    (agent, outside)
}

#[tokio::test]
async fn nothing_leads_out_and_nothing_holds_up() {
    let reeve = Reeve::start(Options::default()).await;
    let client = reeve.client();
    let (agent, outside) = trapped(&reeve, &client).await;
    let there = paths(&client, &agent).await;
    for path in
        ["link", "directory", "up", "loop", "sparse", "line\nbreak", "plain", "deeper/deeper"]
    {
        assert!(there.contains(&path.to_owned()), "{path}");
    }
    for path in ["pipe", "socket"] {
        assert!(!there.contains(&path.to_owned()), "{path}");
    }
    assert!(!there.iter().any(|path| path.starts_with("directory/") || path.starts_with("up/")));
    for path in ["link", "pipe", "socket", "loop", "directory", "directory/secret", "up/home"] {
        let reply = get(&client, &agent, path, &[]).await;
        assert!([404, 409].contains(&reply.status), "{path}: {:#}", reply.body);
    }
    for path in ["directory/new", "directory/secret", "up/new", "loop/new", "plain/new"] {
        let put = client.send(client.request(Method::PUT, &raw(&agent, path)).body("x")).await;
        assert_eq!(put.is(409)["code"], "in_the_way", "{path}");
        assert_eq!(client.delete(&raw(&agent, path)).await.is(404)["code"], "not_found", "{path}");
    }
    // Of ten gigabytes that are not there, a part is as good as any.
    let part = get(&client, &agent, "sparse", &[("range", "bytes=10000000000-10000000003")]).await;
    assert_eq!((part.status, part.raw.as_slice()), (206, [0; 4].as_slice()));
    let zip = client.get(&format!("/v1/agents/{agent}/files/archive")).await;
    assert_eq!(zip.is(413)["code"], "transfer_too_large");

    let made = client.post(&format!("/v1/agents/{agent}/snapshots"), Value::Null).await.is(201);
    assert_eq!(
        made["leftOut"].as_u64().map(|count| (4..=5).contains(&count)),
        Some(true),
        "{made:#}"
    );
    let diff = format!("/v1/agents/{agent}/snapshots/{}/diff", made["id"].as_str().unwrap());
    let diff = client.get(&diff).await.is(200);
    assert!(!diff.to_string().contains(SECRET));
    let left: Vec<_> = diff["leftOut"].as_array().unwrap().iter().map(|one| &one["path"]).collect();
    for path in ["pipe", "socket", "sparse"] {
        assert!(left.contains(&&json!(path)), "{path} in {left:?}");
    }
    // A link is replaced and removed, never what it leads to.
    client.put_file(&agent, "link", b"mine").await;
    client.delete(&raw(&agent, "directory")).await.is(204);
    client.delete(&raw(&agent, "sparse")).await.is(204);
    client.delete(&raw(&agent, "deeper")).await.is(204);
    assert_eq!(fs::read_to_string(outside.path().join("secret")).unwrap(), SECRET);
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
    let zip = client.get(&format!("/v1/agents/{agent}/files/archive")).await;
    assert_eq!(zip.status, 200);
    let mut zip = zip::ZipArchive::new(std::io::Cursor::new(zip.raw)).unwrap();
    let mut text = String::new();
    std::io::Read::read_to_string(&mut zip.by_name("link").unwrap(), &mut text).unwrap();
    assert_eq!(text, "mine");
}

/// Puts a link in the place of a directory and back, as fast as it goes, until it is told to stop.
fn flicker(workspace: &Path, outside: &Path, stop: &AtomicBool) -> u32 {
    let (real, trap) = (workspace.join("dir"), workspace.join("trap"));
    symlink(outside, &trap).unwrap();
    let swap = || renameat_with(CWD, &real, CWD, &trap, RenameFlags::EXCHANGE).unwrap();
    let mut turns = 0;
    while !stop.load(Ordering::Relaxed) {
        swap();
        swap();
        turns += 1;
    }
    turns
}

#[tokio::test]
async fn a_directory_that_becomes_a_link_meanwhile_leads_nowhere() {
    let reeve = Reeve::start(Options::default()).await;
    let client = reeve.client();
    let agent = client.agent().await;
    client.put_file(&agent, "dir/secret", b"inside").await;
    let (here, outside) = (workspace(&reeve, &agent), tempfile::tempdir().unwrap());
    for name in ["secret", "only-outside"] {
        fs::write(outside.path().join(name), SECRET).unwrap();
    }
    let stop = Arc::new(AtomicBool::new(false));
    let agent_s = std::thread::spawn({
        let (outside, stop) = (outside.path().to_owned(), Arc::clone(&stop));
        move || flicker(&here, &outside, &stop)
    });
    let mut seen = [0, 0];
    for n in 0..300 {
        let read = get(&client, &agent, "dir/secret", &[]).await;
        assert!([200, 404, 409].contains(&read.status), "{:#}", read.body);
        if read.status == 200 {
            assert_eq!(read.raw, b"inside");
            seen[0] += 1;
        } else {
            seen[1] += 1;
        }
        let path = raw(&agent, &format!("dir/new{}", n % 5));
        let put = client.send(client.request(Method::PUT, &path).body("x")).await;
        assert!([204, 409].contains(&put.status), "{:#}", put.body);
        let removed = client.delete(&path).await.status;
        assert!([204, 404].contains(&removed), "{removed}");
        if n % 50 == 0 {
            let listed = paths(&client, &agent).await;
            assert!(!listed.iter().any(|path| path.ends_with("only-outside")), "{listed:?}");
            let made = client.post(&format!("/v1/agents/{agent}/snapshots"), Value::Null).await;
            assert_eq!(made.status, 201, "{:#}", made.body);
        }
    }
    stop.store(true, Ordering::Relaxed);
    let turns = agent_s.join().unwrap();
    assert!(turns > 100 && seen[0] > 0, "{turns} turns, seen {seen:?}");
    assert_eq!(fs::read_to_string(outside.path().join("secret")).unwrap(), SECRET);
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 2, "nothing came out");
}
