//! Containers, and the agents that are put into them.
//!
//! What a container may do is decided by the installation and the realm: no request here has a policy,
//! and one that brings any is refused as one with an unknown field.

use std::collections::BTreeMap;

use domain::agent::{AgentSpec, Driver, Labels};
use domain::container::{CAPACITY, Container, ContainerState, Profile};
use domain::instance::{AuthMethod, Instance, InstanceState};
use domain::object;
use domain::registry::{Binary, Distribution, Package, Platform, Reference};
use domain::text::{Argument, Description, Name, Slug, VariableName, Version};
use domain::walls::{Keepers, Standing, Wall};
use domain::{AgentId, ContainerId, InstanceId, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::session::SessionView;

const fn capacity() -> u32 {
    CAPACITY
}

/// A container to be made. Nothing of it runs before something in it is needed.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewContainer {
    /// What it is to be like.
    #[serde(default, deserialize_with = "object::one")]
    pub profile: Profile,
    /// Free text by which people know it; at most 16.
    #[serde(default)]
    #[schemars(extend("maxProperties" = 16))]
    pub metadata: Labels,
    /// How many runs it does at once.
    #[serde(default = "capacity")]
    #[schemars(range(min = 1, max = 64))]
    pub capacity: u32,
    /// Whether it is kept running although it is idle.
    #[serde(default)]
    pub pinned: bool,
}

/// Which agent: one of the realm, by its id, or one of the catalog, by its name.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum AgentName {
    /// One of the realm.
    Ours(AgentId),
    /// One of the catalog: its id, or `id@version`.
    Catalog(Reference),
}

/// An agent to be put into a container: `agentId` or `manualAgent`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct InstallAgent {
    /// An agent of the realm that has no container yet, or one of the catalog.
    #[serde(default, alias = "agent_id")]
    pub agent_id: Option<AgentName>,
    /// An agent that is described here; it counts before `agentId`.
    #[serde(default, alias = "manual_agent", deserialize_with = "object::maybe")]
    pub manual_agent: Option<ManualAgent>,
    /// The platform it is for; one that agents do not run on here is refused.
    #[serde(default)]
    pub platform: Option<Platform>,
    /// Environment variables of an agent that is described here or of the catalog.
    #[serde(default)]
    #[schemars(extend("maxProperties" = 64))]
    pub env: BTreeMap<VariableName, Argument>,
}

/// An agent that is described where it is needed, if the realm's policy lets it.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ManualAgent {
    /// What it is called.
    #[serde(default)]
    pub id: Option<Name>,
    /// What people call it.
    #[serde(default)]
    pub name: Option<Name>,
    /// Which version it is.
    #[serde(default)]
    pub version: Option<Version>,
    /// What it is for.
    #[serde(default)]
    pub description: Option<Description>,
    /// `manual`, whatever is said.
    #[serde(default)]
    pub source: Option<Slug>,
    /// What it says of its protocol. Asked of the agent itself instead.
    #[serde(default)]
    pub protocol: Map<String, Value>,
    /// How it is started.
    #[serde(deserialize_with = "object::one")]
    pub distribution: ManualDistribution,
    /// Environment variables of its processes. Not for secrets: they read back.
    #[serde(default, alias = "default_env")]
    #[schemars(extend("maxProperties" = 64))]
    pub default_env: BTreeMap<VariableName, Argument>,
    /// Free text.
    #[serde(default)]
    pub metadata: Labels,
    /// The platforms it is for, in any of their names; none: any. Refused where agents run on none of
    /// them here.
    #[serde(default)]
    #[schemars(length(max = 16))]
    pub platforms: Vec<Slug>,
    /// Whether others may see it. Agents are seen by their realm.
    #[serde(default)]
    pub private: Option<bool>,
}

/// How an agent that is described is started.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum ManualDistribution {
    /// A program that is there or is downloaded.
    Binary {
        /// The program.
        #[serde(deserialize_with = "object::one")]
        binary: ManualBinary,
    },
    /// A package of npm.
    Npx {
        /// The package.
        #[serde(deserialize_with = "object::one")]
        npx: ManualPackage,
    },
    /// A package of the Python index.
    Uvx {
        /// The package.
        #[serde(deserialize_with = "object::one")]
        uvx: ManualPackage,
    },
}

