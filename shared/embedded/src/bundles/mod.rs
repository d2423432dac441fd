//! Bundles as directories, named by what is in them.
//!
//! What holds here: `<directory>/trees/<digest>` are the files and `manifests/<digest>` their canonical
//! list, whose SHA-256 is the digest. Each is put together aside and renamed, so it is there whole or
//! not at all. `sources/<what was pinned>` remembers what came of it. Nothing that was downloaded is
//! run to make a bundle: installers leave its scripts alone.
//!
//! Containers see all of `trees`, read-only, so that one that runs already can start what has just been
//! made. Where agents are other users than this process, as they are where it is root, they can go
//! through it but not list it: who does not know the digest of files does not find them.
//!
//! What nobody has asked for in a while is removed when something else has been made, unless somebody
//! holds a lock on it: a shim does, for as long as a process runs from it. Who needs it again has it made
//! again.

mod archive;
mod binary;
mod npm;
mod program;
mod python;
mod tree;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use app::ports::{Bundles, Fetch, KeptContent, MakeError};
use domain::Digest;
use domain::bundle::{Content, Pinned};
use rustix::fs::{FlockOperation, flock};

use crate::durable;

/// How the name of a directory begins that is put together.
const UNFINISHED: &str = ".unfinished-";

/// How exactly it is known when somebody last asked for something.
const SELDOM: Duration = Duration::from_mins(10);

/// What may be downloaded and unpacked for one bundle.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of a download.
    pub download: u64,
    /// Bytes of all files.
    pub bytes: u64,
    /// Files, directories and links.
    pub entries: usize,
    /// How long a download or an installer may take.
    pub time: Duration,
    /// How long what nobody asks for is kept.
    pub unused: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            download: 1 << 30,
            bytes: 4 << 30,
            entries: 200_000,
            time: Duration::from_mins(10),
            unused: Duration::from_hours(30 * 24),
        }
    }
}

/// How bundles are made here.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where they are kept. No other process writes there.
    pub dir: PathBuf,
    /// The npm registry, without a slash at the end.
    pub npm: String,
    /// The Python package index, without a slash at the end.
    pub pypi: String,
    /// What installers are started with: `PATH`, and what says whom they trust.
    pub environment: BTreeMap<String, String>,
    /// What one may take.
    pub limits: Limits,
}

/// The Bundles port as directories. Cheap to clone.
#[derive(Clone, Debug)]
pub struct BundleStore(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: Config,
    fetch: Arc<dyn Fetch>,
    /// Who makes what at this moment.
    making: Mutex<BTreeMap<String, Weak<tokio::sync::Mutex<()>>>>,
    /// What was compared as a whole, as it was then: the same again needs no second look.
    compared: Mutex<BTreeMap<Digest, tree::Fingerprint>>,
}

/// What was made, before it has a name.
struct Raw {
    entrypoint: Vec<String>,
    env: BTreeMap<String, String>,
}

impl BundleStore {
    /// Bundles in the configured directory, which is made where it is absent. What a killed process
    /// left unfinished is removed.
    pub fn open(config: Config, fetch: Arc<dyn Fetch>) -> io::Result<Self> {
        durable::directory(&config.dir)?;
        for kept in ["sources", "manifests"] {
            durable::directory(&config.dir.join(kept))?;
            durable::clear(&config.dir.join(kept))?;
        }
        let trees = Self::trees(&config.dir);
        durable::directory(&trees)?;
        fs::set_permissions(&trees, fs::Permissions::from_mode(0o711))?;
        for entry in fs::read_dir(&config.dir)? {
            let entry = entry?;
            if entry.file_name().as_encoded_bytes().starts_with(UNFINISHED.as_bytes()) {
                fs::remove_dir_all(entry.path())?;
            }
        }
        let (making, compared) = (Mutex::default(), Mutex::default());
        Ok(Self(Arc::new(Inner { config, fetch, making, compared })))
    }

    /// Where the files of all contents are that are kept in `dir`: what containers see.
    pub fn trees(dir: &Path) -> PathBuf {
        dir.join("trees")
    }

