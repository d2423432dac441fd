//! Keep what is in an agent's directories, as the shim of its container asks: what it sends of them, where
//! they lie in a container that keeps none, and otherwise what is found in them.
//!
//! What holds here
//! - A shim is believed which start of which container it is, and nothing else. It asks about the
//!   agents of that container, while that start is the present one.
//! - A blob begins with whose it is, so another agent's cannot be read. What a manifest says of bytes
//!   that no manifest before it said is compared with the bytes: where they lie, whose they are, what
//!   they hash to. It can hold no more than any workspace.
//! - Packs come first, then the commit that names them: killed between any two, what is kept is what
//!   was kept before, and the shim sends it again. Asked twice, it is kept once.
//! - The workspace has a history, the home only a present: what nobody needs of the home before is
//!   removed behind the commit.

use std::collections::BTreeSet;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use domain::realm::RealmLimits;
use domain::run::Run;
use domain::workspace::{Cause, Claim, Extent, Flaw, History, Manifest, Pack, Snapshot};
use domain::{AgentId, Digest, RunId};
use futures::{Stream, StreamExt, TryStreamExt, stream};
use sha2::{Digest as _, Sha256};
use store::{Scope, document, keys};
use wire::shim::keep::{Answer, Ask, Kept, MAX_PIECE, Refusal, Sent, Wanted};

use super::Files;
use super::edit::Whole;
use super::snapshot::Taken;
use crate::commit::retry_conflict;
use crate::ports::{BlobError, MAX_BLOB, Shelf};
use crate::shim::ShimCaller;
use crate::turn::container_id;
use crate::{App, Error};

/// How many packs are looked at at once.
const AT_ONCE: usize = 16;

/// Why a shim is not answered as it wants.
#[derive(Debug)]
enum No {
    Refused(Refusal),
    Failed(Error),
}

impl From<Error> for No {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl From<BlobError> for No {
    fn from(error: BlobError) -> Self {
        match error {
            // Another try would find as much.
            BlobError::Damaged(_) => Self::Refused(Refusal::NoSuchBlob),
            BlobError::TooLarge | BlobError::Unavailable(_) => Self::Failed(error.into()),
        }
    }
}

impl From<Refusal> for No {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<Flaw> for No {
    fn from(flaw: Flaw) -> Self {
        Self::Refused(match flaw {
            Flaw::TooLarge => Refusal::TooLarge,
            Flaw::Foreign | Flaw::Misshapen => Refusal::Unfit,
        })
    }
}

impl App {
    /// Answers what a shim asks about an agent's directories. One read; to keep what became of them,
    /// one more, one commit, and of blobs what is new. To look at directories costs what they hold.
    pub async fn shim_asked(&self, shim: ShimCaller, ask: &Ask) -> Result<Answer, Error> {
        let files = self.files();
        let answer = match &ask.what {
            Wanted::Keep(sent) => {
                retry_conflict(self, || async {
                    match files.keep_sent(shim, ask.agent, sent).await {
                        Err(No::Failed(error)) => Err(error),
                        answered => Ok(answered),
                    }
                })
                .await?
            }
            Wanted::Look(run) => files.look(shim, ask.agent, *run).await,
            Wanted::Latest | Wanted::Read(_) | Wanted::Put(_) => {
                files.look_up(shim, ask.agent, &ask.what).await
            }
        };
        match answer {
            Ok(answer) => Ok(answer),
            Err(No::Refused(refusal)) => {
                tracing::warn!(%shim, agent.id = %ask.agent, %refusal, "a shim's question is refused");
                Ok(Answer::Refused(refusal))
            }
            Err(No::Failed(error)) => Err(error),
        }
    }
}

impl Files<'_> {
    async fn look_up(
        &self,
        shim: ShimCaller,
        agent: AgentId,
        wanted: &Wanted,
    ) -> Result<Answer, No> {
        let (blobs, owner) = (&self.0.ports.blobs, Shelf::of(shim.scope(), agent));
        let whole = self.of_shim(shim, agent).await?;
        Ok(match wanted {
            Wanted::Read(Extent { blob, offset, length }) => {
                let id = (*blob).into();
                let beginning = blobs.get_part(owner, id, 0..64).await?;
                let own = beginning.is_some_and(|beginning| Pack::is_of(agent, &beginning));
                let length = (*length).min(MAX_PIECE as u64);
                let range = *offset..offset.saturating_add(length);
                let bytes = if own { blobs.get_part(owner, id, range).await? } else { None };
                let bytes = bytes.ok_or(Refusal::NoSuchBlob)?;
                Answer::Bytes(BASE64_STANDARD.encode(bytes))
            }
            Wanted::Put(pack) => {
                let pack = BASE64_STANDARD.decode(pack).map_err(|_| Refusal::Unfit)?;
                let own = [Pack::Workspace, Pack::Home, Pack::Sheet].map(|kind| kind.header(agent));
                if pack.len() > MAX_PIECE || !own.iter().any(|header| pack.starts_with(header)) {
                    return Err(Refusal::Unfit.into());
                }
                Answer::Put(blobs.put(owner, pack).await?.into())
            }
            Wanted::Latest | Wanted::Keep(_) | Wanted::Look(_) => {
                let history = whole.history.as_ref().map(|history| &history.value);
                let history = history.map(|history| (&history.latest, history.home));
                Answer::Kept(self.kept(owner, history).await?)
            }
        })
    }

