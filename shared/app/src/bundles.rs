//! Bundles: asked for, resolved outside the request, verified, found again.
//!
//! What holds here: a bundle's id follows from what was asked for, so asking twice is asking once. An
//! errand pins it (the exact version and the digest that its source names) and has the platform make
//! and keep its files. Where making fails in passing it is tried again; where it fails for good the
//! bundle says why, with a code, and the next who asks tries again.
//!
//! For use cases that start something: `Bundles::see_to` says whether the bundle of an agent of the
//! catalog is ready, and sees that it becomes so.

use std::time::Duration;

use domain::agent::AgentSpec;
use domain::bundle::{
    Bundle, BundleEvent, BundleFault, BundleLifecycle, BundleState, Content, NoSource, Pinned,
    Source, named,
};
use domain::due::Errand;
use domain::realm::Realm;
use domain::registry::package::Wanted;
use domain::registry::{Listed, Platform, Reference};
use domain::text::RegistryId;
use domain::text::Version;
use domain::{Digest, Machine, Timestamp};
use serde::Deserialize;
use store::bundle::Made;
use store::document::{self, Loaded};
use store::{Expect, Scope, Write, keys};
use wire::Page;
use wire::bundle::{BundleView, NewBundle};

use crate::agents::{Paging, page};
use crate::commit::retry_conflict;
use crate::errands::Outcome;
use crate::plans::digest_of;
use crate::ports::{FetchError, FetchRequest, KeptContent, MakeError};
use crate::{App, Caller, Error};

/// How often making a bundle is tried before it has failed.
const TRIES: u32 = 4;

/// The most bytes of what an index says of a package.
const MAX_METADATA: u64 = 16 * 1024 * 1024;

/// The longest an index may take to say it.
const TIMEOUT: Duration = Duration::from_secs(20);

/// The use cases about bundles.
#[derive(Clone, Copy, Debug)]
pub struct Bundles<'a>(&'a App);

impl App {
    /// The use cases about bundles.
    pub const fn bundles(&self) -> Bundles<'_> {
        Bundles(self)
    }
}

/// How it stands with the bundle that a start needs.
#[derive(Clone, Debug)]
pub(crate) enum Seen {
    /// Its files are there, verified.
    Ready(Box<Bundle>),
    /// Somebody is seeing to it.
    Wait,
    /// It cannot be had.
    Failed(BundleFault),
}

