//! The vaults: the suite of their port on both platforms, and what only one of them promises.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;

use app::ports::{Vault, VaultError};
use aws::Sdk;
use aws::vault::ManagedVault;
use embedded::vault::{FileVault, KEY, OpenError};
use host::SystemClock;
use tempfile::TempDir;
use tests::emulator::{Emulator, environment};
use tests::fault_proxy::{Fault, FaultProxy};
use tests::table::fresh;
use tests::vault::{name, names, read, realm, value};

fn files() -> (FileVault, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    (FileVault::open(dir.path()).unwrap(), dir)
}

async fn managed() -> (ManagedVault, (FaultProxy, Emulator)) {
    let emulator = Emulator::start().await;
    let proxy = FaultProxy::start(emulator.endpoint()).await;
    (managed_at(&proxy, &fresh()), (proxy, emulator))
}

fn managed_at(proxy: &FaultProxy, prefix: &str) -> ManagedVault {
    let more = [("REEVE_VAULT_PREFIX", prefix), ("REEVE_VAULT_KEY", "alias/aws/secretsmanager")];
    let environment = environment(&proxy.endpoint(), &more);
    let sdk = Sdk::new(&environment).unwrap();
    ManagedVault::new(&sdk, &environment, Arc::new(SystemClock::default())).unwrap()
}

mod sealed_files {
    tests::for_vault!(std::future::ready(super::files()));
}

mod secrets_manager {
    tests::for_vault!(super::managed());
}

/// The sealed files in a vault's directory.
fn sealed(dir: &TempDir) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.file_name().unwrap() != KEY).collect()
}

#[tokio::test]
async fn nothing_of_a_secret_is_readable_in_the_files_and_it_is_there_again() {
    let (vault, dir) = files();
    let scope = realm();
    vault.put(scope, &name("github"), &value("hush hush")).await.unwrap();
    assert!(!format!("{vault:?}").contains("hush"));
    drop(vault);
    for path in sealed(&dir) {
        let bytes = std::fs::read(&path).unwrap();
        for word in ["hush", "github"] {
            assert!(!bytes.windows(word.len()).any(|part| part == word.as_bytes()), "{word}");
        }
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
    let again = FileVault::open(dir.path()).unwrap();
    assert_eq!(read(&again, scope, "github").await.as_deref(), Some("hush hush"));
}

#[tokio::test]
async fn a_file_that_was_changed_or_moved_is_not_opened() {
    let (vault, dir) = files();
    let (mine, theirs) = (realm(), realm());
    vault.put(mine, &name("a"), &value("mine")).await.unwrap();
    let path = sealed(&dir).remove(0);
    let whole = std::fs::read(&path).unwrap();
    vault.put(theirs, &name("a"), &value("theirs")).await.unwrap();
    let other = sealed(&dir).into_iter().find(|other| *other != path).unwrap();
    std::fs::write(&other, &whole).unwrap();
    let moved = vault.get(theirs, &name("a")).await;
    assert!(matches!(moved, Err(VaultError::Unavailable(_))), "{moved:?}");
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        let changed = vault.get(mine, &name("a")).await;
        assert!(matches!(changed, Err(VaultError::Unavailable(_))), "{at}: {changed:?}");
    }
    for length in [0, 10, 24, 30, whole.len() - 1] {
        std::fs::write(&path, &whole[..length]).unwrap();
        let cut = vault.put(mine, &name("b"), &value("x")).await;
        assert!(matches!(cut, Err(VaultError::Unavailable(_))), "{length}: {cut:?}");
    }
    std::fs::write(&path, &whole).unwrap();
    assert_eq!(read(&vault, mine, "a").await.as_deref(), Some("mine"));
}