    /// Looks at what a run has left where it lies. Who asks waits with the run's end for it, so what does
    /// not work is not tried again.
    async fn look(&self, shim: ShimCaller, agent: AgentId, run: RunId) -> Result<Answer, No> {
        if !self.0.ports.workspaces.are_here() {
            return Err(Refusal::Unfit.into());
        }
        self.of_shim(shim, agent).await?;
        let run = self.run_of(shim.scope(), agent, Some(run)).await?.ok_or(Refusal::Stale)?;
        match self.after_run(shim.scope(), agent, run).await {
            Ok(snapshot) => Ok(Answer::Kept(Kept { snapshot, ..Kept::default() })),
            Err(Error::WorkspaceTooLarge) => Err(Refusal::TooLarge.into()),
            Err(error) => {
                tracing::warn!(%shim, agent.id = %agent, %error, "a workspace was not looked at");
                Err(Refusal::Unread.into())
            }
        }
    }

    /// An agent that is in the container of this shim, while its start is the present one.
    async fn of_shim(&self, shim: ShimCaller, agent: AgentId) -> Result<Whole, No> {
        let whole = match self.whole(shim.scope(), agent).await {
            Err(Error::NotFound(_) | Error::Reclaimed(_)) => return Err(Refusal::Stale.into()),
            whole => whole?,
        };
        let place = whole.agent.value.container.unwrap_or_else(|| container_id(agent));
        let present = whole.container.as_ref().is_some_and(|container| {
            container.value.generation == shim.generation() && container.value.state.may_run()
        });
        if present && place == shim.container() { Ok(whole) } else { Err(Refusal::Stale.into()) }
    }

    async fn kept(
        &self,
        owner: Shelf,
        history: Option<(&Snapshot, Option<Digest>)>,
    ) -> Result<Kept, Error> {
        let Some((latest, home)) = history else { return Ok(Kept::default()) };
        Ok(Kept {
            snapshot: Some(latest.id),
            workspace: Some(self.extent(owner, latest.manifest).await?),
            home: match home {
                Some(home) => Some(self.extent(owner, home).await?),
                None => None,
            },
        })
    }

    async fn extent(&self, owner: Shelf, blob: Digest) -> Result<Extent, Error> {
        let length = self.0.ports.blobs.size(owner, blob.into()).await?;
        let length = length.ok_or(Error::Bug("a snapshot's manifest is gone"))?;
        Ok(Extent { blob, offset: 0, length })
    }

    async fn keep_sent(&self, shim: ShimCaller, agent: AgentId, sent: &Sent) -> Result<Answer, No> {
        let (app, scope) = (self.0, shim.scope());
        let owner = Shelf::of(scope, agent);
        let mut whole = self.of_shim(shim, agent).await?;
        whole.is_settled(app.now())?;
        let before = self.latest(scope, agent, whole.history.as_ref()).await?;
        let home_before = match whole.home {
            Some(home) => self.manifest(owner, home).await?,
            None => Manifest::empty(agent),
        };
        let now = match &sent.workspace {
            Some(sheet) => self.believe(owner, Pack::Workspace, sheet, &before).await?,
            None => before.clone(),
        };
        let home = match &sent.home {
            Some(sheet) => self.believe(owner, Pack::Home, sheet, &home_before).await?,
            None => home_before.clone(),
        };
        let known = whole.home;
        if sent.home.is_some() && !home.same(&home_before) {
            let json =
                serde_json::to_vec(&home).map_err(|_| Error::Bug("a manifest serialises"))?;
            whole.home = Some(app.ports.blobs.put(owner, json).await?.into());
        }
        let run = self.run_of(scope, agent, sent.run).await?;
        let cause = if run.is_some() { Cause::Run } else { Cause::Stop };
        let taken = Taken { whole, before, now };
        let latest = taken.whole.history.as_ref().map(|history| history.value.latest.id);
        let news = taken.is_news() || taken.whole.home != known;
        if news && latest != sent.after {
            return Err(Refusal::Moved.into());
        }
        let limits =
            if taken.is_news() { self.limits(scope).await? } else { RealmLimits::default() };
        let (latest, mut writes) = match self.keep(scope, &taken, (cause, run), &limits).await {
            Err(Error::WorkspaceTooLarge) => return Err(Refusal::TooLarge.into()),
            kept => kept?,
        };
        let home_now = taken.whole.home;
        if let Some(before) = taken.whole.history.as_ref().filter(|_| writes.is_empty() && news) {
            let history = History { home: home_now, ..before.value.clone() };
            writes.push(document::put(&history, before.expect()));
            writes.push(document::check(&taken.whole.agent));
        }
        if !writes.is_empty() {
            writes.push(taken.whole.check_container(scope));
            app.commit_own("snapshot.sent", writes).await?;
        }
        // Nobody else has what only the home before had, or what brought the manifests.
        let mut unneeded: BTreeSet<Digest> = BTreeSet::new();
        for sheet in [&sent.workspace, &sent.home].into_iter().flatten() {
            unneeded.extend(sheet.iter().map(|extent| extent.blob));
        }
        if home_now != known {
            let packs = home_before.blobs();
            // Where it has no packs, a snapshot may have the same manifest.
            unneeded.extend(known.filter(|_| !packs.is_empty()));
            unneeded.extend(packs);
        }
        let needed = home.blobs().into_iter().chain(taken.now.blobs()).chain(home_now);
        for blob in needed.chain([latest.manifest]) {
            unneeded.remove(&blob);
        }
        for blob in unneeded {
            app.ports.blobs.delete(owner, blob.into()).await?;
        }
        Ok(Answer::Kept(self.kept(owner, Some((&latest, home_now))).await?))
    }

