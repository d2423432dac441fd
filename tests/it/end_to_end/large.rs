//! Files and archives that are larger than what Lambda takes and passes on.

use std::io::{Cursor, Read};

use reqwest::Method;
use serde_json::{Value, json};
use tests::http::{Client, Reply};
use tests::platform::Platform;

/// Twice of what fits, and nothing that could be packed.
const SIZE: usize = 12 * 1024 * 1024;

fn random() -> Vec<u8> {
    let mut bytes = vec![0; SIZE];
    getrandom::fill(&mut bytes).unwrap();
    bytes
}

async fn get(client: &Client, path: &str) -> Reply {
    let reply = client.get(path).await;
    assert_eq!(reply.status, 200, "{path}: {:.300}", reply.body.to_string());
    reply
}

/// The one file of an archive that has this path.
fn of_tar(archive: &[u8], path: &str) -> Vec<u8> {
    let mut archive = tar::Archive::new(archive);
    let mut entries = archive.entries().unwrap().map(Result::unwrap);
    let mut entry = entries.find(|entry| entry.path().unwrap().to_str() == Some(path)).unwrap();
    let mut content = Vec::new();
    entry.read_to_end(&mut content).unwrap();
    content
}

fn of_zip(archive: Vec<u8>, path: &str) -> Vec<u8> {
    let mut archive = zip::ZipArchive::new(Cursor::new(archive)).unwrap();
    let mut content = Vec::new();
    archive.by_name(path).unwrap().read_to_end(&mut content).unwrap();
    content
}

pub(super) async fn what_no_request_brings_goes_in_and_comes_out_byte_for_byte(
    platform: &Platform,
) {
    let client = platform.realm(json!({})).await;
    let (one, other) = (client.agent().await, client.agent().await);
    let (of_one, of_other) =
        (format!("/v1/agents/{one}/files"), format!("/v1/agents/{other}/files"));
    let content = random();

    let upload = client.upload(&content).await;
    let put = format!("{of_one}/raw?path=big.bin&upload={upload}");
    client.send(client.request(Method::PUT, &put)).await.is(204);
    // It is taken.
    let again = client.send(client.request(Method::PUT, &put)).await;
    assert_eq!(again.is(404)["code"], "no_such_upload");

    let whole = get(&client, &format!("{of_one}/raw?path=big.bin")).await;
    assert!(whole.raw == content, "{} bytes", whole.raw.len());
    assert_eq!(whole.headers["content-type"], "application/octet-stream");
    let disposition = "attachment; filename*=UTF-8''big.bin";
    assert_eq!(whole.headers["content-disposition"], disposition);
    let part = client.request(Method::GET, &format!("{of_one}/raw?path=big.bin"));
    let part = client.send(part.header("range", "bytes=9000000-9000099")).await;
    assert_eq!(part.status, 206);
    assert_eq!(part.raw, content[9_000_000..9_000_100]);

    let zip = get(&client, &format!("{of_one}/archive")).await;
    assert_eq!(zip.headers["content-type"], "application/zip");
    assert!(of_zip(zip.raw, "big.bin") == content);
    let tar = get(&client, &format!("{of_one}/export?paths=**")).await;
    assert_eq!(tar.headers["content-type"], "application/x-tar");
    assert!(of_tar(&tar.raw, "big.bin") == content);

    let upload = client.upload(&tar.raw).await;
    let imported = client.post(&format!("{of_other}/import?upload={upload}"), Value::Null).await;
    assert_eq!(imported.is(200)["bytesWritten"], SIZE);
    let there = get(&client, &format!("{of_other}/raw?path=big.bin")).await;
    assert!(there.raw == content, "{} bytes", there.raw.len());

    // An agent has what was put, and what it makes comes out.
    let session = client.session(&one).await;
    let said =
        client.ask(&session, "!shell wc -c < big.bin; cat big.bin big.bin > twice.bin").await;
    assert!(said.contains(&SIZE.to_string()), "{said}");
    let twice = get(&client, &format!("{of_one}/raw?path=twice.bin")).await;
    assert!(twice.raw == [content.as_slice(), &content].concat(), "{} bytes", twice.raw.len());
}