    /// Where the files of a content are, if they are kept in `dir`.
    pub fn tree(dir: &Path, content: Digest) -> PathBuf {
        Self::trees(dir).join(content.hex())
    }

    fn manifest(&self, content: Digest) -> PathBuf {
        self.0.config.dir.join("manifests").join(content.hex())
    }

    fn turn(&self, key: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut making = self.0.making.lock().unwrap_or_else(PoisonError::into_inner);
        making.retain(|_, turn| turn.strong_count() > 0);
        if let Some(turn) = making.get(key).and_then(Weak::upgrade) {
            return turn;
        }
        let turn = Arc::new(tokio::sync::Mutex::new(()));
        making.insert(key.to_owned(), Arc::downgrade(&turn));
        turn
    }

    /// What came of the same before, if it is still whole.
    async fn known(&self, key: &str) -> Result<Option<Content>, MakeError> {
        let path = self.0.config.dir.join("sources").join(key);
        let held = durable::read(&path).map_err(passing)?;
        let Some(content) = held.and_then(|held| serde_json::from_slice::<Content>(&held).ok())
        else {
            return Ok(None);
        };
        let kept = self.check(content.digest).await?;
        Ok((kept == KeptContent::Whole).then_some(content))
    }

    /// Gives what was put together its name.
    fn keep(&self, staging: &Staging, raw: Raw) -> Result<Content, MakeError> {
        let Inner { config, compared, .. } = &*self.0;
        let list = tree::settle(&staging.tree(), &config.limits)?;
        let digest = tree::digest(list.text.as_bytes());
        let (place, manifest) = (Self::tree(&config.dir, digest), self.manifest(digest));
        if self.compare(digest).map_err(passing)? != KeptContent::Whole {
            // The files first: what has no list is not there.
            self.remove(digest).map_err(passing)?;
            let seen_by_all = fs::Permissions::from_mode(0o755);
            fs::set_permissions(staging.tree(), seen_by_all).map_err(passing)?;
            fs::rename(staging.tree(), &place).map_err(passing)?;
            durable::replace(&config.dir.join("manifests"), &manifest, list.text.as_bytes())
                .map_err(passing)?;
        }
        self.asked_for(digest).map_err(passing)?;
        let fingerprint = tree::fingerprint(&place).map_err(passing)?;
        compared.lock().unwrap_or_else(PoisonError::into_inner).insert(digest, fingerprint);
        let Raw { entrypoint, env } = raw;
        Ok(Content { digest, files: list.files, bytes: list.bytes, entrypoint, env })
    }

    fn compare(&self, digest: Digest) -> io::Result<KeptContent> {
        let Inner { config, compared, .. } = &*self.0;
        let place = Self::tree(&config.dir, digest);
        let Some(text) = durable::read(&self.manifest(digest))? else {
            return Ok(KeptContent::Gone);
        };
        let lock = || compared.lock().unwrap_or_else(PoisonError::into_inner);
        let now = tree::fingerprint(&place);
        if let (Ok(now), Some(then)) = (&now, lock().get(&digest))
            && now == then
        {
            return Ok(KeptContent::Whole);
        }
        lock().remove(&digest);
        let same = tree::digest(&text) == digest
            && tree::list(&place).is_ok_and(|list| list.text.as_bytes() == text);
        if let (true, Ok(now)) = (same, now) {
            lock().insert(digest, now);
            Ok(KeptContent::Whole)
        } else {
            self.remove(digest)?;
            Ok(KeptContent::Damaged)
        }
    }

    /// Writes down that somebody asked for a content, as exactly as it matters.
    fn asked_for(&self, content: Digest) -> io::Result<()> {
        let manifest = fs::File::open(self.manifest(content))?;
        if age(&manifest)? > SELDOM {
            manifest.set_modified(now())?;
        }
        Ok(())
    }