    /// The run, if it is one of this agent.
    async fn run_of(
        &self,
        scope: Scope,
        agent: AgentId,
        run: Option<RunId>,
    ) -> Result<Option<RunId>, Error> {
        let Some(id) = run else { return Ok(None) };
        let run = document::get::<Run>(self.0.table(), &keys::run(scope, id)).await?;
        Ok(run.filter(|run| run.value.agent == agent).map(|_| id))
    }

    /// The manifest that lies in these packs, with all that it says.
    async fn believe(
        &self,
        owner: Shelf,
        files: Pack,
        sheet: &[Extent],
        before: &Manifest,
    ) -> Result<Manifest, No> {
        let size = sheet.iter().map(|extent| extent.length).fold(0_u64, u64::saturating_add);
        if size > MAX_BLOB as u64 {
            return Err(Refusal::TooLarge.into());
        }
        let (agent, mut json) = (owner.agent(), Vec::new());
        let header = Pack::Sheet.header(agent);
        let mut pieces = std::pin::pin!(self.pieces(owner, header, sheet));
        while let Some(piece) = pieces.next().await {
            json.extend_from_slice(&piece?);
        }
        let manifest: Manifest = serde_json::from_slice(&json).map_err(|_| Refusal::Unfit)?;
        let claims = manifest.claims(agent, before)?;
        let extents: Vec<Extent> = claims.iter().flat_map(|claim| claim.extents).copied().collect();
        let mut pieces = std::pin::pin!(self.pieces(owner, files.header(agent), &extents));
        for Claim { digest, extents } in claims {
            let mut hash = Sha256::new();
            for _ in extents {
                hash.update(pieces.next().await.ok_or(Refusal::Unfit)??);
            }
            if Digest::new(hash.finalize().into()) != digest {
                return Err(Refusal::Unfit.into());
            }
        }
        Ok(manifest)
    }

    /// The bytes of `extents`, one after the other, each of a pack that begins with `header`. A pack is
    /// read once where its extents stand together.
    fn pieces(
        self,
        owner: Shelf,
        header: Vec<u8>,
        extents: &[Extent],
    ) -> impl Stream<Item = Result<Bytes, No>> + use<> {
        let mut together: Vec<(Digest, Vec<Extent>)> = Vec::new();
        for extent in extents {
            match together.last_mut() {
                Some((blob, wanted)) if *blob == extent.blob => wanted.push(*extent),
                _ => together.push((extent.blob, vec![*extent])),
            }
        }
        let blobs = std::sync::Arc::clone(&self.0.ports.blobs);
        stream::iter(together)
            .map(move |(blob, wanted)| {
                let (blobs, header) = (std::sync::Arc::clone(&blobs), header.clone());
                async move {
                    let pack = blobs.get(owner, blob.into()).await?;
                    let pack = Bytes::from(pack.ok_or(Refusal::NoSuchBlob)?);
                    if !pack.starts_with(&header) {
                        return Err(No::from(Refusal::NoSuchBlob));
                    }
                    let cut = wanted.into_iter().map(move |Extent { offset, length, .. }| {
                        let end = offset.checked_add(length).ok_or(Refusal::Unfit)?;
                        let place = |at: u64| usize::try_from(at).map_err(|_| Refusal::Unfit);
                        let range = place(offset)?..place(end)?;
                        if range.start < header.len() || range.end > pack.len() {
                            return Err(No::from(Refusal::Unfit));
                        }
                        Ok(pack.slice(range))
                    });
                    Ok(stream::iter(cut))
                }
            })
            .buffered(AT_ONCE)
            .try_flatten()
    }
}
