//! What agents leave in their directories.
//!
//! What holds here: where the container does not keep them ([`wire::shim::Boot::fresh`]), an agent's
//! directories are fetched before its first process starts, and once; what became of them is sent when a
//! run has ended, before that is told, and when the shim is asked to stop. One of an agent's sendings is
//! under way at a time. Where they stay, the control plane is asked to look at them before the end of a
//! run is told. So in both homes whatever is known of a run includes what it left.
//!
//! Deliberately absent: sending what agents do between runs, until something ends or stops.

mod asks;
mod pack;
mod unpack;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use domain::workspace::{Extent, Manifest, Pack, WorkspacePath};
use domain::{AgentId, Digest, RunId, SnapshotId};
use futures::{StreamExt, TryStreamExt, stream};
use tokio::sync::{Mutex, mpsc};
use wire::shim::Boot;
use wire::shim::keep::{Answer, Kept, MAX_PIECE, Refusal, Sent, Wanted};

use crate::process::walls::Place;
pub(crate) use asks::Asks;
use pack::{Packed, Surveyed, Tree};

/// How many pieces are under way at once.
const AT_ONCE: usize = 4;

/// What agents fill for themselves again: it is not worth keeping.
const CACHE: &str = ".cache";

/// Why directories were not fetched or not sent.
#[derive(Debug)]
pub(crate) enum Unkept {
    /// The control plane does not want to.
    Refused(Refusal),
    /// It did not work.
    Failed(io::Error),
}

impl std::fmt::Display for Unkept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Refused(refusal) => refusal.fmt(f),
            Self::Failed(error) => error.fmt(f),
        }
    }
}

impl From<io::Error> for Unkept {
    fn from(error: io::Error) -> Self {
        Self::Failed(error)
    }
}

/// What is known to be kept of an agent's directories.
#[derive(Clone, Debug)]
struct Known {
    snapshot: Option<SnapshotId>,
    workspace: Manifest,
    home: Manifest,
}

type Slot = Rc<Mutex<Option<Known>>>;

/// Keeps the directories of agents.
#[derive(Debug, Default)]
pub(crate) struct Keeper {
    asks: Rc<Asks>,
    agents: RefCell<BTreeMap<AgentId, Slot>>,
}

impl Keeper {
    /// The questions it asks.
    pub(crate) fn asks(&self) -> Rc<Asks> {
        Rc::clone(&self.asks)
    }

    fn slot(&self, agent: AgentId) -> Slot {
        Rc::clone(self.agents.borrow_mut().entry(agent).or_default())
    }

    /// Fetches the directories of an agent, unless they are here.
    pub(crate) async fn fetch(&self, boot: &Boot, agent: AgentId) -> Result<(), Unkept> {
        if !boot.fresh {
            return Ok(());
        }
        let slot = self.slot(agent);
        let mut known = slot.lock().await;
        if known.is_none() {
            let place = Place::of(boot, agent)?;
            let kept = self.latest(agent).await?;
            let workspace = self.fill(agent, kept.workspace, &place.workspace, place.uid).await?;
            let home = self.fill(agent, kept.home, &place.home, place.uid).await?;
            *known = Some(Known { snapshot: kept.snapshot, workspace, home });
        }
        Ok(())
    }

    /// Has kept what a run has left in the directories of its agent.
    pub(crate) async fn keep(&self, boot: &Boot, agent: AgentId, run: RunId) -> Result<(), Unkept> {
        if boot.fresh {
            return self.send(boot, agent, Some(run)).await;
        }
        match self.ask(agent, Wanted::Look(run)).await? {
            Answer::Kept(_) => Ok(()),
            Answer::Bytes(_) | Answer::Put(_) | Answer::Refused(_) => Err(unexpected()),
        }
    }

    /// Sends what became of the directories of an agent.
    async fn send(&self, boot: &Boot, agent: AgentId, run: Option<RunId>) -> Result<(), Unkept> {
        let slot = self.slot(agent);
        let mut known = slot.lock().await;
        // What was never fetched has not been touched.
        let Some(before) = known.take() else { return Ok(()) };
        let sent = match self.try_send(boot, agent, run, &before).await {
            // An answer was lost, or somebody else was here: once more, beside what is kept now.
            Err(Unkept::Refused(Refusal::Moved | Refusal::NoSuchBlob)) => {
                match self.relearn(agent).await {
                    Ok(now) => self.try_send(boot, agent, run, &now).await,
                    Err(unkept) => Err(unkept),
                }
            }
            sent => sent,
        };
        match sent {
            Ok(now) => {
                *known = Some(now);
                Ok(())
            }
            Err(unkept) => {
                *known = Some(before);
                Err(unkept)
            }
        }
    }

    /// Sends what became of the directories of all agents, before everything ends.
    pub(crate) async fn send_all(&self, boot: &Boot) {
        if !boot.fresh {
            return;
        }
        let agents: Vec<_> = self.agents.borrow().keys().copied().collect();
        for agent in agents {
            if let Err(why) = self.send(boot, agent, None).await {
                crate::boot::note(&format!("the last of {agent} is not kept: {why}"));
            }
        }
    }

