//! What any [`Blobs`] does.
//!
//! Each case is an ordinary function, declared once; [`for_blobs!`](crate::for_blobs) runs them all
//! on one implementation. A case works in realms of its own, so cases can share a store.

use app::ports::{BlobError, BlobId, Blobs, Clock, MAX_BLOB, Shelf, Shelved};
use domain::{AgentId, Timestamp};
use futures::future::join_all;

use crate::vault::realm;

/// A shelf of an agent that nobody else has.
pub fn shelf() -> Shelf {
    let scope = realm();
    Shelf::of(scope, AgentId::new(scope.realm().ulid()))
}

/// Declares every case once: as a function, and as a line of [`for_blobs!`](crate::for_blobs).
macro_rules! cases {
    ($($(#[$doc:meta])* async fn $name:ident($blobs:ident, $scope:ident) $body:block)*) => {
        $($(#[$doc])* pub async fn $name($blobs: &dyn Blobs, $scope: Shelf) $body)*

        /// One test per case on the store that `$open` gives, a future of `(blobs, guard)`. The
        /// guard outlives the test.
        #[macro_export]
        macro_rules! for_blobs {
            ($open:expr) => { $(
                #[tokio::test]
                async fn $name() {
                    let (blobs, _guard) = $open.await;
                    $crate::blobs::$name(&blobs, $crate::blobs::shelf()).await;
                }
            )* };
        }
    };
}

cases! {
    /// Under the SHA-256 of what they are, empty ones, too.
    async fn what_is_put_is_there(blobs, shelf) {
        let every: Vec<u8> = (0..=255).cycle().take(100_000).collect();
        for bytes in [Vec::new(), b"\0".to_vec(), every] {
            let id = blobs.put(shelf, bytes.clone()).await.unwrap();
            assert_eq!(id, BlobId::of(&bytes));
            assert_eq!(blobs.size(shelf, id).await.unwrap(), Some(bytes.len() as u64));
            assert_eq!(blobs.get(shelf, id).await.unwrap(), Some(bytes));
        }
    }

    /// It is answered, not failed.
    async fn what_was_not_put_is_not_there(blobs, shelf) {
        let id = BlobId::of(b"nobody puts this");
        assert_eq!(blobs.get(shelf, id).await.unwrap(), None);
        assert_eq!(blobs.get_part(shelf, id, 0..1).await.unwrap(), None);
        assert_eq!(blobs.get_part(shelf, id, 1..1).await.unwrap(), None);
        assert_eq!(blobs.size(shelf, id).await.unwrap(), None);
        blobs.delete(shelf, id).await.unwrap();
    }

    /// One after the other and at the same time.
    async fn putting_twice_is_putting_once(blobs, shelf) {
        let bytes = vec![7; 10_000];
        let id = blobs.put(shelf, bytes.clone()).await.unwrap();
        assert_eq!(blobs.put(shelf, bytes.clone()).await.unwrap(), id);
        let other = vec![8; 10_000];
        for put in join_all((0..6).map(|_| blobs.put(shelf, other.clone()))).await {
            assert_eq!(put.unwrap(), BlobId::of(&other));
        }
        assert_eq!(blobs.get(shelf, BlobId::of(&other)).await.unwrap(), Some(other));
        assert_eq!(blobs.get(shelf, id).await.unwrap(), Some(bytes));
    }

    /// As far as there is something.
    async fn a_part_is_what_lies_in_its_range(blobs, shelf) {
        let bytes: Vec<u8> = (0..=255).collect();
        let id = blobs.put(shelf, bytes.clone()).await.unwrap();
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
            let part = blobs.get_part(shelf, id, range.clone()).await.unwrap();
            assert_eq!(part.as_deref(), Some(expected), "{range:?}");
        }
        let empty = blobs.put(shelf, Vec::new()).await.unwrap();
        assert_eq!(blobs.get_part(shelf, empty, 0..10).await.unwrap(), Some(Vec::new()));
    }

    /// And can be put again.
    async fn what_is_deleted_is_gone(blobs, shelf) {
        let id = blobs.put(shelf, b"bytes".to_vec()).await.unwrap();
        blobs.delete(shelf, id).await.unwrap();
        blobs.delete(shelf, id).await.unwrap();
        assert_eq!(blobs.get(shelf, id).await.unwrap(), None);
        assert_eq!(blobs.size(shelf, id).await.unwrap(), None);
        assert_eq!(blobs.put(shelf, b"bytes".to_vec()).await.unwrap(), id);
        assert_eq!(blobs.get(shelf, id).await.unwrap(), Some(b"bytes".to_vec()));
    }

    /// Neither what another has nor that it has it.
    async fn shelves_are_apart(blobs, shelf) {
        let other = self::shelf();
        let id = blobs.put(shelf, b"mine".to_vec()).await.unwrap();
        assert_eq!(blobs.get(other, id).await.unwrap(), None);
        assert_eq!(blobs.size(other, id).await.unwrap(), None);
        blobs.put(other, b"mine".to_vec()).await.unwrap();
        blobs.delete(other, id).await.unwrap();
        assert_eq!(blobs.get(shelf, id).await.unwrap(), Some(b"mine".to_vec()));
    }

    /// All of it, by name, however it is asked for; and nothing of another, also of the same realm.
    async fn what_is_on_a_shelf_is_listed(blobs, shelf) {
        assert_eq!(blobs.list(shelf, None, 10).await.unwrap(), []);
        let mut all = Vec::new();
        for n in 0..7 {
            all.push(blobs.put(shelf, vec![n; 10]).await.unwrap());
        }
        all.sort();
        blobs.put(self::shelf(), b"theirs".to_vec()).await.unwrap();
        for limit in [1, 3, 7, 1000] {
            let (mut listed, mut after) = (Vec::new(), None);
            loop {
                let some = blobs.list(shelf, after, limit).await.unwrap();
                listed.extend(some.iter().map(|one| one.id));
                after = listed.last().copied();
                if some.len() < limit {
                    break;
                }
            }
            assert_eq!(listed, all, "{limit} at a time");
        }
        blobs.delete(shelf, all[3]).await.unwrap();
        let left = blobs.list(shelf, Some(all[2]), 10).await.unwrap();
        assert_eq!(left.iter().map(|one| one.id).collect::<Vec<_>>(), all[4..]);
        let now = host::SystemClock::default().now();
        for one in left {
            let [earlier, later] = [one.put_at, now].map(Timestamp::as_millis);
            assert!(earlier.abs_diff(later) < 600_000, "{one:?} at {now}");
        }
        for id in all {
            blobs.delete(shelf, id).await.unwrap();
        }
        assert_eq!(blobs.list(shelf, None, 10).await.unwrap(), []);
    }

    /// Before anything is sent anywhere.
    async fn what_is_too_large_is_refused(blobs, shelf) {
        let largest = vec![1; MAX_BLOB];
        let id = blobs.put(shelf, largest.clone()).await.unwrap();
        assert!(blobs.get(shelf, id).await.unwrap() == Some(largest), "it is another");
        let refused = blobs.put(shelf, vec![1; MAX_BLOB + 1]).await;
        assert!(matches!(refused, Err(BlobError::TooLarge)), "{refused:?}");
        blobs.delete(shelf, id).await.unwrap();
    }
}

/// Blobs in memory, for worlds that begin with nothing and end with the test. Each call lets others go
/// first.
#[derive(Debug)]
pub struct Memory {
    clock: std::sync::Arc<dyn Clock>,
    kept: std::sync::Mutex<std::collections::BTreeMap<Place, (Timestamp, Vec<u8>)>>,
}

type Place = (domain::RealmId, AgentId, BlobId);

impl Memory {
    /// None, by this clock.
    pub fn at(clock: std::sync::Arc<dyn Clock>) -> Self {
        Self { clock, kept: std::sync::Mutex::default() }
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::at(std::sync::Arc::new(host::SystemClock::default()))
    }
}

const fn place(whose: Shelf, id: BlobId) -> Place {
    (whose.realm(), whose.agent(), id)
}

#[async_trait::async_trait]
impl Blobs for Memory {
    async fn put(&self, whose: Shelf, bytes: Vec<u8>) -> Result<BlobId, BlobError> {
        if bytes.len() > MAX_BLOB {
            return Err(BlobError::TooLarge);
        }
        tokio::task::yield_now().await;
        let id = BlobId::of(&bytes);
        self.kept
            .lock()
            .unwrap()
            .entry(place(whose, id))
            .or_insert_with(|| (self.clock.now(), bytes));
        Ok(id)
    }

    async fn get(&self, whose: Shelf, id: BlobId) -> Result<Option<Vec<u8>>, BlobError> {
        tokio::task::yield_now().await;
        let kept = self.kept.lock().unwrap();
        Ok(kept.get(&place(whose, id)).map(|(_, bytes)| bytes.clone()))
    }

    async fn get_part(
        &self,
        whose: Shelf,
        id: BlobId,
        range: std::ops::Range<u64>,
    ) -> Result<Option<Vec<u8>>, BlobError> {
        let bytes = self.get(whose, id).await?;
        Ok(bytes.map(|bytes| {
            let at =
                |place: u64| usize::try_from(place).map_or(bytes.len(), |at| at.min(bytes.len()));
            bytes.get(at(range.start)..at(range.end)).unwrap_or_default().to_vec()
        }))
    }

    async fn size(&self, whose: Shelf, id: BlobId) -> Result<Option<u64>, BlobError> {
        Ok(self.get(whose, id).await?.map(|bytes| bytes.len() as u64))
    }

    async fn delete(&self, whose: Shelf, id: BlobId) -> Result<(), BlobError> {
        tokio::task::yield_now().await;
        self.kept.lock().unwrap().remove(&place(whose, id));
        Ok(())
    }

    async fn list(
        &self,
        whose: Shelf,
        after: Option<BlobId>,
        limit: usize,
    ) -> Result<Vec<Shelved>, BlobError> {
        tokio::task::yield_now().await;
        let kept = self.kept.lock().unwrap();
        let own = kept.iter().filter(|((realm, agent, id), _)| {
            (*realm, *agent) == (whose.realm(), whose.agent())
                && after.is_none_or(|after| *id > after)
        });
        let shelved = own.map(|(&(_, _, id), &(put_at, _))| Shelved { id, put_at });
        Ok(shelved.take(limit).collect())
    }
}
