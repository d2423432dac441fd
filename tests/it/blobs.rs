//! The blob stores: the suite of their port on both platforms, and what only one of them promises.

use std::fs;

use app::ports::{BlobError, BlobId, Blobs, Shelf};
use aws::Sdk;
use aws::blobs::Bucket;
use embedded::blobs::FileBlobs;
use http::StatusCode;
use serde_json::json;
use tempfile::TempDir;
use tests::blobs::shelf;
use tests::emulator::{Emulator, environment};
use tests::fault_proxy::{Fault, FaultProxy};
use tests::table::fresh;

fn files() -> (FileBlobs, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    (FileBlobs::open(dir.path()).unwrap(), dir)
}

struct Cloud {
    proxy: FaultProxy,
    emulator: Emulator,
    bucket: String,
}

async fn bucket() -> (Bucket, Cloud) {
    let emulator = Emulator::start_own().await;
    let proxy = FaultProxy::start(emulator.endpoint()).await;
    let bucket = fresh().to_lowercase();
    let cloud = Cloud { proxy, emulator, bucket };
    let made = cloud.put("", Vec::new()).await;
    assert_eq!(made, StatusCode::OK);
    let environment = environment(&cloud.proxy.endpoint(), &[("REEVE_BUCKET", &cloud.bucket)]);
    let blobs = Bucket::new(&Sdk::new(&environment).unwrap(), &environment).unwrap();
    (blobs, cloud)
}

impl Cloud {
    /// Puts what nobody should: past the port.
    async fn put(&self, key: &str, bytes: Vec<u8>) -> StatusCode {
        let url = format!("{}/{}/{key}", self.emulator.endpoint(), self.bucket);
        let client = tests::http::connector();
        client.put(url.trim_end_matches('/')).body(bytes).send().await.unwrap().status()
    }

    fn path(&self, whose: Shelf, id: BlobId) -> String {
        format!("/{}/blobs/{}/{}/{id}", self.bucket, whose.realm(), whose.agent())
    }
}

mod plain_files {
    tests::for_blobs!(std::future::ready(super::files()));
}

mod s3 {
    tests::for_blobs!(super::bucket());
}

#[tokio::test]
async fn a_damaged_file_is_not_given_out_and_is_mended_by_the_next_put() {
    let (blobs, dir) = files();
    let shelf = shelf();
    let id = blobs.put(shelf, b"whole".to_vec()).await.unwrap();
    let own = dir.path().join(shelf.realm().to_string()).join(shelf.agent().to_string());
    let path = own.join(id.to_string());
    for damaged in [b"Whole".as_slice(), b"whol", b""] {
        fs::write(&path, damaged).unwrap();
        let read = blobs.get(shelf, id).await;
        assert!(matches!(read, Err(BlobError::Damaged(found)) if found == id), "{read:?}");
        assert_eq!(blobs.put(shelf, b"whole".to_vec()).await.unwrap(), id);
        assert_eq!(blobs.get(shelf, id).await.unwrap(), Some(b"whole".to_vec()));
    }
}

#[tokio::test]
async fn what_a_killed_process_left_unfinished_is_taken_away() {
    let (blobs, dir) = files();
    let shelf = shelf();
    let id = blobs.put(shelf, b"whole".to_vec()).await.unwrap();
    fs::write(dir.path().join(".unfinished-x-0"), b"who").unwrap();
    let again = FileBlobs::open(dir.path()).unwrap();
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    assert_eq!(again.get(shelf, id).await.unwrap(), Some(b"whole".to_vec()));
}

#[tokio::test]
async fn a_damaged_object_is_not_given_out() {
    let (blobs, cloud) = bucket().await;
    let shelf = shelf();
    let id = BlobId::of(b"whole");
    let key = format!("blobs/{}/{}/{id}", shelf.realm(), shelf.agent());
    assert_eq!(cloud.put(&key, b"Whole".to_vec()).await, StatusCode::OK);
    let read = blobs.get(shelf, id).await;
    assert!(matches!(read, Err(BlobError::Damaged(found)) if found == id), "{read:?}");
}

#[tokio::test]
async fn a_put_that_conflicts_or_loses_its_answer_is_made_again() {
    let (blobs, cloud) = bucket().await;
    let shelf = shelf();
    let bytes = b"bytes".to_vec();
    let path = cloud.path(shelf, BlobId::of(&bytes));
    cloud.proxy.fault(&path, Fault::Answer(StatusCode::CONFLICT, json!({})), 2);
    cloud.proxy.fault(&path, Fault::Answer(StatusCode::SERVICE_UNAVAILABLE, json!({})), 1);
    cloud.proxy.fault(&path, Fault::LoseAnswer, 1);
    let id = blobs.put(shelf, bytes.clone()).await.unwrap();
    assert_eq!(cloud.proxy.calls(&path).len(), 5);
    assert_eq!(blobs.get(shelf, id).await.unwrap(), Some(bytes));
}
