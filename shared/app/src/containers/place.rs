//! Where an agent is put, and what is made on the way to a session with it.
//!
//! What holds here: an agent is put into a container once, for good, by the commit that makes or changes
//! it. A container is chosen among those of its realm that are like the profile asked for, take agents
//! of any session, and have room: running ones first. What is looked at is bounded, however many there
//! are.
//!
//! An agent that is described where it is needed and has to be downloaded is put into the realm's
//! catalog, under a name that follows from how it is got. From there on it is any agent of the catalog:
//! under the realm's policy, from a bundle, by a plan.

use std::collections::{BTreeMap, VecDeque};

use domain::agent::{Agent, AgentSpec, AgentState, Labels};
use domain::container::{CAPACITY, Container, MAX_AGENTS, Profile};
use domain::instance::Instance;
use domain::registry::{Entry, Listed, Platform, Reference};
use domain::session::{Session, SessionState};
use domain::text::{Argument, Name, RegistryId, VariableName};
use domain::{AgentId, ContainerId, SessionId};
use sha2::{Digest, Sha256};
use store::container::Bounds;
use store::document::{self, Loaded};
use store::pool::Pool;
use store::realm::{Counter, count};
use store::{Expect, Write, keys};
use wire::container::{AgentName, InstallAgent, InstanceView, ManualAgent, NewContainer};
use wire::registry::NewRegistryAgent;
use wire::session::{NewSession, SessionView};

use super::Containers;
use crate::agents::check_spec;
use crate::commit::retry_conflict;
use crate::registry::MAX_OWN;
use crate::{App, Caller, Error};

/// An agent that is to be made, as somebody described it.
struct Described {
    name: Name,
    spec: AgentSpec,
    /// What the realm's catalog is to have, where the agent is downloaded and was described.
    listing: Option<Entry>,
    /// The digest of all that was said.
    made_of: String,
}