#[tokio::test]
async fn a_key_that_others_may_read_or_that_is_gone_is_said() {
    let (vault, dir) = files();
    let scope = realm();
    vault.put(scope, &name("a"), &value("x")).await.unwrap();
    let key = dir.path().join(KEY);
    let mode =
        |mode| std::fs::set_permissions(&key, std::fs::Permissions::from_mode(mode)).unwrap();
    assert_eq!(std::fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    mode(0o640);
    let open = FileVault::open(dir.path()).unwrap_err();
    assert!(matches!(open, OpenError::Open { mode: 0o640, .. }), "{open:?}");
    mode(0o600);
    let bytes = std::fs::read(&key).unwrap();
    std::fs::write(&key, &bytes[1..]).unwrap();
    let short = FileVault::open(dir.path()).unwrap_err();
    assert!(matches!(short, OpenError::NotAKey(_)), "{short:?}");
    std::fs::remove_file(&key).unwrap();
    let gone = FileVault::open(dir.path()).unwrap_err();
    assert!(matches!(gone, OpenError::NoKey(_)), "{gone:?}");
    assert!(!key.exists(), "no other key is made for what is sealed already");
    std::fs::write(&key, bytes).unwrap();
    mode(0o600);
    let again = FileVault::open(dir.path()).unwrap();
    assert_eq!(read(&again, scope, "a").await.as_deref(), Some("x"));
}

#[tokio::test]
async fn a_killed_process_loses_no_secret_it_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let scope = realm();
    let mut acknowledged = BTreeSet::new();
    for _ in 0..5 {
        let mut child = Command::new(env!("CARGO_BIN_EXE_sealer"))
            .arg(dir.path())
            .arg(scope.realm().to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        for _ in 0..50 {
            acknowledged.insert(lines.next().expect("it goes on").unwrap());
        }
        child.kill().unwrap();
        child.wait().unwrap();
        acknowledged.extend(lines.map_while(Result::ok).filter(|line| line.starts_with('n')));
    }
    let vault = FileVault::open(dir.path()).unwrap();
    let found: BTreeSet<_> = names(&vault, scope, 100).await.into_iter().collect();
    // The last line of each may have been cut short by its death: such a name is the beginning of one.
    let lost = acknowledged.iter().filter(|name| !found.contains(*name));
    let lost: Vec<_> =
        lost.filter(|name| !found.iter().any(|one| one.starts_with(*name))).collect();
    assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
    for one in &found {
        assert_eq!(read(&vault, scope, one).await.as_ref(), Some(one));
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2, "a key and one sealed file");
}

#[tokio::test]
async fn a_change_whose_answer_is_lost_is_made_once() {
    let (vault, (proxy, _emulator)) = managed().await;
    let scope = realm();
    proxy.fault("CreateSecret", Fault::LoseAnswer, 1);
    let first = vault.put(scope, &name("a"), &value("1")).await.unwrap();
    proxy.fault("PutSecretValue", Fault::LoseAnswer, 2);
    let second = vault.rotate(scope, &name("a"), first, &value("2")).await.unwrap();
    assert_eq!(second, first + 1);
    assert_eq!(read(&vault, scope, "a").await.as_deref(), Some("2"));
    assert_eq!(proxy.calls("CreateSecret").len(), 2);
    assert_eq!(proxy.calls("PutSecretValue").len(), 3);
}

#[tokio::test]
async fn a_change_decided_on_an_old_read_is_decided_again() {
    let (vault, (proxy, _emulator)) = managed().await;
    let scope = realm();
    vault.put(scope, &name("a"), &value("1")).await.unwrap();
    let old = proxy.calls("GetSecretValue").len();
    vault.get(scope, &name("a")).await.unwrap();
    let answer = proxy.calls("GetSecretValue")[old].answer.clone();
    vault.put(scope, &name("b"), &value("2")).await.unwrap();
    // The service lags behind: it tells what was before.
    proxy.fault("GetSecretValue", Fault::Answer(http::StatusCode::OK, answer), 1);
    vault.put(scope, &name("c"), &value("3")).await.unwrap();
    assert_eq!(names(&vault, scope, 10).await, ["a", "b", "c"]);
}

#[tokio::test]
async fn what_the_service_refuses_is_told_without_a_value() {
    let (vault, (proxy, _emulator)) = managed().await;
    let scope = realm();
    vault.put(scope, &name("a"), &value("hush hush")).await.unwrap();
    // Tried five times: it may be for a moment.
    proxy.fault("PutSecretValue", Fault::error(400, "LimitExceededException"), 5);
    let often = vault.put(scope, &name("b"), &value("hush hush")).await.unwrap_err();
    assert!(matches!(&often, VaultError::Refused(why) if why.contains("too often")), "{often:?}");
    proxy.fault("PutSecretValue", Fault::error(400, "AccessDeniedException"), 1);
    let denied = vault.put(scope, &name("b"), &value("hush hush")).await.unwrap_err();
    let VaultError::Unavailable(why) = &denied else { panic!("{denied:?}") };
    assert!(why.to_string().contains("AccessDeniedException"), "{why}");
    assert!(!format!("{often:?} {denied:?} {why:?} {vault:?}").contains("hush"));
    assert_eq!(names(&vault, scope, 10).await, ["a"]);
    proxy.fault("PutSecretValue", Fault::throttling(), 2);
    vault.put(scope, &name("b"), &value("2")).await.unwrap();
}

#[tokio::test]
async fn one_managed_secret_holds_a_realm_under_the_installations_key() {
    let (vault, (proxy, _emulator)) = managed().await;
    let scope = realm();
    for one in ["a", "b", "c"] {
        vault.put(scope, &name(one), &value(one)).await.unwrap();
    }
    let made = proxy.calls("CreateSecret");
    assert_eq!(made.len(), 1);
    assert_eq!(made[0].body["KmsKeyId"], "alias/aws/secretsmanager");
    let named = made[0].body["Name"].as_str().unwrap();
    assert!(named.ends_with(&scope.realm().to_string()), "{named}");
    assert_eq!(proxy.calls("PutSecretValue").len(), 2);
}