/// A program.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ManualBinary {
    /// Where it is downloaded, as an agent of the catalog is: an archive, or the program itself. Without
    /// it, the program is in the container.
    #[serde(default)]
    pub url: Option<Argument>,
    /// Its path in what was downloaded, or in the container, from the agent's workspace on;
    /// `builtin:echo` is the echo agent, which is never downloaded.
    pub executable: Argument,
    /// Its arguments.
    #[serde(default)]
    #[schemars(length(max = 60))]
    pub args: Vec<Argument>,
    /// The SHA-256 of the download, in hexadecimal. Refused where nothing is downloaded.
    #[serde(default)]
    pub sha256: Option<Slug>,
}

/// A package.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ManualPackage {
    /// Its name.
    pub package: Argument,
    /// Its version.
    #[serde(default)]
    pub version: Option<Argument>,
    /// Arguments of its program.
    #[serde(default)]
    #[schemars(length(max = 60))]
    pub args: Vec<Argument>,
}

/// The program that is the echo agent.
pub const ECHO: &str = "builtin:echo";

impl ManualAgent {
    /// What people call it.
    pub fn title(&self) -> Option<Name> {
        self.name.clone().or_else(|| self.id.clone())
    }

    /// The agent that it is, with `env` over its own; without a command where it is
    /// [downloaded](Self::download).
    pub fn spec(&self, env: &BTreeMap<VariableName, Argument>) -> AgentSpec {
        let mut spec = AgentSpec::of(Driver::Acp);
        spec.command = self.distribution.command();
        spec.env = self.default_env.clone();
        spec.env.extend(env.clone());
        spec
    }

    /// Whether it may be run on `platform`.
    pub fn is_for(&self, platform: Platform) -> bool {
        let named = |name: &Slug| name.as_str().parse() == Ok(platform);
        self.platforms.is_empty() || self.platforms.iter().any(named)
    }

    /// How it is got for `platform` where it has to be downloaded; none where it is in the container.
    /// Fails with the field and what is wrong with it where it has a digest and nothing is downloaded.
    pub fn download(
        &self,
        platform: Platform,
    ) -> Result<Option<Distribution>, (&'static str, &'static str)> {
        let mut all = Distribution::default();
        match &self.distribution {
            ManualDistribution::Npx { npx } => all.npx = Some(npx.package()),
            ManualDistribution::Uvx { uvx } => all.uvx = Some(uvx.package()),
            ManualDistribution::Binary { binary } => {
                let Some(url) = binary.url.as_ref().filter(|_| !binary.is_echo()) else {
                    return match binary.sha256 {
                        Some(_) => Err((
                            "manualAgent.distribution.binary.sha256",
                            "is of a download, and nothing is downloaded: give a url",
                        )),
                        None => Ok(None),
                    };
                };
                let download = Binary {
                    archive: url.to_string(),
                    cmd: binary.executable.clone(),
                    args: binary.args.clone(),
                    env: BTreeMap::new(),
                    sha256: binary.sha256.as_ref().map(ToString::to_string),
                    more: Map::new(),
                };
                all.binary.insert(platform.to_string(), download);
            }
        }
        Ok(Some(all))
    }
}

impl ManualDistribution {
    fn command(&self) -> Vec<Argument> {
        match self {
            Self::Binary { binary } if !binary.is_echo() && binary.url.is_none() => {
                std::iter::once(binary.executable.clone()).chain(binary.args.clone()).collect()
            }
            Self::Binary { .. } | Self::Npx { .. } | Self::Uvx { .. } => Vec::new(),
        }
    }
}

impl ManualBinary {
    fn is_echo(&self) -> bool {
        self.executable.as_str() == ECHO
    }
}

impl ManualPackage {
    fn package(&self) -> Package {
        let package = match &self.version {
            Some(version) => format!("{}@{version}", self.package),
            None => self.package.to_string(),
        };
        let (args, env) = (self.args.clone(), BTreeMap::new());
        Package { package, cmd: None, args, env, more: Map::new() }
    }
}

