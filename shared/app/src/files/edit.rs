//! Change a workspace.

use std::collections::BTreeMap;
use std::ops::Range;

use domain::agent::{Agent, AgentState};
use domain::container::Container;
use domain::limits::Taken;
use domain::workspace::{Cause, Entry, History, MAX_ENTRIES, Manifest, Node, WorkspacePath};
use domain::{AgentId, Digest, Timestamp};
use serde::Serialize;
use store::document::{self, Loaded};
use store::{Expect, Scope, Write, keys};

use super::pack::Packer;
use super::record::Recorded;
use super::{Files, Incoming};
use crate::commit::retry_conflict;
use crate::ports::{Part, Put};
use crate::turn::container_id;
use crate::{Caller, Error};

/// What is to become of a path.
#[derive(Debug)]
pub(super) enum Edit {
    /// It is a file with these bytes.
    File { content: Incoming, range: Range<u64>, executable: bool },
    /// It is a directory; what is in it stays.
    Directory,
    /// It is a symbolic link that says this.
    Link(String),
    /// It is not there, nor anything below it.
    Gone,
}

/// An agent, its container where it has had one, and the history of its workspace.
pub(super) struct Whole {
    pub(super) agent: Loaded<Agent>,
    pub(super) container: Option<Loaded<Container>>,
    pub(super) history: Option<Loaded<History>>,
    /// The manifest of the agent's home, where one is kept.
    pub(super) home: Option<Digest>,
}

impl Whole {
    /// Fails while a rollback or an import is being carried out. Gives way to who removes blobs that
    /// nobody names: what is put at this moment may be one of them.
    pub(super) fn is_settled(&self, now: Timestamp) -> Result<(), Error> {
        settled(self.history.as_ref())?;
        let collecting = self.history.as_ref().and_then(|history| history.value.collecting_until);
        if collecting.is_some_and(|until| now < until) { Err(Error::Conflict) } else { Ok(()) }
    }

    /// Makes a commit depend on the container being as it was read.
    pub(super) fn check_container(&self, scope: Scope) -> Write {
        match &self.container {
            Some(container) => document::check(container),
            None => Write::Check {
                key: keys::container(
                    scope,
                    self.agent.value.container.unwrap_or_else(|| container_id(self.agent.value.id)),
                ),
                expect: Expect::Absent,
            },
        }
    }
}