impl Bundles<'_> {
    /// Asks for a bundle. One that is there is found, one that failed is tried again. Two reads, one
    /// commit; the answer comes before anything is downloaded.
    pub async fn ask(&self, caller: &Caller, new: NewBundle) -> Result<BundleView, Error> {
        let platform = match new.platform {
            Some(platform) => platform,
            None => App::platform()?,
        };
        if !platform.runs_here() {
            let detail = "must be linux: agents run on nothing else".to_owned();
            return Err(Error::Invalid { field: "platform", detail });
        }
        let listed = self.0.registry().listed(caller.scope, &new.registry_agent).await?;
        let choice = Choice { version: new.version.as_ref(), platform, kind: new.distribution };
        let asked = self.choose(&caller.realm, &new.registry_agent, &listed, &choice)?;
        retry_conflict(self.0, || async {
            let key = keys::bundle(caller.scope, asked.id);
            let before = document::get::<Bundle>(self.0.table(), &key).await?;
            let (bundle, writes) = self.begin(before, asked.clone(), BundleEvent::Ask)?;
            let view = BundleView::from(&bundle);
            self.0.commit(caller, "bundle.ask", bundle.id, writes, &view).await?;
            Ok(view)
        })
        .await
    }

    /// A page of the realm's bundles, by their ids. One read.
    pub async fn list(&self, caller: &Caller, paging: Paging) -> Result<Page<BundleView>, Error> {
        let query = paging.query(keys::bundles(caller.scope))?;
        let listed = document::list::<Bundle>(self.0.table(), query).await?;
        Ok(page(listed.items.iter().map(BundleView::from), listed.next.as_ref()))
    }

    /// One bundle, by its id or the digest of its files. One read.
    pub async fn get(&self, caller: &Caller, digest: Digest) -> Result<BundleView, Error> {
        let (asked, made) = document::get_both::<Bundle, Made>(
            self.0.table(),
            &keys::bundle(caller.scope, digest),
            &keys::made_bundle(caller.scope, digest),
        )
        .await?;
        let bundle = asked.map(|asked| asked.value).or_else(|| made.map(|made| made.value.0));
        bundle.as_ref().map(BundleView::from).ok_or(Error::NotFound("bundle"))
    }

    /// How it stands with the bundle of an agent's `registryAgent`, which is seen to where it is not
    /// there. One that failed before `since` is tried again. Two reads, and where there is something
    /// to begin one commit.
    pub(crate) async fn see_to(
        &self,
        scope: Scope,
        realm: &Realm,
        spec: &AgentSpec,
        since: Timestamp,
    ) -> Result<Option<Seen>, Error> {
        let Some(reference) = &spec.registry_agent else { return Ok(None) };
        let fault = |code: &str, detail: String| {
            Ok(Some(Seen::Failed(BundleFault { code: code.to_owned(), detail })))
        };
        let listed = match self.0.registry().listed(scope, &reference.id).await {
            Ok(listed) => listed,
            Err(Error::NotFound(_)) => {
                return fault(
                    "not_found",
                    format!("there is no `{}` in the catalog", reference.id),
                );
            }
            Err(error) => return Err(error),
        };
        let asked = match self.meant(realm, reference, &listed) {
            Ok(asked) => asked,
            Err(error @ (Error::NotFound(_) | Error::Invalid { .. })) => {
                return fault("not_found", error.to_string());
            }
            Err(Error::Policy(why)) => return fault("policy_refused", why.to_owned()),
            Err(error) => return Err(error),
        };
        let key = keys::bundle(scope, asked.id);
        let before = document::get::<Bundle>(self.0.table(), &key).await?;
        let event = match &before {
            None => BundleEvent::Ask,
            Some(bundle) => match (bundle.value.state, &bundle.value.content) {
                (BundleState::Resolving, _) => return Ok(Some(Seen::Wait)),
                (BundleState::Failed, _) if bundle.value.updated_at >= since => {
                    let fault = bundle.value.fault.clone();
                    return Ok(Some(Seen::Failed(fault.unwrap_or_else(unknown))));
                }
                (BundleState::Failed, _) => BundleEvent::Ask,
                (BundleState::Ready, None) => BundleEvent::Spoil,
                (BundleState::Ready, Some(content)) => {
                    match self.0.ports.bundles.check(content.digest).await {
                        Ok(KeptContent::Whole) => {
                            return Ok(Some(Seen::Ready(Box::new(bundle.value.clone()))));
                        }
                        Ok(KeptContent::Gone | KeptContent::Damaged) => {
                            tracing::warn!(bundle = %content.digest, "a bundle is made again");
                            BundleEvent::Spoil
                        }
                        Err(error) => return Err(Error::Unavailable(Box::new(error))),
                    }
                }
            },
        };
        let (_, writes) = self.begin(before, asked, event)?;
        match self.0.commit_own("bundle.begin", writes).await {
            Ok(()) | Err(Error::Conflict) => Ok(Some(Seen::Wait)),
            Err(error) => Err(error),
        }
    }

    /// The bundle that an agent starts from, if it is ready.
    pub(crate) async fn ready(
        &self,
        scope: Scope,
        spec: &AgentSpec,
    ) -> Result<Option<Bundle>, Error> {
        let realm = document::get::<Realm>(self.0.table(), &keys::realm(scope)).await?;
        let realm = realm.ok_or(Error::NotFound("realm"))?.value;
        match self.see_to(scope, &realm, spec, Timestamp::default()).await? {
            Some(Seen::Ready(bundle)) => Ok(Some(*bundle)),
            Some(Seen::Wait | Seen::Failed(_)) | None => Ok(None),
        }
    }

    /// Fails where `spec` is of an agent of the catalog that cannot be had: there is none, it is not made
    /// for this installation, or the realm's policy refuses it. One read, of one of the catalog.
    pub(crate) async fn obtainable(&self, caller: &Caller, spec: &AgentSpec) -> Result<(), Error> {
        let Some(reference) = &spec.registry_agent else { return Ok(()) };
        let listed = self.0.registry().listed(caller.scope, &reference.id).await?;
        self.would_be(caller, reference, &listed)
    }

    /// The same of an agent that the catalog has, or is to have. Reads nothing.
    pub(crate) fn would_be(
        self,
        caller: &Caller,
        reference: &Reference,
        listed: &Listed,
    ) -> Result<(), Error> {
        match self.meant(&caller.realm, reference, listed) {
            Err(Error::Invalid { detail, .. }) => {
                Err(Error::Invalid { field: "registryAgent", detail })
            }
            other => other.map(drop),
        }
    }

    /// The bundle that a reference means here.
    fn meant(self, realm: &Realm, reference: &Reference, listed: &Listed) -> Result<Bundle, Error> {
        let platform = App::platform()?;
        let choice = Choice { version: reference.version.as_ref(), platform, kind: None };
        self.choose(realm, &reference.id, listed, &choice)
    }

    /// The bundle that is meant, as if it were asked for for the first time.
    fn choose(
        self,
        realm: &Realm,
        id: &RegistryId,
        listed: &Listed,
        choice: &Choice<'_>,
    ) -> Result<Bundle, Error> {
        let entry = listed
            .entry(choice.version)
            .ok_or(Error::NotFound("version of the agent in the catalog"))?;
        if listed.realm.is_some() && !realm.policy.manual_agents {
            return Err(Error::Policy("the realm's policy allows agents of the registry only"));
        }
        let unpinned = realm.policy.unpinned_packages;
        let source = Source::choose(&entry.distribution, choice.platform, choice.kind, unpinned);
        let source = source.map_err(|error| match error {
            NoSource::Unpinned(_) => {
                Error::Policy("the realm's policy refuses packages without an exact version")
            }
            NoSource::Platform { .. } | NoSource::Package(..) => {
                Error::Invalid { field: "platform", detail: error.to_string() }
            }
        })?;
        if let Source::Binary(binary) = &source
            && binary.sha256.is_none()
            && !realm.policy.undigested_binaries
        {
            return Err(Error::Policy("the realm's policy refuses downloads without a digest"));
        }
        let now = self.0.now();
        Ok(Bundle {
            id: digest_of(&(realm.id, id, &entry.version, choice.platform, &source)),
            realm: realm.id,
            agent: id.clone(),
            version: entry.version.clone(),
            platform: choice.platform,
            source,
            state: BundleState::Resolving,
            pinned: None,
            content: None,
            fault: None,
            round: 0,
            created_at: now,
            updated_at: now,
        })
    }

    /// What a bundle is once `event` has happened, and the writes that make it so.
    fn begin(
        self,
        before: Option<Loaded<Bundle>>,
        asked: Bundle,
        event: BundleEvent,
    ) -> Result<(Bundle, Vec<Write>), Error> {
        let now = self.0.now();
        let (mut bundle, expect) = match before {
            None => (asked, Expect::Absent),
            Some(before) => {
                let expect = before.expect();
                let state = BundleLifecycle::step(before.value.state, event)?;
                if state == before.value.state {
                    // It is there, or somebody makes it.
                    let same = vec![document::check(&before)];
                    return Ok((before.value, same));
                }
                (Bundle { state, ..before.value }, expect)
            }
        };
        bundle.round += 1;
        bundle.fault = None;
        bundle.updated_at = now;
        let errand = Errand::Resolve { bundle: bundle.id, round: bundle.round };
        let errand = store::due::put(&self.0.due(bundle.realm, errand, now));
        let put = document::put(&bundle, expect);
        Ok((bundle, vec![put, errand]))
    }

    /// Makes a bundle that is being resolved. However often it is tried, what comes of it is the same.
    pub(crate) async fn resolve(
        &self,
        scope: Scope,
        id: Digest,
        round: u32,
        attempt: u32,
    ) -> Result<Outcome, Error> {
        let app = self.0;
        let key = keys::bundle(scope, id);
        let Some(before) = document::get::<Bundle>(app.table(), &key).await? else {
            return Ok(Outcome::Done);
        };
        if before.value.round != round || before.value.state != BundleState::Resolving {
            return Ok(Outcome::Done);
        }
        let (pinned, made) = match self.pin(&before.value.source).await {
            Ok(pinned) => {
                let made = app.ports.bundles.make(&pinned).await;
                (Some(pinned), made)
            }
            Err(error) => (None, Err(error)),
        };
        let (event, content, fault) = match made {
            Ok(content) => (BundleEvent::Made, Some(content), None),
            Err(MakeError::Failed(fault)) => (BundleEvent::Fail, None, Some(fault)),
            Err(error @ MakeError::Passing(_)) if attempt < TRIES => {
                return Err(Error::Unavailable(Box::new(error)));
            }
            Err(MakeError::Passing(detail)) => {
                let code = "unavailable".to_owned();
                (BundleEvent::Fail, None, Some(BundleFault { code, detail }))
            }
        };
        self.settle(scope, &before, event, pinned, content, fault).await?;
        Ok(Outcome::Done)
    }

    async fn settle(
        &self,
        scope: Scope,
        before: &Loaded<Bundle>,
        event: BundleEvent,
        pinned: Option<Pinned>,
        content: Option<Content>,
        fault: Option<BundleFault>,
    ) -> Result<(), Error> {
        let app = self.0;
        let state = BundleLifecycle::step(before.value.state, event)?;
        let updated_at = app.now();
        let bundle = Bundle { state, pinned, content, fault, updated_at, ..before.value.clone() };
        let mut writes = vec![document::put(&bundle, before.expect())];
        if let Some(content) = &bundle.content {
            let key = keys::made_bundle(scope, content.digest);
            let there = document::get::<Made>(app.table(), &key).await?;
            let expect = there.as_ref().map_or(Expect::Absent, Loaded::expect);
            writes.push(document::put(&Made(bundle.clone()), expect));
        }
        match app.commit_own("bundle.settle", writes).await {
            // Another scheduler took the errand over and has seen the same.
            Err(Error::Conflict) => Ok(()),
            done => done,
        }
    }

    /// What exactly is to be downloaded.
    async fn pin(&self, source: &Source) -> Result<Pinned, MakeError> {
        let kind = source.kind();
        let (package, cmd) = match source {
            Source::Binary(binary) => {
                let sha256 = binary.sha256.as_deref().map(Digest::from_hex).transpose();
                let sha256 =
                    sha256.map_err(|error| MakeError::failed("not_found", error.to_string()))?;
                let (url, cmd) = (binary.archive.clone(), binary.cmd.as_str().to_owned());
                return Ok(Pinned::Binary { url, cmd, sha256 });
            }
            Source::Npx(package) | Source::Uvx(package) => {
                (&package.package, package.cmd.as_ref().map(|cmd| cmd.as_str().to_owned()))
            }
        };
        let (name, wanted) = named(kind, package)
            .map_err(|error| MakeError::failed("not_found", format!("`{package}` {error}")))?;
        if matches!(source, Source::Npx(_)) {
            self.pin_npm(name, wanted, cmd).await
        } else {
            self.pin_pypi(name, wanted, cmd).await
        }
    }

    async fn pin_npm(
        &self,
        name: String,
        wanted: Wanted,
        cmd: Option<String>,
    ) -> Result<Pinned, MakeError> {
        #[derive(Deserialize)]
        struct Manifest {
            version: String,
            dist: Dist,
        }
        #[derive(Deserialize)]
        struct Dist {
            #[serde(default)]
            integrity: String,
        }
        let version = match wanted {
            Wanted::Exactly(version) => version,
            Wanted::Newest => "latest".to_owned(),
        };
        let base = &self.0.settings.sources.npm;
        let url = format!("{base}/{}/{version}", name.replace('/', "%2f"));
        let Manifest { version, dist } = self.metadata(&url).await?;
        if !dist.integrity.starts_with("sha512-") {
            let detail = format!("the registry names no SHA-512 of {name}@{version}");
            return Err(MakeError::failed("not_found", detail));
        }
        Ok(Pinned::Npx { name, version, integrity: dist.integrity, cmd })
    }

    async fn pin_pypi(
        &self,
        name: String,
        wanted: Wanted,
        cmd: Option<String>,
    ) -> Result<Pinned, MakeError> {
        #[derive(Deserialize)]
        struct Project {
            info: Info,
            urls: Vec<File>,
        }
        #[derive(Deserialize)]
        struct Info {
            version: String,
        }
        #[derive(Deserialize)]
        struct File {
            digests: Digests,
        }
        #[derive(Deserialize)]
        struct Digests {
            sha256: String,
        }
        let base = &self.0.settings.sources.pypi;
        let url = match wanted {
            Wanted::Exactly(version) => format!("{base}/pypi/{name}/{version}/json"),
            Wanted::Newest => format!("{base}/pypi/{name}/json"),
        };
        let Project { info, urls } = self.metadata(&url).await?;
        let sha256: Vec<Digest> =
            urls.iter().filter_map(|file| Digest::from_hex(&file.digests.sha256).ok()).collect();
        if sha256.is_empty() {
            let detail = format!("the index has no files of {name} {}", info.version);
            return Err(MakeError::failed("not_found", detail));
        }
        Ok(Pinned::Uvx { name, version: info.version, sha256, cmd })
    }

    async fn metadata<T: for<'de> Deserialize<'de>>(&self, url: &str) -> Result<T, MakeError> {
        let mut body = Vec::new();
        let request = FetchRequest {
            url: url.to_owned(),
            etag: None,
            accept: "application/json",
            limit: MAX_METADATA,
            timeout: TIMEOUT,
        };
        self.0.ports.fetch.fetch(&request, &mut body).await.map_err(|error| at(url, &error))?;
        serde_json::from_slice(&body)
            .map_err(|error| MakeError::Passing(format!("{url}: not what an index says: {error}")))
    }
}

impl App {
    /// What agents of this installation run on.
    pub(crate) fn platform() -> Result<Platform, Error> {
        Platform::linux(std::env::consts::ARCH)
            .map_err(|_| Error::Bug("a processor without a name"))
    }
}

/// What is wanted of an agent of the catalog.
struct Choice<'a> {
    version: Option<&'a Version>,
    platform: Platform,
    kind: Option<domain::bundle::Kind>,
}

fn unknown() -> BundleFault {
    BundleFault { code: "unavailable".to_owned(), detail: "it could not be made".to_owned() }
}

/// What a download that did not come means for the bundle.
pub fn at(url: &str, error: &FetchError) -> MakeError {
    let detail = format!("{url}: {error}");
    match error {
        FetchError::Forbidden(_) => MakeError::failed("forbidden_address", detail),
        FetchError::NotFound(_) => MakeError::failed("not_found", detail),
        FetchError::TooLarge(_) => MakeError::failed("too_large", detail),
        FetchError::Status(status) if *status < 500 && *status != 429 => {
            MakeError::failed("not_found", detail)
        }
        FetchError::Status(_)
        | FetchError::TimedOut(_)
        | FetchError::Unavailable(_)
        | FetchError::Sink(_) => MakeError::Passing(detail),
    }
}
