//! Say how two states of a workspace differ.

use std::time::Duration;

use domain::workspace::{
    Change, Changed, Entry, History, Manifest, Node, Snapshot, Status, WorkspacePath, changes,
};
use domain::{AgentId, SnapshotId};
use futures::StreamExt;
use similar::{ChangeTag, TextDiff};
use store::{Scope, document, keys};
use wire::files::{DiffView, FileDiff};

use super::Files;
use super::source::Source;
use crate::ports::Shelf;
use crate::{Caller, Error};

/// The most files that a diff names.
const NAMED: usize = 1000;

/// The most bytes a file may have to be compared line by line.
const MAX_TEXT: u64 = 256 * 1024;

/// The most bytes of all texts that are shown.
const MAX_SHOWN: usize = 1024 * 1024;

/// How long two texts are compared before the answer need not be the shortest.
const PATIENCE: Duration = Duration::from_millis(200);

/// What a snapshot is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Against {
    /// The snapshot before it: what it brought.
    Parent,
    /// Another snapshot: what has come since that one.
    Snapshot(SnapshotId),
    /// The workspace as it is now: what has come since the snapshot.
    Now,
}

/// A state of a workspace that can be read.
struct State {
    id: Option<SnapshotId>,
    manifest: Manifest,
    source: Source,
}

impl Files<'_> {
    /// How a snapshot differs from what it is compared with. Wakes nothing. One read.
    pub async fn diff(
        &self,
        caller: &Caller,
        agent: AgentId,
        id: SnapshotId,
        against: Against,
    ) -> Result<DiffView, Error> {
        let scope = caller.scope;
        let (one, other) = match against {
            Against::Parent => {
                let key = keys::snapshot(scope, agent, id);
                let snapshot = document::get::<Snapshot>(self.0.table(), &key).await?;
                let snapshot = snapshot.ok_or(Error::NotFound("snapshot"))?.value;
                let before = match snapshot.parent {
                    Some((parent, manifest)) => {
                        let manifest = self.manifest(Shelf::of(scope, agent), manifest).await?;
                        self.stored(scope, Some(parent), manifest)
                    }
                    None => self.stored(scope, None, Manifest::empty(agent)),
                };
                (before, self.state(scope, &snapshot).await?)
            }
            Against::Snapshot(other) => {
                let (snapshot, other) = document::get_both::<Snapshot, Snapshot>(
                    self.0.table(),
                    &keys::snapshot(scope, agent, id),
                    &keys::snapshot(scope, agent, other),
                )
                .await?;
                let (snapshot, other) = snapshot.zip(other).ok_or(Error::NotFound("snapshot"))?;
                (self.state(scope, &other.value).await?, self.state(scope, &snapshot.value).await?)
            }
            Against::Now => {
                let (snapshot, history) = document::get_both::<Snapshot, History>(
                    self.0.table(),
                    &keys::snapshot(scope, agent, id),
                    &keys::history(scope, agent),
                )
                .await?;
                let snapshot = snapshot.ok_or(Error::NotFound("snapshot"))?.value;
                let latest = self.latest(scope, agent, history.as_ref()).await?;
                (self.state(scope, &snapshot).await?, self.present(scope, agent, latest).await?)
            }
        };
        compare(&one, &other).await
    }

    async fn state(&self, scope: Scope, snapshot: &Snapshot) -> Result<State, Error> {
        let whose = Shelf::of(scope, snapshot.agent);
        let manifest = self.manifest(whose, snapshot.manifest).await?;
        Ok(self.stored(scope, Some(snapshot.id), manifest))
    }

    fn stored(self, scope: Scope, id: Option<SnapshotId>, manifest: Manifest) -> State {
        let source = Source::stored(self.0, scope, manifest.clone());
        State { id, manifest, source }
    }

    async fn present(
        &self,
        scope: Scope,
        agent: AgentId,
        latest: Manifest,
    ) -> Result<State, Error> {
        let workspaces = &self.0.ports.workspaces;
        if !workspaces.are_here() {
            return Ok(self.stored(scope, None, latest));
        }
        let manifest = self.look_at_all(agent, &latest).await?;
        let source = Source::Here(std::sync::Arc::clone(workspaces), agent);
        Ok(State { id: None, manifest, source })
    }
}

async fn compare(one: &State, other: &State) -> Result<DiffView, Error> {
    let changes = changes(&one.manifest, &other.manifest);
    let mut view = DiffView {
        from: one.id,
        to: other.id,
        changed: Changed::of(&changes),
        files: Vec::new(),
        truncated: changes.len() > NAMED,
        left_out: other.manifest.left_out.clone(),
    };
    let mut room = MAX_SHOWN;
    for Change { path, status, from } in changes.into_iter().take(NAMED) {
        let mut file = FileDiff {
            from_path: from.clone(),
            status,
            additions: None,
            deletions: None,
            patch: None,
            path,
        };
        let was = from.as_ref().unwrap_or(&file.path);
        let (before, after) = (one.text(was).await?, other.text(&file.path).await?);
        if let (Some(before), Some(after)) = (before, after)
            && status != Status::Renamed
            && before != after
        {
            let (patch, additions, deletions) = unified(&file, &before, &after);
            if patch.len() <= room {
                room -= patch.len();
                (file.additions, file.deletions) = (Some(additions), Some(deletions));
                file.patch = Some(patch);
            } else {
                view.truncated = true;
            }
        }
        view.files.push(file);
    }
    Ok(view)
}

impl State {
    /// What a file or link says, if that is text: nothing, where there is nothing.
    async fn text(&self, path: &WorkspacePath) -> Result<Option<String>, Error> {
        let Some(Entry { node, .. }) = self.manifest.entries.get(path) else {
            return Ok(Some(String::new()));
        };
        match node {
            Node::Directory => return Ok(Some(String::new())),
            Node::Link(target) => return Ok(Some(format!("{target}\n"))),
            Node::File { size, .. } if *size > MAX_TEXT => return Ok(None),
            Node::File { .. } => {}
        }
        // It may have become something else since it was looked at.
        let Ok(Some(opened)) = self.source.open(path).await else { return Ok(None) };
        let mut content = (opened.content)(0..MAX_TEXT);
        let mut bytes = Vec::new();
        while let Some(piece) = content.next().await {
            bytes.extend_from_slice(&piece.map_err(crate::ports::WorkspaceError::from)?);
        }
        Ok(String::from_utf8(bytes).ok().filter(|text| !text.contains('\0')))
    }
}

/// A unified diff, and how many lines came and went.
fn unified(file: &FileDiff, before: &str, after: &str) -> (String, u64, u64) {
    let diff = TextDiff::configure().timeout(PATIENCE).diff_lines(before, after);
    let count = |tag| diff.iter_all_changes().filter(|change| change.tag() == tag).count() as u64;
    let name = |side: &str, absent: bool| {
        // A name may have a line break, and a patch is read line by line.
        let path = file.path.as_str().escape_debug();
        if absent { "/dev/null".to_owned() } else { format!("{side}/{path}") }
    };
    let before = name("a", file.status == Status::Added);
    let after = name("b", file.status == Status::Deleted);
    let patch = diff.unified_diff().context_radius(3).header(&before, &after).to_string();
    (patch, count(ChangeTag::Insert), count(ChangeTag::Delete))
}
