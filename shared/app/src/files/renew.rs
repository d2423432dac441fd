//! Make a workspace something else, as a whole.
//!
//! It is decided by one commit: what was there before has a snapshot, the history ends with one of what is
//! to be, and where the workspace is a directory, it is [`Restoring`]. The directory follows: at once, and
//! where that fails or nobody lives to do it, by an errand, which looks at the directory as it is and does
//! the rest. Until it is done no prompt reaches the agent and nobody else changes files; a prompt that came
//! before is a run in flight, which that commit rests on there being none of. So a run finds all of it or
//! nothing, whatever fails or is killed.

use std::time::Duration;

use domain::AgentId;
use domain::agent::Agent;
use domain::container::Container;
use domain::due::Errand;
use domain::workspace::{History, Manifest, Node, Renewal, Restoring, Snapshot, WorkspacePath};
use store::document::{self, Loaded};
use store::{Scope, Write};

use super::Files;
use super::edit::Whole;
use super::pack::Unpacker;
use super::snapshot::Taken;
use crate::commit::retry_conflict;
use crate::ports::{Put, Shelf};
use crate::{Caller, Error};

/// How long a directory may refuse to become what it is to be before it is left as it is.
const PATIENCE: Duration = Duration::from_mins(10);

/// The most sessions that are told at once that their prompt may go on. The others look for themselves.
const TOLD: usize = 80;

/// What was decided.
pub(super) struct Decided {
    pub(super) agent: Agent,
    pub(super) now: Manifest,
    pub(super) after: Manifest,
}

