//! The files of an agent, as a caller has them: put, listed, read in part, taken along, brought in.

mod collect;
mod history;
mod hostile;
mod import;
mod rollback;
mod sent;
mod stored;
mod uploads;

use std::path::PathBuf;

use reqwest::Method;
use serde_json::{Value, json};
use tests::given::at_last;
use tests::http::{Client, Reply};
use tests::reeve::{Options, Reeve};

/// The directory that an agent works in.
fn workspace(reeve: &Reeve, agent: &str) -> PathBuf {
    reeve.data().join("agents").join(agent).join("workspace")
}

fn raw(agent: &str, path: &str) -> String {
    format!("/v1/agents/{agent}/files/raw?path={path}")
}

async fn get(client: &Client, agent: &str, path: &str, headers: &[(&str, &str)]) -> Reply {
    let request = client.request(Method::GET, &raw(agent, path));
    client
        .send(headers.iter().fold(request, |request, (name, value)| request.header(*name, *value)))
        .await
}

async fn paths(client: &Client, agent: &str) -> Vec<String> {
    let all = client.all(&format!("/v1/agents/{agent}/files?limit=1000")).await;
    all.iter().filter_map(|file| file["path"].as_str().map(str::to_owned)).collect()
}

async fn import(client: &Client, agent: &str, archive: Vec<u8>) -> Reply {
    let path = format!("/v1/agents/{agent}/files/import");
    client.send(client.request(Method::POST, &path).body(archive)).await
}

/// Enough files that to write them takes a while, and few enough to look at.
const FILES: usize = 40;

/// What says whether all that the agent sees is of one time: each line once.
const LOOK: &str = "!shell cat part* | sort -u";

/// An archive in which every file says so, each in a line of its own.
fn all_saying(text: &str) -> Vec<u8> {
    let line = format!("{text}\n");
    let mut archive = tar::Builder::new(Vec::new());
    for n in 0..FILES {
        let mut header = tar::Header::new_gnu();
        header.set_size(line.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, format!("part{n:02}"), line.as_bytes()).unwrap();
    }
    archive.into_inner().unwrap()
}

/// Makes every file say so.
async fn write_all(client: &Client, agent: &str, text: &str) {
    import(client, agent, all_saying(text)).await.is(200);
}

#[tokio::test]
async fn files_are_put_listed_and_removed() {
    let reeve = Reeve::start(Options::default()).await;
    let client = reeve.client();
    let agent = client.agent().await;
    assert_eq!(paths(&client, &agent).await, [""; 0]);
    client.put_file(&agent, "src/main.rs", b"fn main() {}").await;
    client.put_file(&agent, "src/a.b", b"").await;
    client.put_file(&agent, "src/a/b", b"1").await;
    client.put_file(&agent, "read%20me%0A%C3%A9", b"hello").await;
    let run = client.request(Method::PUT, &format!("{}&executable=true", raw(&agent, "run")));
    client.send(run.body("#!/bin/sh")).await.is(204);
    let all = ["read me\né", "run", "src", "src/a", "src/a/b", "src/a.b", "src/main.rs"];
    assert_eq!(paths(&client, &agent).await, all);
    // However the pages are cut.
    for limit in 1..5 {
        let files = client.all(&format!("/v1/agents/{agent}/files?limit={limit}")).await;
        let files: Vec<_> = files.iter().map(|file| file["path"].as_str().unwrap()).collect();
        assert_eq!(files, all, "{limit} at a time");
    }
    let some = client.all(&format!("/v1/agents/{agent}/files?prefix=src/a&limit=2")).await;
    let some: Vec<_> = some.iter().map(|file| file["path"].as_str().unwrap()).collect();
    assert_eq!(some, ["src/a", "src/a/b", "src/a.b"]);
    let one = client.get(&format!("/v1/agents/{agent}/files?prefix=run")).await.is(200);
    let (file, at) = (&one["items"][0], &one["items"][0]["modifiedAt"]);
    assert!(at.is_string(), "{file:#}");
    assert_eq!(
        *file,
        json!({ "path": "run", "kind": "file", "size": 9, "isDir": false, "executable": true,
            "modifiedAt": at, "target": null })
    );
    // What is put again is replaced; a directory is in the way, and a file has nothing in it.
    client.put_file(&agent, "run", b"2").await;
    assert_eq!(get(&client, &agent, "run", &[]).await.raw, b"2");
    for (path, code) in
        [("src", "in_the_way"), ("run/x", "in_the_way"), ("src/a.b/c/d", "in_the_way")]
    {
        let put = client.send(client.request(Method::PUT, &raw(&agent, path)).body("x")).await;
        assert_eq!(put.is(409)["code"], code, "{path}");
    }
    assert_eq!(get(&client, &agent, "src", &[]).await.is(409)["code"], "not_a_file");
    client.delete(&raw(&agent, "src")).await.is(204);
    assert_eq!(paths(&client, &agent).await, ["read me\né", "run"]);
    for path in ["src", "src/a/b", "run/x", "gone"] {
        assert_eq!(get(&client, &agent, path, &[]).await.is(404)["code"], "not_found", "{path}");
        assert_eq!(client.delete(&raw(&agent, path)).await.is(404)["code"], "not_found", "{path}");
    }
    for path in ["", "/etc/passwd", "..%2Fhome", "a%2F..%2Fb", "a%00b", "a//b", "."] {
        for method in [Method::GET, Method::PUT, Method::DELETE] {
            let refused = client.send(client.request(method, &raw(&agent, path))).await;
            assert_eq!(refused.is(400)["code"], "invalid_parameter", "{path}");
        }
    }
    // Nothing of it has woken anybody.
    assert_eq!(client.get(&format!("/v1/agents/{agent}")).await.is(200)["state"], "active");
    assert!(tests::reeve::mentioning(&workspace(&reeve, &agent)).is_empty());
}

