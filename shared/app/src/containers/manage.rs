//! Containers as callers have them: make, read, stop, wake, recover, delete; and the processes of their
//! agents.

use std::time::Duration;

use domain::admission::Place;
use domain::agent::{Agent, MAX_LABELS};
use domain::container::{
    Container, ContainerEvent, ContainerLifecycle, ContainerState, MAX_CAPACITY, Profile,
};
use domain::due::Errand;
use domain::instance::{InstanceEvent, Wish};
use domain::realm::Realm;
use domain::session::Session;
use domain::{AgentId, ContainerId, InstanceId, Machine};
use serde::Serialize;
use sha2::{Digest, Sha256};
use store::container::Bounds;
use store::document::{self, Loaded};
use store::{Scope, Write, keys};
use wire::Page;
use wire::container::{
    ContainerDetail, ContainerView, InstanceView, Instances, NewContainer, WallsView,
};
use wire::session::SessionView;

use super::Containers;
use crate::agents::{Paging, check_policy, page};
use crate::commit::retry_conflict;
use crate::{Caller, Error};

/// The most sessions that are shown with a container.
const SHOWN: usize = 100;

impl Containers<'_> {
    /// Makes a container for agents of any session. Nothing of it runs yet. One read, one commit.
    pub async fn create(&self, caller: &Caller, new: NewContainer) -> Result<ContainerView, Error> {
        retry_conflict(self.0, || async {
            let seats = self.0.admission().seats(caller.scope, caller.realm.limits).await?;
            seats.one_more()?;
            let container = self.pooled(caller, &new)?;
            let view = ContainerView::from(&container);
            let now = self.0.now();
            let mut writes = store::container::write(None, &container, seats.bounds(), now);
            writes.extend(store::pool::join(&container));
            self.0.commit(caller, "container.create", container.id, writes, &view).await?;
            Ok(view)
        })
        .await
    }

    /// A new container for agents of any session, if it may be so.
    pub(super) fn pooled(self, caller: &Caller, new: &NewContainer) -> Result<Container, Error> {
        let refused = |field, detail: String| Err(Error::Invalid { field, detail });
        if !(1..=MAX_CAPACITY).contains(&new.capacity) {
            return refused("capacity", format!("must be 1 to {MAX_CAPACITY}"));
        }
        if new.metadata.len() > MAX_LABELS {
            return refused("metadata", format!("must have at most {MAX_LABELS}"));
        }
        if let Some((field, detail)) = new.profile.broken_rule() {
            return refused(field, detail);
        }
        let now = self.0.now();
        let id = ContainerId::new(self.0.ulid(now));
        Ok(Container {
            pool: Some(class(&new.profile)),
            capacity: new.capacity,
            pinned: new.pinned,
            profile: new.profile.clone(),
            metadata: new.metadata.clone(),
            ..Container::requested(id, caller.realm(), now)
        })
    }

    /// A page of the realm's containers. One read.
    pub async fn list(
        &self,
        caller: &Caller,
        paging: Paging,
    ) -> Result<Page<ContainerView>, Error> {
        let query = paging.query(keys::containers(caller.scope))?;
        let listed = document::list::<Container>(self.0.table(), query).await?;
        let there = listed.items.iter().filter(|container| is_there(container));
        Ok(page(there.map(ContainerView::from), listed.next.as_ref()))
    }

    /// A container with its instances, and the sessions that run in it or wait for it. Two reads.
    pub async fn get(&self, caller: &Caller, id: ContainerId) -> Result<ContainerDetail, Error> {
        let container = self.there(caller, id).await?.value;
        let line = container.line.iter().map(|waiting| waiting.session);
        let named = container.busy.keys().copied().chain(line).take(SHOWN);
        let keys: Vec<_> = named.map(|session| keys::session(caller.scope, session)).collect();
        let mut sessions = Vec::with_capacity(keys.len());
        if !keys.is_empty() {
            for item in self.0.table().batch_get(&keys).await?.iter().flatten() {
                let session = document::read::<Session>(item)?.value;
                if !session.deleting {
                    sessions.push(SessionView::from(&session));
                }
            }
        }
        let agents = InstanceView::all(&container);
        let walls = WallsView::of(container.walls);
        Ok(ContainerDetail { container: ContainerView::from(&container), walls, agents, sessions })
    }

    /// The container of a caller's realm, unless it is being deleted. One read.
    pub(super) async fn there(
        &self,
        caller: &Caller,
        id: ContainerId,
    ) -> Result<Loaded<Container>, Error> {
        let container = self.load(caller.scope, id).await?;
        container.filter(|one| is_there(&one.value)).ok_or(Error::NotFound("container"))
    }

    /// Stops what runs in a container and keeps everything else. A busy one is refused, or with `force`
    /// has its runs cancelled first. Stopping what does not run changes nothing. One read, one commit;
    /// with `force` one more for each session.
    pub async fn hibernate(
        &self,
        caller: &Caller,
        id: ContainerId,
        force: bool,
    ) -> Result<ContainerView, Error> {
        retry_conflict(self.0, || async {
            let app = self.0;
            let before = self.there(caller, id).await?;
            let busy = before.value.busy.len();
            if busy > 0 && !force {
                return Err(Error::AgentBusy(busy));
            }
            let line = before.value.line.iter().map(|waiting| waiting.session);
            for session in before.value.busy.keys().copied().chain(line) {
                self.call_off(caller.scope, session).await?;
            }
            let now = app.now();
            let mut next = before.value.clone();
            let mut writes = Vec::new();
            if before.value.state.may_run() {
                next = next.apply(ContainerEvent::Hibernate, now)?;
                let stop = app.due(caller.realm(), Errand::Stop { container: id }, now);
                writes.push(store::due::put(&stop));
            } else if next.withdraw() {
                // It was woken and has not begun.
                writes.push(store::due::put(&app.due(caller.realm(), Errand::Admit, now)));
            }
            writes.extend(store::container::write(Some(&before), &next, Bounds::NONE, now));
            let view = ContainerView::from(&next);
            app.commit(caller, "container.hibernate", id, writes, &view).await?;
            Ok(view)
        })
        .await
    }

    /// Starts a container that rests, although no run needs it. However many ask, it is started once.
    /// Where the realm runs as many as it may, it waits in line as for a run, and an idle one is stopped
    /// for it; where as many wait as may, it is refused. Reads the container, what room there is, and
    /// the agents that are needed; one commit.
    pub async fn wake(&self, caller: &Caller, id: ContainerId) -> Result<ContainerView, Error> {
        retry_conflict(self.0, || async {
            let before = self.there(caller, id).await?;
            let state = before.value.state;
            if state == ContainerState::Failed {
                // What failed is to be recovered: the machine says so.
                ContainerLifecycle::step(state, ContainerEvent::Provision)?;
            }
            let audit = ("container.wake", id.to_string());
            self.rouse(caller, &before, audit, |next| ContainerView::from(next)).await
        })
        .await
    }

    /// Starts a container that failed, anew: what is left of it is stopped, and where the start fails it is
    /// followed by others, see [`domain::reconcile`]. Asking while that goes on changes nothing; one that works is
    /// refused. The same reads and commit.
    pub async fn recover(&self, caller: &Caller, id: ContainerId) -> Result<ContainerView, Error> {
        retry_conflict(self.0, || async {
            let before = self.there(caller, id).await?;
            let audit = ("container.recover", id.to_string());
            self.try_recover(caller, &before, audit, |next| ContainerView::from(next)).await
        })
        .await
    }

    pub(crate) async fn try_recover<T: Serialize>(
        &self,
        caller: &Caller,
        before: &Loaded<Container>,
        audit: (&'static str, String),
        answer: impl Fn(&Container) -> T,
    ) -> Result<T, Error> {
        let state = before.value.state;
        if !state.is_being_started() {
            ContainerLifecycle::step(state, ContainerEvent::Recover)?;
        }
        self.rouse(caller, before, audit, answer).await
    }

    /// Has a container at rest started, and leaves one alone that is on its way or runs.
    async fn rouse<T: Serialize>(
        &self,
        caller: &Caller,
        before: &Loaded<Container>,
        (name, target): (&'static str, String),
        answer: impl Fn(&Container) -> T,
    ) -> Result<T, Error> {
        let app = self.0;
        let mut writes = vec![];
        let mut next = before.value.clone();
        if before.value.state.needs_start() {
            next.ask_anew();
            let before = Loaded { value: next, version: before.version };
            (next, writes) = self.start_or_wait(caller, &before).await?;
        } else {
            writes.push(document::check(before));
        }
        let answer = answer(&next);
        app.commit(caller, name, target, writes, &answer).await?;
        Ok(answer)
    }

    /// The next start of a container at rest or, where there is no room for it now, its place in line,
    /// and somebody who sees to it. Refused where as many wait as may.
    async fn start_or_wait(
        &self,
        caller: &Caller,
        before: &Loaded<Container>,
    ) -> Result<(Container, Vec<Write>), Error> {
        let (app, realm, now) = (self.0, &caller.realm, self.0.now());
        let errand = |errand| store::due::put(&app.due(caller.realm(), errand, now));
        let mut bounds = Bounds::NONE;
        if !before.value.room {
            let seats = app.admission().seats(caller.scope, realm.limits).await?;
            bounds = seats.bounds();
            let waits_since = match (before.value.waits_since, seats.place()) {
                (Some(since), _) => Some(since),
                (None, Place::Room) => None,
                (None, Place::Line) => Some(now),
                (None, Place::Full) => return Err(Error::CapacityExhausted),
            };
            if waits_since.is_some() {
                let next = Container { waits_since, ..before.value.clone() };
                let mut writes = store::container::write(Some(before), &next, bounds, now);
                writes.push(errand(Errand::Admit));
                return Ok((next, writes));
            }
        }
        let started = self.started(caller.scope, before, idle(realm), bounds).await?;
        let (next, mut writes) = started.ok_or(Error::CapacityExhausted)?;
        writes.push(errand(Errand::Wake { container: next.id }));
        Ok((next, writes))
    }

    /// The next start of a container at rest, where there is room for it now.
    async fn roomy(
        &self,
        scope: Scope,
        before: &Loaded<Container>,
        realm: &Realm,
        idle: Duration,
    ) -> Result<Option<(Container, Vec<Write>)>, Error> {
        let mut bounds = Bounds::NONE;
        if !before.value.room {
            let seats = self.0.admission().seats(scope, realm.limits).await?;
            if seats.place() != Place::Room {
                return Ok(None);
            }
            bounds = seats.bounds();
        }
        self.started(scope, before, idle, bounds).await
    }

    /// Starts a container again that failed while somebody saw to it. False where it cannot be now.
    pub(crate) async fn restart(
        &self,
        scope: Scope,
        before: &Loaded<Container>,
        realm: &Realm,
        idle: Duration,
    ) -> Result<bool, Error> {
        match self.roomy(scope, before, realm, idle).await? {
            None => Ok(false),
            Some((_, writes)) => match self.0.commit_own("container.begin", writes).await {
                Err(Error::Conflict) => Ok(false),
                done => done.map(|()| true),
            },
        }
    }

    /// Removes a container with all the agents in it, their workspaces and sessions, for good. One that
    /// was made for an agent goes with that agent. One read, one commit.
    pub async fn delete(&self, caller: &Caller, id: ContainerId) -> Result<(), Error> {
        retry_conflict(self.0, || async {
            let before = self.there(caller, id).await?;
            if !before.value.is_shared() {
                return Err(Error::Owned(before.value.owner()));
            }
            let now = self.0.now();
            let mut next = before.value.apply(ContainerEvent::Delete, now)?;
            (next.waits_since, next.archive_at) = (None, None);
            // What may run has room until it is gone.
            next.room &= !before.value.state.needs_start();
            let mut writes = store::container::write(Some(&before), &next, Bounds::NONE, now);
            let errand = self.0.due(caller.realm(), Errand::Raze { container: id }, now);
            writes.push(store::due::put(&errand));
            self.0.commit(caller, "container.delete", id, writes, &()).await
        })
        .await
    }

    /// The instances of a container. One read.
    pub async fn instances(&self, caller: &Caller, id: ContainerId) -> Result<Instances, Error> {
        Ok(Instances { items: InstanceView::all(&self.there(caller, id).await?.value) })
    }

    /// One instance. One read.
    pub async fn instance(
        &self,
        caller: &Caller,
        id: ContainerId,
        instance: InstanceId,
    ) -> Result<InstanceView, Error> {
        let container = self.there(caller, id).await?.value;
        let agent = AgentId::new(instance.ulid());
        let found = container.agents.get(&agent).ok_or(Error::NotFound("instance"))?;
        Ok(InstanceView::new(id, agent, found))
    }

    /// Wants something of an agent's process. It is carried out as soon as its shim is there; where a
    /// process is wanted and the container rests, that is started, too. One read, and where the
    /// container has to be started, those of [`wake`](Self::wake); one commit. A process that the realm's
    /// policy refuses is not started. A stop ends what is in flight: without `force` an instance with a run
    /// is refused.
    pub async fn direct(
        &self,
        caller: &Caller,
        (id, instance): (ContainerId, InstanceId),
        wish: Wish,
        force: bool,
    ) -> Result<InstanceView, Error> {
        retry_conflict(self.0, || async {
            let app = self.0;
            let agent = AgentId::new(instance.ulid());
            let (container, spec) = document::get_both::<Container, Agent>(
                app.table(),
                &keys::container(caller.scope, id),
                &keys::agent(caller.scope, agent),
            )
            .await?;
            let container = container.filter(|one| is_there(&one.value));
            let mut before = container.ok_or(Error::NotFound("container"))?;
            let stored = before.value.clone();
            before.value.ask_anew();
            let now = app.now();
            let runs = before.value.busy.values().filter(|&&of| of == agent).count();
            if runs > 0 && wish != Wish::Start && !force {
                return Err(Error::AgentBusy(runs));
            }
            let found = before.value.agents.get_mut(&agent).ok_or(Error::NotFound("instance"))?;
            if wish != Wish::Stop {
                let spec = spec.ok_or(Error::NotFound("instance"))?.value.spec;
                check_policy(caller, &spec)?;
            }
            let asks = found.wish(wish, now)?;
            let view = InstanceView::new(id, agent, found);
            let action = match wish {
                Wish::Start => "instance.start",
                Wish::Stop => "instance.stop",
                Wish::Restart => "instance.restart",
            };
            let mut writes;
            if asks && before.value.state.needs_start() {
                (_, writes) = self.start_or_wait(caller, &before).await?;
            } else {
                let after = before.value.clone();
                let before = Loaded { value: stored, version: before.version };
                writes = store::container::write(Some(&before), &after, Bounds::NONE, now);
                if asks {
                    let errand = app.due(caller.realm(), Errand::Wake { container: id }, now);
                    writes.push(store::due::put(&errand));
                }
            }
            app.commit(caller, action, instance, writes, &view).await?;
            Ok(view)
        })
        .await
    }

    /// Asks that an agent's process ends, in a container that goes on for others. Whether there is still
    /// one. One read and, where there is news, one commit.
    pub(crate) async fn quiet(
        &self,
        scope: Scope,
        id: ContainerId,
        agent: AgentId,
    ) -> Result<bool, Error> {
        retry_conflict(self.0, || async {
            let app = self.0;
            let Some(before) = self.load(scope, id).await? else { return Ok(false) };
            let mut next = before.value.clone();
            let Some(instance) = next.agents.get_mut(&agent) else { return Ok(false) };
            if !instance.state.lives() {
                return Ok(false);
            }
            let now = app.now();
            if !next.state.may_run() {
                *instance = instance.apply(InstanceEvent::Exit, None, now)?;
                instance.wish = None;
            } else if instance.wish != Some(Wish::Stop) {
                instance.wish(Wish::Stop, now)?;
            }
            let left = next.agents.get(&agent).is_some_and(|one| one.state.lives());
            if next != before.value {
                let writes = store::container::write(Some(&before), &next, Bounds::NONE, now);
                app.commit_own("instance.quiet", writes).await?;
            }
            Ok(left)
        })
        .await
    }
}

fn is_there(container: &Container) -> bool {
    !matches!(container.state, ContainerState::Deleting | ContainerState::Deleted)
}

/// What containers of the same profile have in common.
pub(super) fn class(profile: &Profile) -> String {
    let text = serde_json::to_vec(profile).unwrap_or_default();
    hex::encode(&Sha256::digest(text)[..12])
}

/// How long a container of this realm may be idle.
fn idle(realm: &Realm) -> Duration {
    Duration::from_secs(u64::from(realm.limits.idle_seconds))
}