impl Files<'_> {
    /// What is there, for who decides what all of it becomes. Carries on what was decided before. Fails
    /// while a run is in flight.
    pub(super) async fn grasp(&self, scope: Scope, agent: AgentId) -> Result<Taken, Error> {
        let mut taken = self.take(scope, agent).await?;
        match taken.whole.is_settled(self.0.now()) {
            Err(Error::BeingRenewed) => {
                // What cannot be done must not be in the way of what can.
                if let Err(error) = self.carry_on(scope, &taken.whole).await {
                    tracing::warn!(agent.id = %agent, %error, "what was decided gives way to something else");
                }
                taken = self.take(scope, agent).await?;
            }
            settled => settled?,
        }
        let busy = |container: &Loaded<Container>| container.value.sessions_of(agent).len();
        let runs = taken.whole.container.as_ref().map_or(0, busy);
        if runs > 0 { Err(Error::RunsInFlight(runs)) } else { Ok(taken) }
    }

    /// The snapshot of what is to be, and the writes that decide it. They rest on there being no run in
    /// flight.
    pub(super) async fn decide(
        &self,
        caller: &Caller,
        taken: &Taken,
        after: &Manifest,
        what: Renewal,
    ) -> Result<(Snapshot, Vec<Write>), Error> {
        let (app, scope, limits) = (self.0, caller.scope, &caller.realm.limits);
        let (whole, agent) = (&taken.whole, after.agent);
        let (cause_before, cause) = what.causes();
        let latest = whole.history.as_ref().map(|history| &history.value.latest);
        let mut before = None;
        if taken.is_news() && !(taken.now.entries.is_empty() && latest.is_none()) {
            let (states, why) = ((&taken.before, &taken.now), (cause_before, None));
            before = Some(self.picture(scope, latest, states, why, limits).await?);
        }
        let (states, why) = ((&taken.now, after), (cause, None));
        let parent = before.as_ref().or(latest);
        let snapshot = self.picture(scope, parent, states, why, limits).await?;
        let (now, mut writes) = (app.now(), Vec::new());
        let restoring = app.ports.workspaces.are_here().then(|| {
            writes.push(store::due::put(&app.due(scope.realm(), Errand::Restore { agent }, now)));
            Restoring { what, by: caller.key, since: now, until: now.after(PATIENCE) }
        });
        let added: Vec<_> = before.iter().chain([&snapshot]).collect();
        writes.extend(self.ends_with(scope, whole, &added, restoring, limits));
        writes.push(whole.check_container(scope));
        Ok((snapshot, writes))
    }

    /// Carries out what was decided, for who has the directory's turn.
    pub(super) async fn fulfil(&self, caller: &Caller, decided: &Decided) -> Result<(), Error> {
        self.wake(caller, &decided.agent).await?;
        if self.0.ports.workspaces.are_here() {
            self.apply(caller.scope, &decided.now, &decided.after).await?;
            self.settle(caller.scope, decided.agent.id).await?;
        }
        Ok(())
    }

    /// Carries on what was decided, where it is not done yet; gives it up where it has failed for too
    /// long. For the worker. One read.
    pub(crate) async fn restore(&self, scope: Scope, agent: AgentId) -> Result<(), Error> {
        let _turn = self.0.ports.workspaces.turn(agent).await;
        let whole = match self.whole(scope, agent).await {
            Err(Error::Reclaimed(_)) => return Ok(()),
            whole => whole?,
        };
        let restoring = |history: &Loaded<History>| history.value.restoring;
        let Some(Restoring { until, .. }) = whole.history.as_ref().and_then(restoring) else {
            return Ok(());
        };
        match self.carry_on(scope, &whole).await {
            Err(error) if self.0.now() >= until => {
                tracing::error!(agent.id = %agent, %error, "a rollback or an import is given up half-way");
                self.settle(scope, agent).await
            }
            done => done,
        }
    }

    /// Makes the directory what the history says that it is to be, as far as it is not.
    async fn carry_on(&self, scope: Scope, whole: &Whole) -> Result<(), Error> {
        let agent = whole.agent.value.id;
        let history = whole.history.as_ref();
        let mut after = self.latest(scope, agent, history).await?;
        let mut now = self.look_at_all(agent, &after).await?;
        let restoring = history.and_then(|history| history.value.restoring);
        if restoring.is_some_and(|restoring| restoring.what == Renewal::Import) {
            let parent = history.and_then(|history| history.value.latest.parent);
            let before = match parent {
                Some((_, manifest)) => self.manifest(Shelf::of(scope, agent), manifest).await?,
                None => Manifest::empty(agent),
            };
            only_new(&before, &mut now, &mut after);
        }
        self.apply(scope, &now, &after).await?;
        self.settle(scope, agent).await
    }

    /// Writes down that the workspace is nobody's any more, and has the prompts go on that waited.
    async fn settle(&self, scope: Scope, agent: AgentId) -> Result<(), Error> {
        retry_conflict(self.0, || async {
            let (app, whole) = (self.0, self.whole(scope, agent).await?);
            let Some(history) = whole.history.as_ref() else { return Ok(()) };
            if history.value.restoring.is_none() {
                return Ok(());
            }
            let settled = History { restoring: None, ..history.value.clone() };
            let mut writes = vec![document::put(&settled, history.expect())];
            // Who prompts from now on finds it settled; who did before is in the container.
            writes.push(whole.check_container(scope));
            let busy = whole.container.iter().flat_map(|container| &container.value.busy);
            for (&session, _) in busy.filter(|&(_, &of)| of == agent).take(TOLD) {
                let errand = app.due(scope.realm(), Errand::Dispatch { session }, app.now());
                writes.push(store::due::put(&errand));
            }
            app.commit_own("snapshot.restored", writes).await
        })
        .await
    }

    /// Makes a directory that holds `now` hold `after`.
    async fn apply(&self, scope: Scope, now: &Manifest, after: &Manifest) -> Result<(), Error> {
        let (workspaces, agent) = (&self.0.ports.workspaces, now.agent);
        let mut removed: Option<&WorkspacePath> = None;
        for (path, entry) in &now.entries {
            if removed.is_some_and(|removed| path.is_below(removed)) {
                continue;
            }
            let stays = after
                .entries
                .get(path)
                .is_some_and(|other| other.is_directory() == entry.is_directory());
            if !stays {
                workspaces.remove(agent, path).await?;
                removed = Some(path);
            }
        }
        let unpacker = Unpacker::new(self.0, Shelf::of(scope, agent));
        for (path, entry) in &after.entries {
            if now.entries.get(path).is_some_and(|there| there.same(entry)) {
                continue;
            }
            let put = match &entry.node {
                Node::Directory => Put::Directory,
                Node::Link(target) => Put::Link(target.clone()),
                Node::File { size, executable, extents, .. } => {
                    let content = unpacker.content(extents, 0..*size);
                    Put::File { content, executable: *executable }
                }
            };
            workspaces.put(agent, path, put).await?;
        }
        Ok(())
    }
}

/// Leaves only what `after` has and `before` had not, and what there is `now` in the place of it.
fn only_new(before: &Manifest, now: &mut Manifest, after: &mut Manifest) {
    after
        .entries
        .retain(|path, entry| !before.entries.get(path).is_some_and(|was| was.same(entry)));
    now.entries.retain(|path, _| after.entries.contains_key(path));
}

#[cfg(test)]
mod tests {
    use domain::id::Ulid;
    use domain::workspace::Entry;

    use super::*;

    fn manifest(links: &[(&str, &str)]) -> Manifest {
        let mut manifest = Manifest::empty(AgentId::new(Ulid::from_parts(1, 1)));
        for (path, target) in links {
            let entry = Entry { node: Node::Link((*target).to_owned()), stamp: None };
            manifest.entries.insert(WorkspacePath::new(*path).unwrap(), entry);
        }
        manifest
    }

    #[test]
    fn an_import_that_is_carried_on_touches_only_what_it_brings() {
        let before = manifest(&[("kept", "1"), ("replaced", "1")]);
        let mut after = manifest(&[("kept", "1"), ("new", "1"), ("replaced", "2")]);
        // Something that went on meanwhile has changed one file and made another.
        let mut now = manifest(&[("kept", "2"), ("made", "1"), ("replaced", "1")]);
        only_new(&before, &mut now, &mut after);
        assert_eq!(after, manifest(&[("new", "1"), ("replaced", "2")]));
        assert_eq!(now, manifest(&[("replaced", "1")]));
    }
}