#[tokio::test]
async fn a_file_is_read_in_parts() {
    let reeve = Reeve::start(Options::default()).await;
    let client = reeve.client();
    let agent = client.agent().await;
    let content: Vec<u8> = (0..3_000_000_u32).flat_map(u32::to_be_bytes).collect();
    client.put_file(&agent, "large", &content).await;
    let size = content.len();
    let whole = get(&client, &agent, "large", &[]).await;
    assert_eq!((whole.status, whole.headers["accept-ranges"].to_str().unwrap()), (200, "bytes"));
    assert_eq!(whole.headers["content-length"], size.to_string());
    assert_eq!(whole.headers["content-type"], "application/octet-stream");
    assert_eq!(whole.headers["content-disposition"], "attachment; filename*=UTF-8''large");
    assert!(whole.raw == content);
    for (range, from, to) in [
        ("bytes=0-0", 0, 1),
        ("bytes=300000-700000", 300_000, 700_001),
        ("bytes=11999990-", 11_999_990, size),
        ("bytes=-7", size - 7, size),
    ] {
        let part = get(&client, &agent, "large", &[("range", range)]).await;
        assert_eq!(part.status, 206, "{range}");
        let said = format!("bytes {from}-{}/{size}", to - 1);
        assert_eq!(part.headers["content-range"], said);
        assert!(part.raw == content[from..to], "{range}");
    }
    let behind = get(&client, &agent, "large", &[("range", "bytes=12000000-")]).await;
    assert_eq!(behind.headers["content-range"], format!("bytes */{size}"));
    assert_eq!(behind.is(416)["code"], "range_not_satisfiable");
    let several = get(&client, &agent, "large", &[("range", "bytes=0-1,4-5")]).await;
    assert_eq!((several.status, several.raw.len()), (200, size));

    // By the time it has settled, its tag is worth something.
    let tag = async || {
        let now = get(&client, &agent, "large", &[("range", "bytes=0-0")]).await;
        now.headers["etag"].to_str().unwrap().to_owned()
    };
    at_last("the file has settled", async || !tag().await.starts_with("W/")).await;
    let tag = tag().await;
    let first = ("range", "bytes=0-3");
    assert_eq!(get(&client, &agent, "large", &[("if-none-match", &tag)]).await.status, 304);
    assert_eq!(get(&client, &agent, "large", &[("if-range", &tag), first]).await.status, 206);
    client.put_file(&agent, "large", b"other").await;
    assert_eq!(get(&client, &agent, "large", &[("if-none-match", &tag)]).await.status, 200);
    let other = get(&client, &agent, "large", &[("if-range", &tag), first]).await;
    assert_eq!((other.status, other.raw.as_slice()), (200, b"other".as_slice()));
    client.put_file(&agent, "empty", b"").await;
    let empty = get(&client, &agent, "empty", &[("range", "bytes=0-")]).await;
    assert_eq!(empty.is(416)["code"], "range_not_satisfiable");
}

