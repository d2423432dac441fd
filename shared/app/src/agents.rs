//! Agents: make, read, change, pause, resume, archive, restore, delete; and how every list pages.

use domain::agent::{Agent, AgentEvent, AgentLifecycle, AgentSpec, AgentState, Labels, MAX_LABELS};
use domain::container::{Container, ContainerEvent, ContainerLifecycle, ContainerState};
use domain::due::Errand;
use domain::instance::Wish;
use domain::text::{LabelKey, LabelValue};
use domain::{AgentId, ContainerId, Machine};
use store::container::Bounds;
use store::document::{self, Loaded};
use store::realm::{Counter, count};
use store::{Cursor, Direction, Query, Range, Write, keys};
use wire::agent::{AgentPatch, AgentView, NewAgent};
use wire::{Order, Page};

use crate::commit::retry_conflict;
use crate::turn::container_id;
use crate::{App, Caller, Error};

/// The use cases about agents.
#[derive(Clone, Copy, Debug)]
pub struct Agents<'a>(&'a App);

impl App {
    /// The use cases about agents.
    pub const fn agents(&self) -> Agents<'_> {
        Agents(self)
    }
}

/// Which page of a list.
#[derive(Clone, Debug, Default)]
pub struct Paging {
    /// How many items, 1 to 100.
    pub limit: usize,
    /// Where the page before ended.
    pub cursor: Option<String>,
    /// Which end comes first.
    pub order: Order,
}

impl Paging {
    /// The most items of a page.
    pub const MAX: usize = 100;

    pub(crate) fn query(&self, pk: String) -> Result<Query, Error> {
        Ok(Query {
            pk,
            on_index: false,
            range: Range::Prefix(String::new()),
            direction: match self.order {
                Order::Desc => Direction::Descending,
                Order::Asc => Direction::Ascending,
            },
            after: self.after()?,
            limit: self.limit,
        })
    }

    pub(crate) fn after(&self) -> Result<Option<Cursor>, Error> {
        self.cursor.as_deref().map(Cursor::parse).transpose().map_err(|_| Error::Cursor)
    }
}

pub(crate) fn page<T>(items: impl Iterator<Item = T>, next: Option<&Cursor>) -> Page<T> {
    Page { items: items.collect(), next_cursor: next.map(ToString::to_string) }
}

/// Which agents.
#[derive(Clone, Debug, Default)]
pub struct AgentFilter {
    /// Only those in this state.
    pub state: Option<AgentState>,
    /// Only those with this label.
    pub label: Option<(LabelKey, LabelValue)>,
}

/// How an agent is brought to rest.
#[derive(Clone, Copy)]
struct Rest {
    event: AgentEvent,
    action: &'static str,
    force: bool,
}