impl Containers<'_> {
    /// Puts an agent into a container that takes any. It may be started and prompted at once, also
    /// where the container runs already. Two reads at most; one commit, in which the realm's quota of
    /// agents is counted. One read more for an agent of the catalog, or one that comes into it.
    pub async fn install(
        &self,
        caller: &Caller,
        id: ContainerId,
        new: &InstallAgent,
    ) -> Result<InstanceView, Error> {
        let described =
            described(caller, new.manual_agent.as_ref(), new.agent_id.as_ref(), &new.env)?;
        is_ours(new.platform)?;
        self.obtainable(caller, described.as_ref()).await?;
        retry_conflict(self.0, || async {
            let container = self.there(caller, id).await?;
            if let Some(described) = &described {
                let (agent, writes) = self.made(caller, described, &container).await?;
                let (next, mut all) = self.with(&container, agent.id, Some(&described.made_of))?;
                all.extend(writes);
                return self.installed(caller, (&next, agent.id), all).await;
            }
            let Some(AgentName::Ours(agent)) = new.agent_id else {
                return Err(nobody());
            };
            let before = self.0.agents().load(caller, agent).await?;
            if let Some(place) = before.value.container {
                return Err(Error::Placed(place));
            }
            let now = self.0.now();
            let after = Agent { container: Some(id), updated_at: now, ..before.value.clone() };
            let (next, mut writes) = self.with(&container, agent, None)?;
            writes.extend(store::agent::update(&before, &after, now));
            // A container of its own would come with the first prompt.
            let own = crate::turn::container_id(agent);
            let key = keys::container(caller.scope, own);
            writes.push(Write::Check { key, expect: Expect::Absent });
            self.installed(caller, (&next, agent), writes).await
        })
        .await
    }

    async fn installed(
        &self,
        caller: &Caller,
        (container, agent): (&Container, AgentId),
        writes: Vec<Write>,
    ) -> Result<InstanceView, Error> {
        let instance = container.agents.get(&agent).ok_or(Error::Bug("it was just put there"))?;
        let view = InstanceView::new(container.id, agent, instance);
        let done = self.0.commit(caller, "instance.install", view.id, writes, &view).await;
        self.unless_full(caller, done).await?;
        Ok(view)
    }

    /// A container with one agent more, and the writes that make it so.
    fn with(
        self,
        before: &Loaded<Container>,
        agent: AgentId,
        made_of: Option<&str>,
    ) -> Result<(Container, Vec<Write>), Error> {
        if !before.value.is_shared() {
            return Err(Error::Owned(before.value.owner()));
        }
        if before.value.agents.len() >= MAX_AGENTS {
            let limit = u32::try_from(MAX_AGENTS).unwrap_or(u32::MAX);
            return Err(Error::QuotaReached { what: "agents in one container", limit });
        }
        let now = self.0.now();
        let mut next = before.value.clone();
        next.agents.insert(agent, Instance::installed(made_of.map(str::to_owned), now));
        let writes = store::container::write(Some(before), &next, Bounds::NONE, now);
        Ok((next, writes))
    }

    /// A new agent in a container, with the writes that make it. One read where the catalog is to have
    /// it.
    async fn made(
        &self,
        caller: &Caller,
        described: &Described,
        container: &Loaded<Container>,
    ) -> Result<(Agent, Vec<Write>), Error> {
        let app = self.0;
        let now = app.now();
        let id = AgentId::new(app.ulid(now));
        let plan = app.plans().of_spec(&caller.realm, id, &described.spec);
        let agent = Agent {
            id,
            realm: caller.realm(),
            name: described.name.clone(),
            labels: Labels::new(),
            spec: described.spec.clone(),
            template: None,
            state: AgentState::Active,
            container: Some(container.value.id),
            reclaim_at: None,
            reclaimed_at: None,
            plan: plan.as_ref().map(|plan| plan.hash),
            created_at: now,
            updated_at: now,
        };
        let limit = i64::from(caller.realm.limits.max_agents);
        let mut writes = vec![count(caller.scope, Counter::Agents, 1, limit)];
        writes.extend(store::agent::create(&agent));
        writes.extend(plan.as_ref().map(crate::plans::write));
        writes.extend(app.agents().put_away(caller, &agent));
        if let Some(entry) = &described.listing {
            writes.extend(app.registry().with(caller, entry).await?.1);
        }
        Ok((agent, writes))
    }

    /// Opens a session with an agent of the realm: one read. With one that has to be put somewhere
    /// first: reads which containers could take it, and them. One commit in any case.
    pub(crate) async fn open(
        &self,
        caller: &Caller,
        new: &NewSession,
    ) -> Result<SessionView, Error> {
        if let Some((field, detail)) = new.session.broken_rule() {
            return Err(Error::Invalid { field, detail: detail.to_owned() });
        }
        let none = BTreeMap::new();
        let described = described(caller, new.manual_agent.as_ref(), new.agent_id.as_ref(), &none)?;
        is_ours(new.platform)?;
        if let Some((field, detail)) = new.container_profile.as_ref().and_then(Profile::broken_rule)
        {
            return Err(Error::Invalid { field, detail });
        }
        self.obtainable(caller, described.as_ref()).await?;
        retry_conflict(self.0, || async {
            let (agent, container, mut writes) = match &described {
                Some(described) => self.found(caller, new, described).await?,
                None => self.ours(caller, new).await?,
            };
            let now = self.0.now();
            let session = Session {
                id: SessionId::new(self.0.ulid(now)),
                realm: caller.realm(),
                agent,
                container,
                setup: new.session.clone(),
                offers: domain::conversation::Offers::default(),
                title: new.title.clone(),
                state: SessionState::Active,
                active: None,
                held: false,
                queue: VecDeque::new(),
                last_seq: 0,
                reports: None,
                acp_session: None,
                forked_from: None,
                fork: None,
                forks: Vec::new(),
                deleting: false,
                created_at: now,
                updated_at: now,
            };
            let view = SessionView::from(&session);
            writes.push(document::put(&session, Expect::Absent));
            let done = self.0.commit(caller, "session.create", session.id, writes, &view).await;
            self.unless_full(caller, done).await?;
            Ok(view)
        })
        .await
    }

    /// A conflict, as the refusal that it is where the realm has all the agents it may have, or its
    /// catalog has. Reads how many there are where there was one.
    async fn unless_full(&self, caller: &Caller, done: Result<(), Error>) -> Result<(), Error> {
        let Err(Error::Conflict) = done else { return done };
        for (counter, what, limit) in [
            (Counter::Agents, "agents", caller.realm.limits.max_agents),
            (Counter::CatalogAgents, "agents in its catalog", MAX_OWN),
        ] {
            let found = self.0.table().get(&counter.key(caller.scope)).await?;
            if found.is_some_and(|item| item.count >= i64::from(limit)) {
                return Err(Error::QuotaReached { what, limit });
            }
        }
        done
    }

    /// Fails where what is to be made cannot be had. One read where the catalog has it.
    async fn obtainable(
        &self,
        caller: &Caller,
        described: Option<&Described>,
    ) -> Result<(), Error> {
        let Some(described) = described else { return Ok(()) };
        let bundles = self.0.bundles();
        match (&described.listing, &described.spec.registry_agent) {
            (Some(entry), Some(reference)) => {
                let listed = Listed::new(Some(caller.realm()), entry.clone(), self.0.now());
                bundles.would_be(caller, reference, &listed)
            }
            (Some(_) | None, _) => bundles.obtainable(caller, &described.spec).await,
        }
    }

    /// An agent of the realm, where it is. Where it is to be in a container that is like something, that
    /// is made for it if it has none; one read more.
    async fn ours(
        &self,
        caller: &Caller,
        new: &NewSession,
    ) -> Result<(AgentId, Option<ContainerId>, Vec<Write>), Error> {
        let Some(AgentName::Ours(id)) = new.agent_id else { return Err(nobody()) };
        let agent = self.0.agents().load(caller, id).await?;
        // An agent that is deleted at this moment would leave the session behind.
        let mut writes = self.0.agents().hold(caller, &agent)?;
        let place = agent.value.container.unwrap_or_else(|| crate::turn::container_id(id));
        if new.container_id.is_some_and(|asked| asked != place) {
            return match agent.value.container {
                Some(place) => Err(Error::Placed(place)),
                None => Err(Error::Invalid {
                    field: "containerId",
                    detail: "is of a container that the agent has not been put into".to_owned(),
                }),
            };
        }
        if let Some(profile) = &new.container_profile {
            if let Some(container) = self.load(caller.scope, place).await? {
                is_like(&container.value, Some(profile))?;
            } else {
                // As the first prompt would make it.
                let (app, now) = (self.0, self.0.now());
                let seats = app.admission().seats(caller.scope, caller.realm.limits).await?;
                seats.one_more()?;
                let plain = Container::requested(place, caller.realm(), now);
                let own = Container { profile: profile.clone(), ..plain };
                writes.extend(store::container::write(None, &own, seats.bounds(), now));
            }
        }
        Ok((id, agent.value.container, writes))
    }

    /// A described agent, in the container that was asked for or in the best there is: found there, or
    /// put there, with a new container where none takes it.
    async fn found(
        &self,
        caller: &Caller,
        new: &NewSession,
        described: &Described,
    ) -> Result<(AgentId, Option<ContainerId>, Vec<Write>), Error> {
        let container = if let Some(id) = new.container_id {
            let container = self.there(caller, id).await?;
            is_like(&container.value, new.container_profile.as_ref())?;
            container
        } else {
            let profile = new.container_profile.clone().unwrap_or_default();
            let class = super::manage::class(&profile);
            let pool = Pool::read(self.0.table(), caller.scope, &class).await?;
            match self.choose(caller, &pool, &profile, &described.made_of).await? {
                Some(container) => container,
                None => return self.first(caller, pool, profile, described).await,
            }
        };
        let id = container.value.id;
        if let Some(agent) = container.value.made_of(&described.made_of) {
            match self.0.agents().load(caller, agent).await {
                // It is being deleted: another takes its place.
                Err(Error::NotFound(_)) => {}
                agent => {
                    let agent = agent?;
                    let writes = self.0.agents().hold(caller, &agent)?;
                    return Ok((agent.value.id, Some(id), writes));
                }
            }
        }
        let (agent, mut writes) = self.made(caller, described, &container).await?;
        writes.extend(self.with(&container, agent.id, Some(&described.made_of))?.1);
        Ok((agent.id, Some(id), writes))
    }

    /// A described agent, in a container that is made for it because `pool` has none that takes it.
    async fn first(
        &self,
        caller: &Caller,
        pool: Pool,
        profile: Profile,
        described: &Described,
    ) -> Result<(AgentId, Option<ContainerId>, Vec<Write>), Error> {
        let seats = self.0.admission().seats(caller.scope, caller.realm.limits).await?;
        seats.one_more()?;
        let new =
            NewContainer { profile, metadata: Labels::new(), capacity: CAPACITY, pinned: false };
        let container = Container { for_agents: true, ..self.pooled(caller, &new)? };
        let container = Loaded { value: container, version: 0 };
        let (agent, mut writes) = self.made(caller, described, &container).await?;
        let mut next = container.value;
        let now = self.0.now();
        next.agents.insert(agent.id, Instance::installed(Some(described.made_of.clone()), now));
        writes.extend(store::container::write(None, &next, seats.bounds(), now));
        writes.extend(pool.join_first(&next, now));
        Ok((agent.id, Some(next.id), writes))
    }

    /// The best container of `pool` for an agent that is made of this. One read, where there are any.
    async fn choose(
        &self,
        caller: &Caller,
        pool: &Pool,
        profile: &Profile,
        made_of: &str,
    ) -> Result<Option<Loaded<Container>>, Error> {
        if pool.containers.is_empty() {
            return Ok(None);
        }
        let key = |&id: &ContainerId| keys::container(caller.scope, id);
        let keys: Vec<_> = pool.containers.iter().map(key).collect();
        let found = self.0.table().batch_get(&keys).await?;
        let found = found.iter().flatten().map(document::read::<Container>);
        let all = found.collect::<Result<Vec<_>, _>>()?;
        let fit = |one: &Loaded<Container>| one.value.fitness(profile, made_of);
        Ok(all.into_iter().filter(|one| fit(one).is_some()).max_by_key(|one| fit(one)))
    }
}