    /// Removes what nobody asked for in a while and nothing runs from.
    fn collect(&self) -> io::Result<()> {
        let Inner { config, .. } = &*self.0;
        for entry in fs::read_dir(config.dir.join("manifests"))? {
            let entry = entry?;
            let name = entry.file_name();
            let Some(content) = name.to_str().and_then(|hex| Digest::from_hex(hex).ok()) else {
                continue;
            };
            if age(&fs::File::open(entry.path())?)? <= config.limits.unused {
                continue;
            }
            let tree = fs::File::open(Self::tree(&config.dir, content));
            let free = match &tree {
                Ok(tree) => flock(tree, FlockOperation::NonBlockingLockExclusive).is_ok(),
                Err(_) => true,
            };
            if free {
                self.remove(content)?;
                tracing::info!(bundle = %content, "nobody has used it for long: it is removed");
            }
        }
        Ok(())
    }

    /// Takes a content away, as far as it is there: at once out of sight, then out of the disk.
    fn remove(&self, digest: Digest) -> io::Result<()> {
        let dir = &self.0.config.dir;
        durable::remove(&self.manifest(digest))?;
        let aside = Staging::name(dir)?;
        match fs::rename(Self::tree(dir, digest), &aside) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
            Ok(()) => fs::remove_dir_all(aside),
        }
    }
}

#[async_trait::async_trait]
impl Bundles for BundleStore {
    async fn make(&self, pinned: &Pinned) -> Result<Content, MakeError> {
        let text = serde_json::to_vec(pinned).map_err(passing)?;
        let key = tree::digest(&text).hex();
        let turn = self.turn(&key);
        let _turn = turn.lock().await;
        if let Some(content) = self.known(&key).await? {
            return Ok(content);
        }
        let staging = Staging::new(&self.0.config.dir).map_err(passing)?;
        let Inner { config, fetch, .. } = &*self.0;
        let raw = match pinned {
            Pinned::Binary { url, cmd, sha256 } => {
                binary::make(config, &**fetch, &staging, url, cmd, *sha256).await?
            }
            Pinned::Npx { name, version, integrity, cmd } => {
                npm::make(config, &staging, name, version, integrity, cmd.as_deref()).await?
            }
            Pinned::Uvx { name, version, sha256, cmd } => {
                python::make(config, &staging, name, version, sha256, cmd.as_deref()).await?
            }
        };
        let (this, sources) = (self.clone(), config.dir.join("sources"));
        apart(move || {
            let content = this.keep(&staging, raw)?;
            let text = serde_json::to_vec(&content).map_err(passing)?;
            durable::replace(&sources, &sources.join(key), &text).map_err(passing)?;
            if let Err(error) = this.collect() {
                tracing::warn!(%error, "what nobody uses could not be removed");
            }
            Ok(content)
        })
        .await
    }

    async fn check(&self, content: Digest) -> Result<KeptContent, MakeError> {
        let this = self.clone();
        apart(move || {
            let kept = this.compare(content).map_err(passing)?;
            if kept == KeptContent::Whole {
                this.asked_for(content).map_err(passing)?;
            }
            Ok(kept)
        })
        .await
    }
}

/// Where a bundle is put together. What is left of it goes with this value.
struct Staging {
    dir: PathBuf,
}

impl Staging {
    fn name(within: &Path) -> io::Result<PathBuf> {
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(io::Error::other)?;
        Ok(within.join(format!("{UNFINISHED}{:016x}", u64::from_be_bytes(random))))
    }

    fn new(within: &Path) -> io::Result<Self> {
        let dir = Self::name(within)?;
        fs::create_dir(&dir)?;
        fs::create_dir(dir.join("tree"))?;
        Ok(Self { dir })
    }

    fn tree(&self) -> PathBuf {
        self.dir.join("tree")
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // Renamed it is gone; what cannot be removed now is at the next start.
        drop(fs::remove_dir_all(&self.dir));
    }
}

#[expect(clippy::disallowed_methods, reason = "it is compared with the times of files")]
fn now() -> SystemTime {
    SystemTime::now()
}

/// How long ago a file was written. One of the future is new.
fn age(file: &fs::File) -> io::Result<Duration> {
    let written = file.metadata()?.modified()?;
    Ok(now().duration_since(written).unwrap_or_default())
}

fn passing(error: impl std::fmt::Display) -> MakeError {
    MakeError::Passing(error.to_string())
}

async fn apart<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, MakeError> + Send + 'static,
) -> Result<T, MakeError> {
    tokio::task::spawn_blocking(work).await.map_err(passing)?
}