impl Agents<'_> {
    /// Makes an agent, from a template or from scratch. Reads the template, where one is named, and the
    /// agent of the catalog that it is; one commit, in which the realm's quota is counted.
    pub async fn create(&self, caller: &Caller, new: NewAgent) -> Result<AgentView, Error> {
        let base = match (new.template_id, new.driver) {
            (Some(template), _) => self.0.templates().load(caller, template).await?.value.spec,
            (None, Some(driver)) => AgentSpec::of(driver),
            (None, None) => {
                let detail = "or templateId must be given".to_owned();
                return Err(Error::Invalid { field: "driver", detail });
            }
        };
        let spec = new.spec_over(base);
        check_spec(caller, &spec)?;
        check_labels(&new.labels)?;
        let app = self.0;
        app.bundles().obtainable(caller, &spec).await?;
        let now = app.now();
        let id = AgentId::new(app.ulid(now));
        let plan = app.plans().of_spec(&caller.realm, id, &spec);
        let agent = Agent {
            id,
            realm: caller.realm(),
            name: new.name,
            labels: new.labels,
            spec,
            template: new.template_id,
            state: AgentState::Active,
            container: None,
            reclaim_at: None,
            reclaimed_at: None,
            plan: plan.as_ref().map(|plan| plan.hash),
            created_at: now,
            updated_at: now,
        };
        let view = AgentView::new(&agent, 1);
        let limit = caller.realm.limits.max_agents;
        // First, so that its refusal is known by its place.
        let mut writes = vec![count(caller.scope, Counter::Agents, 1, i64::from(limit))];
        writes.extend(store::agent::create(&agent));
        writes.extend(plan.as_ref().map(crate::plans::write));
        writes.extend(self.put_away(caller, &agent));
        match app.commit(caller, "agent.create", agent.id, writes, &view).await {
            // Every other item is new: only the counter can stand in the way.
            Err(Error::Conflict) => Err(Error::QuotaReached { what: "agents", limit }),
            done => done.map(|()| view),
        }
    }

    /// A page of agents. One read; two with a label.
    pub async fn list(
        &self,
        caller: &Caller,
        filter: AgentFilter,
        paging: Paging,
    ) -> Result<Page<AgentView>, Error> {
        let scope = caller.scope;
        let AgentFilter { state, label } = filter;
        let query = match (&label, state) {
            (Some((key, value)), _) => paging.query(keys::agents_with_label(scope, key, value))?,
            (None, Some(state)) => {
                let pk = keys::agents_in_state(scope, state.into());
                Query { on_index: true, ..paging.query(pk)? }
            }
            (None, None) => paging.query(keys::agents(scope))?,
        };
        let store::Page { mut items, next } = self.0.table().query(query).await?;
        if label.is_some() {
            let keys: Vec<_> = items
                .iter()
                .filter_map(|mark| mark.key.sk.parse().ok())
                .map(|id| keys::agent(scope, id))
                .collect();
            items = self.0.table().batch_get(&keys).await?.into_iter().flatten().collect();
        }
        let agents = items.iter().map(document::read::<Agent>).collect::<Result<Vec<_>, _>>()?;
        let shown = agents
            .iter()
            .filter(|agent| is_there(&agent.value))
            .filter(|agent| state.is_none_or(|state| agent.value.state == state))
            .map(|agent| AgentView::new(&agent.value, agent.version));
        Ok(page(shown, next.as_ref()))
    }

    /// One agent. One read.
    pub async fn get(&self, caller: &Caller, id: AgentId) -> Result<AgentView, Error> {
        let agent = self.load(caller, id).await?;
        Ok(AgentView::new(&agent.value, agent.version))
    }

    pub(crate) async fn load(&self, caller: &Caller, id: AgentId) -> Result<Loaded<Agent>, Error> {
        let key = keys::agent(caller.scope, id);
        document::get::<Agent>(self.0.table(), &key)
            .await?
            .filter(|agent| is_there(&agent.value))
            .ok_or(Error::NotFound("agent"))
    }

    /// An agent, and its container where it has had one. One read; another where it was put into a
    /// container that is not its own.
    pub(crate) async fn load_with_container(
        &self,
        caller: &Caller,
        id: AgentId,
    ) -> Result<(Loaded<Agent>, Option<Loaded<Container>>), Error> {
        self.load_placed(caller, id, container_id(id)).await
    }

    /// The same for who has heard that the agent is in `place`: one read where that is so.
    pub(crate) async fn load_placed(
        &self,
        caller: &Caller,
        id: AgentId,
        place: ContainerId,
    ) -> Result<(Loaded<Agent>, Option<Loaded<Container>>), Error> {
        let (agent, container) = document::get_both::<Agent, Container>(
            self.0.table(),
            &keys::agent(caller.scope, id),
            &keys::container(caller.scope, place),
        )
        .await?;
        let agent = agent.filter(|agent| is_there(&agent.value)).ok_or(Error::NotFound("agent"))?;
        let truth = agent.value.container.unwrap_or_else(|| container_id(id));
        if truth == place {
            return Ok((agent, container));
        }
        let container = self.0.containers().load(caller.scope, truth).await?;
        Ok((agent, container))
    }

    /// Changes an agent. What runs goes on as it began; the next run has the new settings, mounts
    /// from the container's next start on. One read, another where it becomes an agent of the catalog;
    /// one commit.
    pub async fn update(
        &self,
        caller: &Caller,
        id: AgentId,
        version: Option<u64>,
        patch: AgentPatch,
    ) -> Result<AgentView, Error> {
        retry_conflict(self.0, || async {
            let before = self.load(caller, id).await?;
            check_version(&before, version)?;
            let spec = patch.spec_over(before.value.spec.clone());
            let plan = self.0.plans().of_spec(&caller.realm, id, &spec);
            let agent = Agent {
                plan: plan.as_ref().map(|plan| plan.hash),
                spec,
                name: patch.name.clone().unwrap_or_else(|| before.value.name.clone()),
                labels: patch.labels.clone().overlay(before.value.labels.clone(), Labels::new()),
                updated_at: self.0.now(),
                ..before.value.clone()
            };
            if agent.spec != before.value.spec {
                check_spec(caller, &agent.spec)?;
            }
            if agent.spec.registry_agent != before.value.spec.registry_agent {
                self.0.bundles().obtainable(caller, &agent.spec).await?;
            }
            check_labels(&agent.labels)?;
            let view = AgentView::new(&agent, before.version + 1);
            let mut writes = store::agent::update(&before, &agent, agent.updated_at);
            if agent.plan != before.value.plan {
                writes.extend(self.0.plans().unless_kept(caller.scope, plan.as_ref()).await?);
            }
            self.0.commit(caller, "agent.update", id, writes, &view).await?;
            Ok(view)
        })
        .await
    }

    /// Stops an agent's container and keeps everything else. A busy agent is refused, or with
    /// `force` has its runs cancelled first, waiting ones too. One read, one commit; with `force`
    /// one more for each busy session.
    pub async fn pause(
        &self,
        caller: &Caller,
        id: AgentId,
        force: bool,
    ) -> Result<AgentView, Error> {
        let rest = Rest { event: AgentEvent::Pause, action: "agent.pause", force };
        retry_conflict(self.0, || self.try_rest(caller, id, rest)).await
    }

    /// Puts an agent away, as [`Agents::pause`] stops it, and out of the way of those that work.
    /// The same reads and commits.
    pub async fn archive(
        &self,
        caller: &Caller,
        id: AgentId,
        force: bool,
    ) -> Result<AgentView, Error> {
        let rest = Rest { event: AgentEvent::Archive, action: "agent.archive", force };
        retry_conflict(self.0, || self.try_rest(caller, id, rest)).await
    }

    async fn try_rest(
        &self,
        caller: &Caller,
        id: AgentId,
        Rest { event, action, force }: Rest,
    ) -> Result<AgentView, Error> {
        let app = self.0;
        let (before, container) = self.load_with_container(caller, id).await?;
        let now = app.now();
        let state = AgentLifecycle::step(before.value.state, event)?;
        let busy = container.as_ref().map_or(0, |one| one.value.sessions_of(id).len());
        if busy > 0 && !force {
            return Err(Error::AgentBusy(busy));
        }
        let held = |container: &Loaded<Container>| container.value.sessions_of(id);
        for session in container.iter().flat_map(held) {
            app.containers().call_off(caller.scope, session).await?;
        }
        let agent = before.value.moved(state, now, caller.realm.limits.reclaim_after());
        let changed = agent.state != before.value.state;
        let version = before.version + u64::from(changed);
        let mut writes = if changed {
            store::agent::update(&before, &agent, now)
        } else {
            vec![document::check(&before)]
        };
        match container {
            // It goes on for others.
            Some(container) if container.value.is_shared() => {
                let mut next = container.value.clone();
                let lives = next.state.may_run();
                if let Some(instance) = next.agents.get_mut(&id).filter(|_| lives)
                    && instance.wish(Wish::Stop, now)?
                {
                    let wake = Errand::Wake { container: next.id };
                    writes.push(store::due::put(&app.due(caller.realm(), wake, now)));
                }
                let changed = store::container::write(Some(&container), &next, Bounds::NONE, now);
                writes.extend(changed);
            }
            Some(container) => match container.value.apply(ContainerEvent::Hibernate, now) {
                Ok(next) if next.state != container.value.state => {
                    writes.push(document::put(&next, container.expect()));
                    let errand = Errand::Stop { container: next.id };
                    writes.push(store::due::put(&app.due(caller.realm(), errand, now)));
                }
                // Nothing runs. A prompt that comes at this moment is to come before or after.
                Ok(_) | Err(_) => writes.push(document::check(&container)),
            },
            None => writes.push(Write::Check {
                key: store::keys::container(caller.scope, container_id(id)),
                expect: store::Expect::Absent,
            }),
        }
        let agent = if changed { agent } else { before.value };
        let view = AgentView::new(&agent, version);
        app.commit(caller, action, id, writes, &view).await?;
        Ok(view)
    }

    /// Lets a paused agent go on. Starts nothing: the next prompt does. One read, one commit.
    pub async fn resume(&self, caller: &Caller, id: AgentId) -> Result<AgentView, Error> {
        retry_conflict(self.0, || self.try_ready(caller, id, AgentEvent::Resume, "agent.resume"))
            .await
    }

    /// Takes an archived agent out again. Starts nothing: the next prompt does. One read, one
    /// commit.
    pub async fn restore(&self, caller: &Caller, id: AgentId) -> Result<AgentView, Error> {
        retry_conflict(self.0, || self.try_ready(caller, id, AgentEvent::Restore, "agent.restore"))
            .await
    }

    async fn try_ready(
        &self,
        caller: &Caller,
        id: AgentId,
        event: AgentEvent,
        action: &'static str,
    ) -> Result<AgentView, Error> {
        let before = self.load(caller, id).await?;
        let state = AgentLifecycle::step(before.value.state, event)?;
        let (view, writes) = if state == before.value.state {
            (AgentView::new(&before.value, before.version), vec![document::check(&before)])
        } else {
            before.value.has_workspace()?;
            let now = self.0.now();
            let agent = before.value.moved(state, now, None);
            let view = AgentView::new(&agent, before.version + 1);
            let mut writes = store::agent::update(&before, &agent, now);
            writes.extend(self.put_away(caller, &agent));
            (view, writes)
        };
        self.0.commit(caller, action, id, writes, &view).await?;
        Ok(view)
    }

    /// The writes by which somebody needs an agent that was read, in `container`: a paused or archived one
    /// is awake. None where it is so already. Starts nothing. Fails where nothing is left of it to wake.
    pub(crate) fn wake(
        self,
        caller: &Caller,
        agent: &Loaded<Agent>,
        container: Option<ContainerId>,
    ) -> Result<Vec<Write>, Error> {
        agent.value.has_workspace()?;
        let state = AgentLifecycle::step(agent.value.state, AgentEvent::Wake)?;
        let wakes = state != agent.value.state;
        if !wakes && container == agent.value.container {
            return Ok(Vec::new());
        }
        let now = self.0.now();
        let awake = Agent { container, ..agent.value.moved(state, now, None) };
        let mut writes = store::agent::update(agent, &awake, now);
        // Nothing may come of what it is needed for.
        writes.extend(self.put_away(caller, &awake).filter(|_| wakes));
        Ok(writes)
    }

    /// The same where it is, for who adds what goes with it: it is as it was read until then.
    pub(crate) fn hold(self, caller: &Caller, agent: &Loaded<Agent>) -> Result<Vec<Write>, Error> {
        let mut writes = self.wake(caller, agent, agent.value.container)?;
        if writes.is_empty() {
            writes.push(document::check(agent));
        }
        Ok(writes)
    }

    /// Has somebody look whether an agent is to be archived that nobody has used for as long as the realm
    /// says. One that has run since is looked at when its container stops.
    pub(crate) fn put_away(self, caller: &Caller, agent: &Agent) -> Option<Write> {
        let at = self.0.now().after(caller.realm.limits.archive_after()?);
        let container = agent.container.unwrap_or_else(|| container_id(agent.id));
        let errand = Errand::Archive { container };
        Some(store::due::put(&self.0.due(caller.realm(), errand, at)))
    }

    /// Starts an agent's container again that failed, as
    /// [`Containers::recover`](crate::containers::Containers::recover) does.
    pub async fn recover(&self, caller: &Caller, id: AgentId) -> Result<AgentView, Error> {
        retry_conflict(self.0, || async {
            let (agent, container) = self.load_with_container(caller, id).await?;
            agent.value.has_workspace()?;
            let Some(container) = container else {
                // One that it never had has not failed.
                ContainerLifecycle::step(ContainerState::Requested, ContainerEvent::Recover)?;
                return Err(Error::Bug("what was never started let itself be recovered"));
            };
            let audit = ("agent.recover", id.to_string());
            let view = AgentView::new(&agent.value, agent.version);
            self.0.containers().try_recover(caller, &container, audit, |_| view.clone()).await
        })
        .await
    }

    /// Removes an agent for good: its runs are stopped, its container, workspace, sessions and
    /// events go. It is not found any more once this answers; the rest follows. One read, one
    /// commit.
    pub async fn delete(
        &self,
        caller: &Caller,
        id: AgentId,
        version: Option<u64>,
    ) -> Result<(), Error> {
        retry_conflict(self.0, || async {
            let before = self.load(caller, id).await?;
            check_version(&before, version)?;
            let now = self.0.now();
            let state = AgentLifecycle::step(before.value.state, AgentEvent::Delete)?;
            let agent = before.value.moved(state, now, None);
            let mut writes = store::agent::update(&before, &agent, now);
            let errand = self.0.due(caller.realm(), Errand::Dismantle { agent: id }, now);
            writes.push(store::due::put(&errand));
            self.0.commit(caller, "agent.delete", id, writes, &()).await
        })
        .await
    }
}