/// Fails where an agent is asked for on another platform than agents run on here.
fn is_ours(platform: Option<Platform>) -> Result<(), Error> {
    let ours = App::platform()?;
    if platform.is_none_or(|asked| asked == ours) {
        return Ok(());
    }
    let detail = format!("must be {ours} or left out: agents run on nothing else here");
    Err(Error::Invalid { field: "platform", detail })
}

/// Fails where a container is not like what was asked for: a profile never changes.
fn is_like(container: &Container, asked: Option<&Profile>) -> Result<(), Error> {
    match asked {
        Some(asked) if *asked != container.profile => Err(Error::Shaped(container.id)),
        Some(_) | None => Ok(()),
    }
}

fn nobody() -> Error {
    Error::Invalid { field: "agentId", detail: "or manualAgent must be given".to_owned() }
}

/// The agent that is to be made; none where it is one of the realm, or nobody.
fn described(
    caller: &Caller,
    manual: Option<&ManualAgent>,
    named: Option<&AgentName>,
    env: &BTreeMap<VariableName, Argument>,
) -> Result<Option<Described>, Error> {
    let name = |name: Option<Name>, otherwise: String| {
        name.or_else(|| Name::new(otherwise).ok()).ok_or(Error::Bug("an agent without a name"))
    };
    let mut listing = None;
    let (name, mut spec, said) = match (manual, named) {
        (Some(manual), _) => {
            if !caller.realm.policy.manual_agents {
                return Err(Error::Policy(
                    "manualAgents is off: add no agent that no registry lists",
                ));
            }
            let said = serde_json::to_vec(manual).map_err(|_| Error::Bug("it was JSON before"))?;
            let name = name(manual.title(), "agent".to_owned())?;
            listing = listed(manual, &name)?;
            (name, manual.spec(env), said)
        }
        (None, Some(AgentName::Catalog(reference))) => {
            let mut spec = AgentSpec::of(domain::agent::Driver::Acp);
            spec.registry_agent = Some(reference.clone());
            spec.env = env.clone();
            let said = reference.to_string();
            (name(None, said.chars().take(120).collect())?, spec, said.into_bytes())
        }
        (None, Some(AgentName::Ours(_)) | None) => return Ok(None),
    };
    if let Some(Entry { id, version, .. }) = &listing {
        spec.registry_agent = Some(Reference { id: id.clone(), version: Some(version.clone()) });
    }
    check_spec(caller, &spec)?;
    let env = serde_json::to_vec(env).map_err(|_| Error::Bug("an environment serialises"))?;
    let made_of = hex::encode(Sha256::new().chain_update(said).chain_update(env).finalize());
    Ok(Some(Described { name, spec, listing, made_of }))
}

/// What the catalog is to have of a described agent; none where nothing is downloaded for it.
fn listed(manual: &ManualAgent, name: &Name) -> Result<Option<Entry>, Error> {
    let invalid = |(field, detail): (_, &str)| Error::Invalid { field, detail: detail.to_owned() };
    let ours = App::platform()?;
    if !manual.is_for(ours) {
        let detail = format!("do not name {ours}, and agents run on nothing else here");
        return Err(Error::Invalid { field: "manualAgent.platforms", detail });
    }
    let distribution = manual.download(ours).map_err(invalid)?;
    let Some(distribution) = distribution else { return Ok(None) };
    let got = crate::plans::digest_of(&(&manual.version, &distribution));
    let new = NewRegistryAgent {
        id: RegistryId::new(format!("manual-{}", &got.hex()[..24]))
            .map_err(|_| Error::Bug("a name that follows from a digest"))?,
        name: name.clone(),
        version: manual.version.clone(),
        description: manual.description.clone(),
        distribution,
    };
    crate::registry::entry(new).map(Some)
}