#[tokio::test]
async fn what_is_exported_is_imported_as_it_was() {
    let reeve = Reeve::start(Options::default()).await;
    let client = reeve.client();
    let (one, other) = (client.agent().await, client.agent().await);
    let deep = "d/".repeat(70) + "file";
    client.put_file(&one, "src/a.txt", b"one").await;
    client.put_file(&one, "src/in/b.txt", &vec![7; 70_000]).await;
    client.put_file(&one, "notes.md", b"no").await;
    client.put_file(&one, &deep, b"deep").await;
    let directory = workspace(&reeve, &one);
    std::os::unix::fs::symlink("a.txt", directory.join("src/inside")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", directory.join("src/outside")).unwrap();

    let export = |query: &str| format!("/v1/agents/{one}/files/export?{query}");
    let said = client.get(&export("paths=src,d&dry_run=true")).await.is(200);
    assert_eq!((&said["totalFiles"], &said["totalBytes"]), (&json!(4), &json!(70_007)));
    let unmatched = client.get(&export("paths=src/*.txt,gone/**,nothing")).await.is(422);
    assert_eq!(unmatched["code"], "unmatched_exports");
    assert!(unmatched["detail"].as_str().unwrap().ends_with("gone/**, nothing"), "{unmatched}");
    assert_eq!(client.get(&export("paths=%5B")).await.is(422)["code"], "invalid_value");

    let tar = client.get(&export("paths=src,d")).await;
    assert_eq!(
        (tar.status, &tar.headers["content-type"]),
        (200, &"application/x-tar".parse().unwrap())
    );
    let imported = import(&client, &other, tar.raw).await.is(200);
    assert_eq!(imported, json!({ "filesWritten": 4, "bytesWritten": 70_007 }));
    assert_eq!(get(&client, &other, "src/in/b.txt", &[]).await.raw, vec![7; 70_000]);
    assert_eq!(get(&client, &other, &deep, &[]).await.raw, b"deep");
    let there = paths(&client, &other).await;
    assert!(there.contains(&"src/inside".to_owned()) && !there.contains(&"src/outside".to_owned()));

    let zip = client.get(&format!("/v1/agents/{one}/files/archive")).await;
    assert_eq!(
        (zip.status, &zip.headers["content-type"]),
        (200, &"application/zip".parse().unwrap())
    );
    let mut zip = zip::ZipArchive::new(std::io::Cursor::new(zip.raw)).unwrap();
    let mut names: Vec<_> = zip.file_names().map(|name| name.unwrap().into_owned()).collect();
    names.retain(|name| !name.ends_with('/'));
    assert_eq!(names.len(), 4, "{names:?}");
    let mut text = String::new();
    std::io::Read::read_to_string(&mut zip.by_name("notes.md").unwrap(), &mut text).unwrap();
    assert_eq!(text, "no");
}

#[tokio::test]
async fn an_archive_is_refused_before_anything_of_it_is_there() {
    use tar::EntryType as Kind;

    let reeve = Reeve::start(Options::default()).await;
    let client = reeve.client();
    let agent = client.agent().await;
    let archive = |name: &str, kind: tar::EntryType, link: &str| {
        let mut builder = tar::Builder::new(Vec::new());
        let mut good = tar::Header::new_gnu();
        good.set_size(4);
        good.set_mode(0o644);
        builder.append_data(&mut good, "good", b"good".as_slice()).unwrap();
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(0);
        header.set_mode(0o644);
        let old = header.as_old_mut();
        old.name[..name.len()].copy_from_slice(name.as_bytes());
        old.linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_cksum();
        builder.append(&header, std::io::empty()).unwrap();
        builder.into_inner().unwrap()
    };
    for (name, kind, link) in [
        ("../../escape", Kind::Regular, ""),
        ("/tmp/escape", Kind::Regular, ""),
        ("a/../../escape", Kind::Regular, ""),
        ("link", Kind::Symlink, "/etc"),
        ("link", Kind::Symlink, "../.."),
        ("hard", Kind::Link, "/etc/passwd"),
        ("pipe", Kind::Fifo, ""),
        ("device", Kind::Char, ""),
        ("good/below", Kind::Regular, ""),
    ] {
        let reply = import(&client, &agent, archive(name, kind, link)).await;
        assert_eq!(reply.is(400)["code"], "invalid_archive", "{name}");
    }
    let mut bomb = archive("x", Kind::Regular, "");
    bomb.truncate(514);
    for not in [bomb, b"PK\x03\x04 a zip".to_vec(), vec![1; 100_000]] {
        assert_eq!(import(&client, &agent, not).await.is(400)["code"], "invalid_archive");
    }
    assert_eq!(paths(&client, &agent).await, [""; 0]);
    let good = archive("good2", Kind::Regular, "");
    assert_eq!(import(&client, &agent, good).await.is(200)["filesWritten"], 2);
    assert_eq!(paths(&client, &agent).await, ["good", "good2"]);
    // A size that is said and not there costs nothing.
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(Kind::Regular);
    header.set_size(1 << 40);
    header.as_old_mut().name[..4].copy_from_slice(b"huge");
    header.set_cksum();
    let huge = import(&client, &agent, header.as_bytes().to_vec()).await;
    assert_eq!(huge.is(400)["code"], "invalid_archive");
}

/// What a caller sees of a snapshot's changes.
fn changed(snapshot: &Value) -> [u64; 4] {
    ["added", "modified", "deleted", "renamed"]
        .map(|how| snapshot["changed"][how].as_u64().expect("a number"))
}

#[tokio::test]
async fn a_path_that_is_not_utf_8_is_none() {
    let reeve = Reeve::start(Options::default()).await;
    let client = reeve.client();
    let agent = client.agent().await;
    for path in ["%ff%fe", "%C3", "a%C3%28"] {
        let put = client.send(client.request(Method::PUT, &raw(&agent, path)).body("x")).await;
        assert_eq!(put.is(400)["code"], "invalid_parameter", "{path}");
    }
    assert_eq!(paths(&client, &agent).await, [""; 0]);
}

#[tokio::test]
async fn nothing_is_put_that_an_agent_may_not_have() {
    let limited = ["disk=1M", "inodes=100"];
    let limited = limited.iter().fold(Options::default(), |all, one| all.arg("--limit").arg(one));
    let reeve = Reeve::start(limited).await;
    let client = reeve.client();
    let agent = client.agent().await;
    let put = async |path: &str, bytes: usize| {
        let request = client.request(Method::PUT, &raw(&agent, path));
        client.send(request.body(vec![b'x'; bytes])).await
    };
    put("kept", 600_000).await.is(204);
    for bytes in [500_000, 2_000_000] {
        assert_eq!(put("more", bytes).await.is(413)["code"], "workspace_too_large");
    }
    // In place of what is there, it is no more than that.
    put("kept", 700_000).await.is(204);
    let mut archive = tar::Builder::new(Vec::new());
    for number in 0..120 {
        let mut header = tar::Header::new_ustar();
        header.set_size(0);
        header.set_mode(0o644);
        archive.append_data(&mut header, format!("f/{number}"), &b""[..]).unwrap();
    }
    let refused = import(&client, &agent, archive.into_inner().unwrap()).await;
    assert_eq!(refused.is(413)["code"], "workspace_too_large");
    assert_eq!(paths(&client, &agent).await, ["kept"]);
    let session = client.session(&agent).await;
    let said = client.ask(&session, "!shell echo a few bytes > more && cat more").await;
    assert!(said.contains("a few bytes"), "{said}");
}