impl Files<'_> {
    /// An agent with all that says what its workspace is. One read, where it has a container of its own.
    pub(super) async fn whole(&self, scope: Scope, id: AgentId) -> Result<Whole, Error> {
        let keys = [
            keys::agent(scope, id),
            keys::container(scope, container_id(id)),
            keys::history(scope, id),
        ];
        let found = self.0.table().batch_get(&keys).await?;
        let at = |index: usize| found.get(index).and_then(Option::as_ref);
        let agent = at(0).map(document::read::<Agent>).transpose()?;
        let agent = agent.filter(|agent| crate::agents::is_there(&agent.value));
        let agent = agent.ok_or(Error::NotFound("agent"))?;
        agent.value.has_workspace()?;
        let history = at(2).map(document::read).transpose()?;
        // Most agents have a container of their own.
        let container = match agent.value.container {
            Some(other) if other != container_id(id) => {
                self.0.containers().load(scope, other).await?
            }
            Some(_) | None => at(1).map(document::read).transpose()?,
        };
        let home = history.as_ref().and_then(|history: &Loaded<History>| history.value.home);
        Ok(Whole { agent, container, history, home })
    }

    /// Makes `edits`, in order of paths: in the directory, where it is here, and otherwise in a snapshot
    /// that is added, which is refused while a container may have the workspace. Refused, too, while the
    /// workspace is being rolled back or imported into, and where it would be all that an agent may have on
    /// disk. Wakes a paused or archived agent, and starts nothing. One read, one commit; another read and
    /// commit for one that slept.
    pub(super) async fn change<T: Serialize + Copy + Sync>(
        &self,
        caller: &Caller,
        id: AgentId,
        name: &'static str,
        edits: &BTreeMap<WorkspacePath, Edit>,
        answer: T,
    ) -> Result<T, Error> {
        let workspaces = &self.0.ports.workspaces;
        if !workspaces.are_here() {
            let (answer, agent) =
                retry_conflict(self.0, || self.change_stored(caller, id, name, edits, answer))
                    .await?;
            self.wake(caller, &agent).await?;
            return Ok(answer);
        }
        let _turn = workspaces.turn(id).await;
        let (agent, history) = self.load(caller.scope, id).await?;
        settled(history.as_ref())?;
        self.has_room(id, edits).await?;
        for (path, edit) in edits {
            let put = match edit {
                Edit::Directory => Put::Directory,
                Edit::Link(target) => Put::Link(target.clone()),
                Edit::File { content, range, executable } => {
                    let content = content.pieces(range.clone());
                    Put::File { content, executable: *executable }
                }
                Edit::Gone => {
                    if workspaces.remove(id, path).await? {
                        continue;
                    }
                    return Err(Error::NotFound("file"));
                }
            };
            workspaces.put(id, path, put).await?;
        }
        self.0.commit(caller, name, id, Vec::new(), &answer).await?;
        self.wake(caller, &agent.value).await?;
        Ok(answer)
    }

    /// Wakes an agent that sleeps, once its files are changed: who asks for what cannot be wakes nobody.
    pub(super) async fn wake(&self, caller: &Caller, agent: &Agent) -> Result<(), Error> {
        if agent.state == AgentState::Active {
            return Ok(());
        }
        retry_conflict(self.0, || async {
            let agent = self.0.agents().load(caller, agent.id).await?;
            let writes = self.0.agents().hold(caller, &agent)?;
            self.0.commit_own("agent.wake", writes).await
        })
        .await
    }

    /// Fails where the workspace would be all that an agent may have on disk, or more: its next run would
    /// end at the first byte it writes. Walks what is there, where anything is put.
    pub(super) async fn has_room(
        &self,
        id: AgentId,
        edits: &BTreeMap<WorkspacePath, Edit>,
    ) -> Result<(), Error> {
        let put = edits.values().filter(|edit| !matches!(edit, Edit::Gone));
        let sizes = put.map(|edit| match edit {
            Edit::File { range, .. } => range.end - range.start,
            Edit::Directory | Edit::Link(_) | Edit::Gone => 0,
        });
        let put = sizes.fold(Taken::default(), add);
        if put.inodes == 0 {
            return Ok(());
        }
        let part = Part { limit: MAX_ENTRIES, ..Part::default() };
        let there = self.0.ports.workspaces.walk(id, part).await?.found;
        let stays = there.into_iter().filter(|found| !edits.contains_key(&found.path));
        let whole = stays.map(|found| found.taken).fold(put, add);
        let passed = self.0.settings.limits.passed(&whole, &Taken::default());
        passed.map_or(Ok(()), |passed| Err(Error::DiskFull(passed)))
    }

    async fn change_stored<T: Serialize + Copy + Sync>(
        &self,
        caller: &Caller,
        id: AgentId,
        name: &'static str,
        edits: &BTreeMap<WorkspacePath, Edit>,
        answer: T,
    ) -> Result<(T, Agent), Error> {
        let whole = self.whole(caller.scope, id).await?;
        if whole.container.as_ref().is_some_and(|container| container.value.state.may_run()) {
            return Err(Error::WorkspaceInUse);
        }
        whole.is_settled(self.0.now())?;
        let before = self.latest(caller.scope, id, whole.history.as_ref()).await?;
        let after = self.edited(caller.scope, &before, edits).await?;
        let (states, why) = ((&before, &after), (Cause::Edit, None));
        let Recorded { mut writes, .. } =
            self.record(caller.scope, &whole, states, why, &caller.realm.limits).await?;
        writes.push(whole.check_container(caller.scope));
        self.0.commit(caller, name, id, writes, &answer).await?;
        Ok((answer, whole.agent.value))
    }

    /// A workspace that holds `before`, with `edits` made, their bytes in packs.
    pub(super) async fn edited(
        &self,
        scope: Scope,
        before: &Manifest,
        edits: &BTreeMap<WorkspacePath, Edit>,
    ) -> Result<Manifest, Error> {
        let mut after = before.clone();
        let mut packer = Packer::new(self.0, scope, before);
        for (path, edit) in edits {
            let node = match edit {
                Edit::Gone => {
                    remove(&mut after, path)?;
                    continue;
                }
                Edit::Directory => Node::Directory,
                Edit::Link(target) => Node::Link(target.clone()),
                Edit::File { content, range, executable } => {
                    let taken = packer.take(path, content.pieces(range.clone())).await?;
                    let ((digest, size), modified) = (taken, self.0.now());
                    let executable = *executable;
                    Node::File { digest, size, executable, modified, extents: Vec::new() }
                }
            };
            clear_way(&mut after, path, node == Node::Directory)?;
            after.entries.insert(path.clone(), Entry { node, stamp: None });
        }
        packer.place(&mut after).await?;
        Ok(after)
    }
}

/// What is taken with one thing more, of this size.
fn add(taken: Taken, size: u64) -> Taken {
    Taken { disk: taken.disk.saturating_add(size), inodes: taken.inodes + 1, ..taken }
}

/// Removes what is at `path`, and all below it.
fn remove(manifest: &mut Manifest, path: &WorkspacePath) -> Result<(), Error> {
    let before = manifest.entries.len();
    manifest.entries.retain(|other, _| other != path && !other.is_below(path));
    if manifest.entries.len() == before { Err(Error::NotFound("file")) } else { Ok(()) }
}

fn settled(history: Option<&Loaded<History>>) -> Result<(), Error> {
    let restoring = history.is_some_and(|history| history.value.restoring.is_some());
    if restoring { Err(Error::BeingRenewed) } else { Ok(()) }
}

/// Makes room at `path` and makes the directories above it.
fn clear_way(manifest: &mut Manifest, path: &WorkspacePath, directory: bool) -> Result<(), Error> {
    let mut above = path.parent();
    while let Some(parent) = above {
        above = parent.parent();
        match manifest.entries.get(&parent).map(Entry::is_directory) {
            Some(true) => break,
            Some(false) => return Err(Error::InTheWay(parent.to_string())),
            None => {
                manifest.entries.insert(parent, Entry { node: Node::Directory, stamp: None });
            }
        }
    }
    match manifest.entries.get(path) {
        Some(entry) if entry.is_directory() != directory => Err(Error::InTheWay(path.to_string())),
        Some(_) | None => Ok(()),
    }
}
