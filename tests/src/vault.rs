//! What any [`Vault`] does.
//!
//! Each case is an ordinary function, declared once; [`for_vault!`](crate::for_vault) runs them all
//! on one implementation. A case works in realms of its own, so cases can share a vault.

use app::ports::{SecretValue, Vault, VaultError};
use app::secrets::{MAX_SECRET, MAX_SECRETS};
use domain::RealmId;
use domain::id::Ulid;
use domain::text::Slug;
use futures::future::join_all;
use store::Scope;

/// A realm that nobody else has.
#[expect(clippy::disallowed_methods, reason = "a test is whoever it says")]
pub fn realm() -> Scope {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    Scope::grant(RealmId::new(Ulid::from_bytes(bytes)))
}

/// The name of a secret.
pub fn name(text: &str) -> Slug {
    Slug::new(text).expect("a name")
}

/// A value.
pub fn value(text: impl Into<String>) -> SecretValue {
    SecretValue::new(text).expect("a value")
}

/// What a secret's value is.
pub async fn read(vault: &dyn Vault, scope: Scope, of: &str) -> Option<String> {
    let kept = vault.get(scope, &name(of)).await.expect("a get is answered");
    kept.map(|kept| kept.value.expose().to_owned())
}

/// The names of a realm, over all pages of `limit`.
pub async fn names(vault: &dyn Vault, scope: Scope, limit: usize) -> Vec<String> {
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let page = vault.list(scope, after.as_ref(), limit).await.expect("a list is answered");
        after = page.last().map(|named| named.name.clone());
        let last = page.len() < limit;
        all.extend(page.into_iter().map(|named| named.name.to_string()));
        if last {
            return all;
        }
    }
}

