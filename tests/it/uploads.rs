//! Where uploads are put: what both platforms promise, and what only one of them does.

use std::os::unix::fs::FileExt;
use std::sync::Arc;

use app::files::Incoming;
use app::ports::{Clock, Ids, Uploads};
use aws::Sdk;
use aws::uploads::BucketUploads;
use bytes::Bytes;
use domain::upload::{LIFE, Upload};
use domain::{RealmId, UploadId};
use embedded::uploads::FileUploads;
use futures::stream;
use host::{OsIds, SystemClock};
use tests::clock::Hand;
use tests::emulator::{Emulator, environment};
use tests::table::fresh;

fn upload(size: u64) -> Upload {
    let (ids, now) = (OsIds::default(), SystemClock::default().now());
    Upload::new(UploadId::new(ids.ulid(now)), RealmId::new(ids.ulid(now)), size, now)
}

fn bytes(content: Option<Incoming>) -> Option<Vec<u8>> {
    match content? {
        Incoming::Memory(bytes) => Some(bytes.to_vec()),
        Incoming::Spooled(file, size) => {
            let mut content = vec![0; usize::try_from(size).unwrap()];
            file.read_exact_at(&mut content, 0).unwrap();
            Some(content)
        }
    }
}

/// `put` puts bytes at an address, and says whether they were taken.
async fn keeps_its_promises(uploads: &dyn Uploads, put: impl AsyncFn(&str, &[u8]) -> bool) {
    let (one, other) = (upload(5), upload(5));
    let (to_one, to_other) =
        (uploads.address(&one).await.unwrap(), uploads.address(&other).await.unwrap());
    assert_ne!(to_one, to_other);
    assert_eq!(bytes(uploads.content(&one).await.unwrap()), None);
    assert!(put(&to_one, b"hello").await);
    assert_eq!(bytes(uploads.content(&one).await.unwrap()), Some(b"hello".to_vec()));
    assert_eq!(bytes(uploads.content(&other).await.unwrap()), None, "each has its own");
    // The last counts, and what has another size is not taken.
    assert!(put(&to_one, b"Hello").await);
    for refused in [b"".as_slice(), b"hell", b"hello!"] {
        assert!(!put(&to_one, refused).await, "{refused:?}");
    }
    assert_eq!(bytes(uploads.content(&one).await.unwrap()), Some(b"Hello".to_vec()));
    uploads.forget(&one).await.unwrap();
    uploads.forget(&one).await.unwrap();
    let changed = format!("{to_other}0");
    assert!(!put(&changed, b"hello").await, "an address is not made up");
    assert_eq!(bytes(uploads.content(&other).await.unwrap()), None);
}

fn ticket(address: &str) -> &str {
    address.strip_prefix("http://here/").unwrap()
}

fn pieces(content: &[u8]) -> impl futures::Stream<Item = Result<Bytes, std::io::Error>> + Unpin {
    let pieces: Vec<_> = content.chunks(2).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
    stream::iter(pieces)
}

#[tokio::test]
async fn plain_files_keep_the_promises() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(SystemClock::default());
    let files = FileUploads::open(dir.path(), "http://here/", clock).unwrap();
    let put = async |to: &str, content: &[u8]| files.put(ticket(to), pieces(content)).await.is_ok();
    keeps_its_promises(&files, put).await;
}

#[tokio::test]
async fn s3_keeps_the_promises() {
    let emulator = Emulator::start_own().await;
    let bucket = fresh().to_lowercase();
    let http = tests::http::connector();
    let made = http.put(format!("{}/{bucket}", emulator.endpoint())).send().await.unwrap();
    assert_eq!(made.status(), 200);
    let told = environment(emulator.endpoint(), &[("REEVE_BUCKET", &bucket)]);
    let objects = BucketUploads::new(&Sdk::new(&told).unwrap(), &told).unwrap();
    let put = async |to: &str, content: &[u8]| {
        http.put(to).body(content.to_vec()).send().await.unwrap().status() == 200
    };
    keeps_its_promises(&objects, put).await;
}

#[tokio::test]
async fn what_has_expired_is_not_put_and_goes() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(Hand::default());
    let files = FileUploads::open(dir.path(), "http://here/", clock.clone()).unwrap();
    let now = clock.now();
    let upload = Upload { expires_at: now.after(LIFE), ..upload(5) };
    let address = files.address(&upload).await.unwrap();
    files.put(ticket(&address), pieces(b"hello")).await.unwrap();
    files.sweep().unwrap();
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
    clock.advance(LIFE);
    assert!(files.put(ticket(&address), pieces(b"hello")).await.is_err());
    // The files are of today.
    clock.advance(SystemClock::default().now().since(clock.now()) + LIFE * 2);
    files.sweep().unwrap();
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}
