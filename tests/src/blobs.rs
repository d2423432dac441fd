//! What any [`Blobs`] does.
//!
//! Each case is an ordinary function, declared once; [`for_blobs!`](crate::for_blobs) runs them all
//! on one implementation. A case works in realms of its own, so cases can share a store.

use app::ports::{BlobError, BlobId, Blobs, MAX_BLOB};
use futures::future::join_all;
use store::Scope;

use crate::vault::realm;

/// Declares every case once: as a function, and as a line of [`for_blobs!`](crate::for_blobs).
macro_rules! cases {
    ($($(#[$doc:meta])* async fn $name:ident($blobs:ident, $scope:ident) $body:block)*) => {
        $($(#[$doc])* pub async fn $name($blobs: &dyn Blobs, $scope: Scope) $body)*

        /// One test per case on the store that `$open` gives, a future of `(blobs, guard)`. The
        /// guard outlives the test.
        #[macro_export]
        macro_rules! for_blobs {
            ($open:expr) => { $(
                #[tokio::test]
                async fn $name() {
                    let (blobs, _guard) = $open.await;
                    $crate::blobs::$name(&blobs, $crate::vault::realm()).await;
                }
            )* };
        }
    };
}

cases! {
    /// Under the SHA-256 of what they are, empty ones, too.
    async fn what_is_put_is_there(blobs, scope) {
        let every: Vec<u8> = (0..=255).cycle().take(100_000).collect();
        for bytes in [Vec::new(), b"\0".to_vec(), every] {
            let id = blobs.put(scope, bytes.clone()).await.unwrap();
            assert_eq!(id, BlobId::of(&bytes));
            assert_eq!(blobs.size(scope, id).await.unwrap(), Some(bytes.len() as u64));
            assert_eq!(blobs.get(scope, id).await.unwrap(), Some(bytes));
        }
    }

    /// It is answered, not failed.
    async fn what_was_not_put_is_not_there(blobs, scope) {
        let id = BlobId::of(b"nobody puts this");
        assert_eq!(blobs.get(scope, id).await.unwrap(), None);
        assert_eq!(blobs.get_part(scope, id, 0..1).await.unwrap(), None);
        assert_eq!(blobs.get_part(scope, id, 1..1).await.unwrap(), None);
        assert_eq!(blobs.size(scope, id).await.unwrap(), None);
        blobs.delete(scope, id).await.unwrap();
    }

    /// One after the other and at the same time.
    async fn putting_twice_is_putting_once(blobs, scope) {
        let bytes = vec![7; 10_000];
        let id = blobs.put(scope, bytes.clone()).await.unwrap();
        assert_eq!(blobs.put(scope, bytes.clone()).await.unwrap(), id);
        let other = vec![8; 10_000];
        for put in join_all((0..6).map(|_| blobs.put(scope, other.clone()))).await {
            assert_eq!(put.unwrap(), BlobId::of(&other));
        }
        assert_eq!(blobs.get(scope, BlobId::of(&other)).await.unwrap(), Some(other));
        assert_eq!(blobs.get(scope, id).await.unwrap(), Some(bytes));
    }

    /// As far as there is something.
    async fn a_part_is_what_lies_in_its_range(blobs, scope) {
        let bytes: Vec<u8> = (0..=255).collect();
        let id = blobs.put(scope, bytes.clone()).await.unwrap();
        for (range, expected) in [
            (0..256, &bytes[..]),
            (0..1, &bytes[..1]),
            (10..20, &bytes[10..20]),
            (250..1_000_000, &bytes[250..]),
            (0..u64::MAX, &bytes[..]),
            (255..256, &bytes[255..]),
            (256..257, &[][..]),
            (1_000..2_000, &[][..]),
            (5..5, &[][..]),
        ] {
            let part = blobs.get_part(scope, id, range.clone()).await.unwrap();
            assert_eq!(part.as_deref(), Some(expected), "{range:?}");
        }
        let empty = blobs.put(scope, Vec::new()).await.unwrap();
        assert_eq!(blobs.get_part(scope, empty, 0..10).await.unwrap(), Some(Vec::new()));
    }

    /// And can be put again.
    async fn what_is_deleted_is_gone(blobs, scope) {
        let id = blobs.put(scope, b"bytes".to_vec()).await.unwrap();
        blobs.delete(scope, id).await.unwrap();
        blobs.delete(scope, id).await.unwrap();
        assert_eq!(blobs.get(scope, id).await.unwrap(), None);
        assert_eq!(blobs.size(scope, id).await.unwrap(), None);
        assert_eq!(blobs.put(scope, b"bytes".to_vec()).await.unwrap(), id);
        assert_eq!(blobs.get(scope, id).await.unwrap(), Some(b"bytes".to_vec()));
    }

    /// Neither what another has nor that it has it.
    async fn realms_do_not_see_each_other(blobs, scope) {
        let other = realm();
        let id = blobs.put(scope, b"mine".to_vec()).await.unwrap();
        assert_eq!(blobs.get(other, id).await.unwrap(), None);
        assert_eq!(blobs.size(other, id).await.unwrap(), None);
        blobs.put(other, b"mine".to_vec()).await.unwrap();
        blobs.delete(other, id).await.unwrap();
        assert_eq!(blobs.get(scope, id).await.unwrap(), Some(b"mine".to_vec()));
    }

    /// Before anything is sent anywhere.
    async fn what_is_too_large_is_refused(blobs, scope) {
        let largest = vec![1; MAX_BLOB];
        let id = blobs.put(scope, largest.clone()).await.unwrap();
        assert!(blobs.get(scope, id).await.unwrap() == Some(largest), "it is another");
        let refused = blobs.put(scope, vec![1; MAX_BLOB + 1]).await;
        assert!(matches!(refused, Err(BlobError::TooLarge)), "{refused:?}");
        blobs.delete(scope, id).await.unwrap();
    }
}

/// Blobs in memory, for worlds that begin with nothing and end with the test.
#[derive(Debug, Default)]
pub struct Memory(std::sync::Mutex<std::collections::BTreeMap<(domain::RealmId, BlobId), Vec<u8>>>);

#[async_trait::async_trait]
impl Blobs for Memory {
    async fn put(&self, scope: Scope, bytes: Vec<u8>) -> Result<BlobId, BlobError> {
        if bytes.len() > MAX_BLOB {
            return Err(BlobError::TooLarge);
        }
        let id = BlobId::of(&bytes);
        self.0.lock().unwrap().insert((scope.realm(), id), bytes);
        Ok(id)
    }

    async fn get(&self, scope: Scope, id: BlobId) -> Result<Option<Vec<u8>>, BlobError> {
        Ok(self.0.lock().unwrap().get(&(scope.realm(), id)).cloned())
    }

    async fn get_part(
        &self,
        scope: Scope,
        id: BlobId,
        range: std::ops::Range<u64>,
    ) -> Result<Option<Vec<u8>>, BlobError> {
        let whole = self.get(scope, id).await?;
        Ok(whole.map(|bytes| {
            let at =
                |place: u64| usize::try_from(place).map_or(bytes.len(), |at| at.min(bytes.len()));
            bytes.get(at(range.start)..at(range.end)).unwrap_or_default().to_vec()
        }))
    }

    async fn size(&self, scope: Scope, id: BlobId) -> Result<Option<u64>, BlobError> {
        Ok(self.get(scope, id).await?.map(|bytes| bytes.len() as u64))
    }

    async fn delete(&self, scope: Scope, id: BlobId) -> Result<(), BlobError> {
        self.0.lock().unwrap().remove(&(scope.realm(), id));
        Ok(())
    }
}