pub(crate) fn is_there(agent: &Agent) -> bool {
    match agent.state {
        AgentState::Active | AgentState::Paused | AgentState::Archived => true,
        AgentState::Deleting | AgentState::Deleted => false,
    }
}

/// Fails where a spec breaks a rule, or is not one that the realm's policy lets it have.
pub(crate) fn check_spec(caller: &Caller, spec: &AgentSpec) -> Result<(), Error> {
    match spec.broken_rule() {
        Some((field, detail)) => Err(Error::Invalid { field, detail: detail.to_owned() }),
        None => check_policy(caller, spec),
    }
}

/// Fails where the realm's policy does not let it have such an agent.
pub(crate) fn check_policy(caller: &Caller, spec: &AgentSpec) -> Result<(), Error> {
    caller.realm.policy.refuses(spec).map_or(Ok(()), |why| Err(Error::Policy(why)))
}

fn check_labels(labels: &Labels) -> Result<(), Error> {
    if labels.len() <= MAX_LABELS {
        return Ok(());
    }
    Err(Error::Invalid { field: "labels", detail: format!("must have at most {MAX_LABELS}") })
}

pub(crate) fn check_version<T>(loaded: &Loaded<T>, asked: Option<u64>) -> Result<(), Error> {
    match asked {
        Some(asked) if asked != loaded.version => {
            Err(Error::VersionMismatch { actual: loaded.version, asked })
        }
        Some(_) | None => Ok(()),
    }
}