/// A container.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ContainerView {
    /// Its id.
    pub id: ContainerId,
    /// Where it is.
    pub state: ContainerState,
    /// The agents installed in it.
    pub agent_ids: Vec<AgentId>,
    /// Whether it is for any agents. One that is not was made for the agent that has its ULID.
    pub shared: bool,
    /// What it is like.
    pub profile: Profile,
    /// Free text of whoever made it.
    pub metadata: Labels,
    /// How many runs it does at once.
    pub capacity: u32,
    /// How many it does.
    pub current_runs: usize,
    /// How many sessions wait until it does fewer.
    pub waiting: usize,
    /// Whether it is kept running although it is idle.
    pub pinned: bool,
    /// How often it has been started.
    pub starts: u32,
    /// How often it was started again since it was last well.
    pub tries: u32,
    /// When it is started again, where it has failed and somebody needs it.
    pub retry_at: Option<Timestamp>,
    /// The stable code of why its last start ended, where nobody wanted that.
    pub code: Option<String>,
    /// The same in a line for people.
    pub detail: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When its state last changed.
    pub updated_at: Timestamp,
}

impl From<&Container> for ContainerView {
    fn from(container: &Container) -> Self {
        let fault = container
            .fault
            .clone()
            .filter(|_| container.state == ContainerState::Failed)
            .unwrap_or_default();
        Self {
            id: container.id,
            state: container.state,
            agent_ids: container.agents.keys().copied().collect(),
            shared: container.is_shared(),
            profile: container.profile.clone(),
            metadata: container.metadata.clone(),
            capacity: container.capacity,
            current_runs: container.busy.len(),
            waiting: container.line.len(),
            pinned: container.pinned,
            starts: container.generation,
            tries: container.failures.tries,
            retry_at: container.failures.again_at,
            code: fault.code,
            detail: fault.detail,
            created_at: container.created_at,
            updated_at: container.updated_at,
        }
    }
}

/// One agent's processes in a container.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InstanceView {
    /// Its id.
    pub id: InstanceId,
    /// The agent.
    pub agent_id: AgentId,
    /// The container.
    pub container_id: ContainerId,
    /// Where it is.
    pub state: InstanceState,
    /// Why it exited or failed, in a line for people.
    pub detail: Option<String>,
    /// The ways to log in that its agent offers, while it wants to be logged in.
    pub auth_methods: Vec<AuthMethod>,
    /// The walls around its process, as they were found once it was ready; empty where it has none.
    pub walls: Vec<Wall>,
    /// When the agent was installed.
    pub created_at: Timestamp,
    /// When its state last changed.
    pub updated_at: Timestamp,
}

impl InstanceView {
    /// What a caller sees of the instance of `agent` in `container`.
    pub fn new(container: ContainerId, agent: AgentId, instance: &Instance) -> Self {
        Self {
            id: Instance::id_of(agent),
            agent_id: agent,
            container_id: container,
            state: instance.state,
            detail: instance.detail.clone(),
            auth_methods: instance.auth_methods.clone(),
            walls: instance.walls.iter().collect(),
            created_at: instance.created_at,
            updated_at: instance.updated_at,
        }
    }

    /// Every instance of a container.
    pub fn all(container: &Container) -> Vec<Self> {
        container.agents.iter().map(|(&agent, one)| Self::new(container.id, agent, one)).collect()
    }
}

/// A container, and what goes on in it.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ContainerDetail {
    /// The container.
    pub container: ContainerView,
    /// The walls around it, once its shim has been heard of.
    pub walls: Option<WallsView>,
    /// The agents installed in it.
    pub agents: Vec<InstanceView>,
    /// The sessions that have a run in flight in it, and then those that wait for it, at most 100.
    pub sessions: Vec<SessionView>,
}

/// The walls around a container. Each agent in it has more of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WallsView {
    /// Those that its platform put around it.
    pub standing: Vec<Wall>,
    /// Who keeps the limits of its agents.
    pub limits: Keepers,
}

impl WallsView {
    /// What a caller sees of `walls`; none before they are known.
    pub fn of(walls: Standing) -> Option<Self> {
        let known = !walls.is_empty();
        known.then(|| Self { standing: walls.iter().collect(), limits: Keepers::of(walls) })
    }
}

/// The instances of a container.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Instances {
    /// All of them.
    pub items: Vec<InstanceView>,
}