/// Declares every case once: as a function, and as a line of [`for_vault!`](crate::for_vault).
macro_rules! cases {
    ($($(#[$doc:meta])* async fn $name:ident($vault:ident, $scope:ident) $body:block)*) => {
        $($(#[$doc])* pub async fn $name($vault: &dyn Vault, $scope: Scope) $body)*

        /// One test per case on the vault that `$open` gives, a future of `(vault, guard)`. The
        /// guard outlives the test.
        #[macro_export]
        macro_rules! for_vault {
            ($open:expr) => { $(
                #[tokio::test]
                async fn $name() {
                    let (vault, _guard) = $open.await;
                    $crate::vault::$name(&vault, $crate::vault::realm()).await;
                }
            )* };
        }
    };
}

cases! {
    /// Nothing is there, and nothing is wrong with that.
    async fn a_new_realm_has_none(vault, scope) {
        assert_eq!(vault.get(scope, &name("a")).await.unwrap(), None);
        assert_eq!(vault.list(scope, None, 10).await.unwrap(), []);
        vault.delete(scope, &name("a")).await.unwrap();
        let rotated = vault.rotate(scope, &name("a"), 1, &value("x")).await;
        assert!(matches!(rotated, Err(VaultError::Missing)), "{rotated:?}");
    }

    /// As it was put: text of any kind, with what JSON and shells trip over.
    async fn what_is_put_is_there(vault, scope) {
        let odd = "line\nquote\" back\\slash \u{1} nul\0 ß€𝄞 {\"json\": [1]}";
        let version = vault.put(scope, &name("github/token"), &value(odd)).await.unwrap();
        let kept = vault.get(scope, &name("github/token")).await.unwrap().unwrap();
        assert_eq!((kept.version, kept.value.expose()), (version, odd));
    }

    /// A put never replaces.
    async fn a_name_is_put_once(vault, scope) {
        vault.put(scope, &name("a"), &value("first")).await.unwrap();
        let again = vault.put(scope, &name("a"), &value("second")).await;
        assert!(matches!(again, Err(VaultError::Exists)), "{again:?}");
        assert_eq!(read(vault, scope, "a").await.as_deref(), Some("first"));
    }

    /// Who rotates says which value is to go.
    async fn a_rotation_replaces_what_its_caller_saw(vault, scope) {
        let first = vault.put(scope, &name("a"), &value("first")).await.unwrap();
        let second = vault.rotate(scope, &name("a"), first, &value("second")).await.unwrap();
        assert!(second > first);
        let stale = vault.rotate(scope, &name("a"), first, &value("third")).await;
        assert!(matches!(stale, Err(VaultError::Stale)), "{stale:?}");
        let kept = vault.get(scope, &name("a")).await.unwrap().unwrap();
        assert_eq!((kept.version, kept.value.expose()), (second, "second"));
    }

    /// And may be asked for again.
    async fn what_is_deleted_is_gone(vault, scope) {
        vault.put(scope, &name("a"), &value("x")).await.unwrap();
        vault.put(scope, &name("b"), &value("y")).await.unwrap();
        vault.delete(scope, &name("a")).await.unwrap();
        vault.delete(scope, &name("a")).await.unwrap();
        assert_eq!(read(vault, scope, "a").await, None);
        assert_eq!(names(vault, scope, 10).await, ["b"]);
    }

    /// Not even of a name that was deleted and put again: whoever remembers one can tell.
    async fn no_version_is_given_twice(vault, scope) {
        let mut versions = vec![vault.put(scope, &name("a"), &value("1")).await.unwrap()];
        versions.push(vault.rotate(scope, &name("a"), versions[0], &value("2")).await.unwrap());
        vault.delete(scope, &name("a")).await.unwrap();
        versions.push(vault.put(scope, &name("a"), &value("3")).await.unwrap());
        versions.push(vault.put(scope, &name("b"), &value("4")).await.unwrap());
        assert!(versions.is_sorted_by(|one, next| one < next), "{versions:?}");
    }

    /// In order, each once, with the version and nothing else.
    async fn names_are_listed_by_page(vault, scope) {
        let mut versions = Vec::new();
        for one in ["c", "a", "b/2", "b.1", "B", "e", "d"] {
            versions.push((one, vault.put(scope, &name(one), &value("hush")).await.unwrap()));
        }
        versions.sort_unstable();
        let expected: Vec<_> = versions.iter().map(|(name, _)| *name).collect();
        for limit in [1, 2, 3, 7, 8, 100] {
            assert_eq!(names(vault, scope, limit).await, expected, "by {limit}");
        }
        let listed = vault.list(scope, None, 100).await.unwrap();
        assert!(!format!("{listed:?}").contains("hush"));
        for (named, (name, version)) in listed.iter().zip(versions) {
            assert_eq!((named.name.as_str(), named.version), (name, version));
        }
        // A name that is not there is a place in the order, too.
        let behind = vault.list(scope, Some(&name("b")), 1).await.unwrap();
        assert_eq!(behind[0].name.as_str(), "b.1");
    }

    /// The same name in another realm is another secret.
    async fn realms_do_not_see_each_other(vault, scope) {
        let other = realm();
        vault.put(scope, &name("a"), &value("mine")).await.unwrap();
        assert_eq!(read(vault, other, "a").await, None);
        vault.put(other, &name("a"), &value("theirs")).await.unwrap();
        vault.delete(other, &name("a")).await.unwrap();
        assert_eq!(read(vault, scope, "a").await.as_deref(), Some("mine"));
        assert_eq!(names(vault, other, 10).await, Vec::<String>::new());
    }

    /// All of them are there afterwards, whoever was first.
    async fn changes_at_once_are_not_lost_to_each_other(vault, scope) {
        let all: Vec<_> = (0..8).map(|n| format!("n{n}")).collect();
        let puts = all.iter().map(async |one| vault.put(scope, &name(one), &value(one)).await);
        let mut versions: Vec<_> = join_all(puts).await.into_iter().map(Result::unwrap).collect();
        versions.sort_unstable();
        versions.dedup();
        assert_eq!(versions.len(), all.len(), "a version was given twice");
        assert_eq!(names(vault, scope, 100).await, all);
        for one in &all {
            assert_eq!(read(vault, scope, one).await.as_ref(), Some(one));
        }
    }

    /// Whoever is second is told, and knows what it did not do.
    async fn of_those_who_do_the_same_one_succeeds(vault, scope) {
        let puts = (0..6).map(async |n| vault.put(scope, &name("a"), &value(n.to_string())).await);
        let puts = join_all(puts).await;
        let first = puts.iter().position(Result::is_ok).expect("one succeeds");
        let others = puts.iter().filter(|put| matches!(put, Err(VaultError::Exists)));
        assert_eq!(others.count(), 5, "{puts:?}");
        assert_eq!(read(vault, scope, "a").await, Some(first.to_string()));
        let version = *puts[first].as_ref().unwrap();
        let rotations = (0..6).map(async |n| {
            vault.rotate(scope, &name("a"), version, &value(format!("again {n}"))).await
        });
        let rotations = join_all(rotations).await;
        let first = rotations.iter().position(Result::is_ok).expect("one succeeds");
        let others = rotations.iter().filter(|rotation| matches!(rotation, Err(VaultError::Stale)));
        assert_eq!(others.count(), 5, "{rotations:?}");
        assert_eq!(read(vault, scope, "a").await, Some(format!("again {first}")));
    }

    /// What is there stays, and the text says what is too much.
    async fn more_than_a_realm_may_have_is_refused(vault, scope) {
        let large = value("x".repeat(MAX_SECRET));
        for n in 0..MAX_SECRETS / (MAX_SECRET + 1024) {
            vault.put(scope, &name(&n.to_string()), &large).await.unwrap();
        }
        let refused = vault.put(scope, &name("more"), &large).await.unwrap_err();
        assert!(matches!(&refused, VaultError::Refused(_)), "{refused:?}");
        assert!(refused.to_string().contains(&MAX_SECRETS.to_string()), "{refused}");
        assert_eq!(read(vault, scope, "more").await, None);
        assert_eq!(read(vault, scope, "0").await.as_deref(), Some(large.expose()));
        vault.delete(scope, &name("0")).await.unwrap();
        vault.put(scope, &name("more"), &large).await.unwrap();
    }
}