    async fn try_send(
        &self,
        boot: &Boot,
        agent: AgentId,
        run: Option<RunId>,
        before: &Known,
    ) -> Result<Known, Unkept> {
        let place = Place::of(boot, agent)?;
        // Other agents of the container may live below the first one's workspace.
        let others = Path::new(&boot.agents).strip_prefix(&place.workspace).ok();
        let except = others.and_then(|path| WorkspacePath::new(path.to_str()?).ok());
        let tree = |kind, path: PathBuf, except| Tree { agent, kind, path, except };
        let workspace = tree(Pack::Workspace, place.workspace, except);
        let home = tree(Pack::Home, place.home, WorkspacePath::new(CACHE).ok());
        let workspace = self.survey(workspace, &before.workspace).await?;
        let home = self.survey(home, &before.home).await?;
        if workspace.sheet.is_none() && home.sheet.is_none() {
            let snapshot = before.snapshot;
            return Ok(Known { snapshot, workspace: workspace.now, home: home.now });
        }
        let sent =
            Sent { run, after: before.snapshot, workspace: workspace.sheet, home: home.sheet };
        let answer = self.ask(agent, Wanted::Keep(Box::new(sent))).await?;
        let Answer::Kept(Kept { snapshot, .. }) = answer else { return Err(unexpected()) };
        Ok(Known { snapshot, workspace: workspace.now, home: home.now })
    }

    /// Looks at a directory, and has kept what is new in it.
    async fn survey(&self, tree: Tree, before: &Manifest) -> Result<Surveyed, Unkept> {
        let (packs, queue) = mpsc::channel::<Packed>(2);
        let (agent, before) = (tree.agent, before.clone());
        let surveying = tokio::task::spawn_blocking(move || pack::survey(&tree, &before, &packs));
        let queued = stream::unfold(queue, async |mut queue| Some((queue.recv().await?, queue)));
        let sending = queued
            .map(|(digest, pack)| self.put(agent, digest, pack))
            .buffer_unordered(AT_ONCE)
            .try_collect::<()>();
        let sent = sending.await;
        let surveyed = surveying.await.map_err(io::Error::other)?;
        // Where nobody takes the packs, that is why.
        sent?;
        Ok(surveyed?)
    }

    async fn put(&self, agent: AgentId, digest: Digest, pack: Vec<u8>) -> Result<(), Unkept> {
        let text = BASE64_STANDARD.encode(&pack);
        drop(pack);
        let there = self.ask(agent, Wanted::Put(text)).await?;
        if there == Answer::Put(digest) { Ok(()) } else { Err(unexpected()) }
    }

    async fn latest(&self, agent: AgentId) -> Result<Kept, Unkept> {
        let answer = self.ask(agent, Wanted::Latest).await?;
        let Answer::Kept(kept) = answer else { return Err(unexpected()) };
        Ok(kept)
    }

    /// What is kept now, without touching the directories.
    async fn relearn(&self, agent: AgentId) -> Result<Known, Unkept> {
        let kept = self.latest(agent).await?;
        Ok(Known {
            snapshot: kept.snapshot,
            workspace: self.manifest(agent, kept.workspace).await?,
            home: self.manifest(agent, kept.home).await?,
        })
    }

    async fn manifest(&self, agent: AgentId, blob: Option<Extent>) -> Result<Manifest, Unkept> {
        let Some(Extent { blob, length, .. }) = blob else { return Ok(Manifest::empty(agent)) };
        let step = MAX_PIECE as u64;
        let starts = (0..length.div_ceil(step)).map(|number| number * step);
        let reads = starts.map(|offset| Extent { blob, offset, length: step.min(length - offset) });
        let pieces = stream::iter(reads).map(|read| self.read(agent, read)).buffered(AT_ONCE);
        let json: Vec<Vec<u8>> = pieces.try_collect().await?;
        serde_json::from_slice(&json.concat()).map_err(|error| io::Error::other(error).into())
    }

    async fn read(&self, agent: AgentId, read: Extent) -> Result<Vec<u8>, Unkept> {
        let answer = self.ask(agent, Wanted::Read(read)).await?;
        let Answer::Bytes(text) = answer else { return Err(unexpected()) };
        let bytes = BASE64_STANDARD.decode(text).map_err(io::Error::other)?;
        if bytes.len() as u64 != read.length {
            return Err(io::Error::other("a blob is too short").into());
        }
        Ok(bytes)
    }

    /// Makes a directory hold what the manifest in `blob` says.
    async fn fill(
        &self,
        agent: AgentId,
        blob: Option<Extent>,
        path: &Path,
        owner: Option<u32>,
    ) -> Result<Manifest, Unkept> {
        let manifest = self.manifest(agent, blob).await?;
        let reads = unpack::reads(&manifest);
        let (pieces, queue) = mpsc::channel(2);
        let (path, of) = (path.to_owned(), manifest.clone());
        let filling = tokio::task::spawn_blocking(move || unpack::fill(&path, owner, &of, queue));
        let mut fetched = stream::iter(reads).map(|read| self.read(agent, read)).buffered(AT_ONCE);
        let mut failed = None;
        while let Some(piece) = fetched.next().await {
            match piece {
                Ok(piece) => {
                    if pieces.send(piece).await.is_err() {
                        // Who does not take it says why.
                        break;
                    }
                }
                Err(why) => {
                    failed = Some(why);
                    break;
                }
            }
        }
        drop(pieces);
        let filled = filling.await.map_err(io::Error::other)?;
        match failed {
            Some(why) => Err(why),
            None => Ok(filled.map(|()| manifest)?),
        }
    }

    async fn ask(&self, agent: AgentId, what: Wanted) -> Result<Answer, Unkept> {
        match self.asks.ask(agent, what).await {
            Some(Answer::Refused(refusal)) => Err(Unkept::Refused(refusal)),
            Some(answer) => Ok(answer),
            None => Err(io::Error::other("there is no answer").into()),
        }
    }
}

fn unexpected() -> Unkept {
    io::Error::other("the answer is not one to what was asked").into()
}
