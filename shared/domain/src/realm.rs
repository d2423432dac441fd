//! A realm: the tenant. Everything else lives inside exactly one.
//!
//! Invariants: a suspended realm's keys are refused and nothing of it runs; nothing of it is lost.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::{IntoStaticStr, VariantArray};

use crate::agent::AgentSpec;
use crate::text::Name;
use crate::{Machine, RealmId, Timestamp, workspace};

/// Whether a realm may act.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Serialize,
    Deserialize,
    JsonSchema,
    VariantArray,
    IntoStaticStr,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum RealmState {
    /// Keys work, agents run.
    Active,
    /// Keys are refused, nothing runs, nothing is lost.
    Suspended,
}

/// What can happen to a realm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, VariantArray, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum RealmEvent {
    /// An operator stops the realm. Suspending a suspended realm changes nothing.
    Suspend,
    /// An operator lets it go on. Resuming an active realm changes nothing.
    Resume,
}

/// The lifecycle of a realm. It has no end: deleting realms comes with retention by law and export.
#[derive(Clone, Copy, Debug)]
pub struct RealmLifecycle;

impl Machine for RealmLifecycle {
    type State = RealmState;
    type Event = RealmEvent;
    const START: RealmState = RealmState::Active;

    fn next(state: RealmState, event: RealmEvent) -> Option<RealmState> {
        use RealmEvent as E;
        use RealmState as S;
        Some(match (state, event) {
            (S::Active | S::Suspended, E::Suspend) => S::Suspended,
            (S::Active | S::Suspended, E::Resume) => S::Active,
        })
    }
}

/// How much a realm may hold and do at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct RealmLimits {
    /// Agents that exist, in any state.
    #[schemars(range(min = 0, max = 1_000_000))]
    pub max_agents: u32,
    /// Containers that exist, running or not. A reclaimed agent has none.
    #[schemars(range(min = 0, max = 1_000_000))]
    pub max_containers: u32,
    /// Containers that may run at once. Where all do, the one idle longest is stopped for the next;
    /// where none is idle, runs wait. Lowering it stops nothing, and lets nothing more start.
    #[schemars(range(min = 0, max = 100_000))]
    pub max_running_containers: u32,
    /// Containers that may wait until another ends its work; a prompt that needs one more is refused.
    #[schemars(range(min = 0, max = 100_000))]
    pub max_waiting: u32,
    /// Prompts that may wait behind the one in flight, per session.
    #[schemars(range(min = 0, max = 1000))]
    pub max_queued_runs: u32,
    /// Seconds a container may be idle before it is stopped.
    #[schemars(range(min = 10, max = 86_400))]
    pub idle_seconds: u32,
    /// Hours after which an agent is archived whose container has stopped and was not needed again; 0:
    /// never.
    #[schemars(range(min = 0, max = 87_600))]
    pub archive_after_hours: u32,
    /// Days after which an archived agent's workspace and home are removed for good; 0: never.
    #[schemars(range(min = 0, max = 3650))]
    pub reclaim_after_days: u32,
    /// Days the events of a closed session are kept.
    #[schemars(range(min = 1, max = 3650))]
    pub retention_days: u32,
    /// Snapshots that are kept of a workspace, beside the latest at most for as long as the events of
    /// closed sessions. For a while there may be a quarter more.
    #[schemars(range(min = 1, max = 10_000))]
    pub max_snapshots: u32,
    /// Bytes of files that a workspace may have to get a snapshot.
    #[schemars(range(min = 0, max = 10_737_418_240_u64))]
    pub max_workspace_bytes: u64,
    /// Files, directories and links that a workspace may have to get a snapshot.
    #[schemars(range(min = 0, max = 100_000))]
    pub max_workspace_files: u32,
}

impl Default for RealmLimits {
    fn default() -> Self {
        Self {
            max_agents: 200_000,
            max_containers: 2000,
            max_running_containers: 200,
            max_waiting: 1000,
            max_queued_runs: 100,
            idle_seconds: 1200,
            archive_after_hours: 72,
            reclaim_after_days: 30,
            retention_days: 30,
            max_snapshots: 100,
            max_workspace_bytes: workspace::MAX_BYTES,
            max_workspace_files: 100_000,
        }
    }
}

/// What agents of a realm may be made of. Operators decide; no caller says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct RealmPolicy {
    /// Whether the realm may have agents that no registry lists: in its catalog, described where they
    /// are needed, or with a command of their own. Where it may not, those it has take no prompts.
    pub manual_agents: bool,
    /// Whether a package may be resolved that names no exact version. What comes of it is pinned.
    pub unpinned_packages: bool,
    /// Whether a program may be downloaded for which nobody gives a digest.
    pub undigested_binaries: bool,
}

impl Default for RealmPolicy {
    fn default() -> Self {
        Self { manual_agents: true, unpinned_packages: false, undigested_binaries: true }
    }
}

impl RealmPolicy {
    /// Why an agent like `spec` may neither be made nor prompted; none where it may. Whether one of the
    /// catalog may be is said of its entry there: see [`Source::choose`](crate::bundle::Source::choose).
    /// An address of the driver `http` is for the operator's list to allow.
    pub fn refuses(self, spec: &AgentSpec) -> Option<&'static str> {
        (!self.manual_agents && !spec.command.is_empty())
            .then_some("manualAgents is off: the realm has no agent with a command of its own")
    }
}

impl RealmLimits {
    /// How long a container may be stopped before its agents are archived; none: for ever.
    pub fn archive_after(&self) -> Option<Duration> {
        let hours = u64::from(self.archive_after_hours);
        (hours > 0).then(|| Duration::from_secs(hours * 3600))
    }

    /// How long what is over is kept.
    pub fn retention(&self) -> Duration {
        Duration::from_secs(u64::from(self.retention_days) * 24 * 3600)
    }

    /// Whether a workspace of so many files, directories and links and so many bytes gets a snapshot.
    pub fn keeps(&self, entries: usize, bytes: u64) -> bool {
        u64::try_from(entries).is_ok_and(|entries| entries <= u64::from(self.max_workspace_files))
            && bytes <= self.max_workspace_bytes
    }

    /// How long an agent may be archived before it is reclaimed; none: for ever.
    pub fn reclaim_after(&self) -> Option<Duration> {
        let days = u64::from(self.reclaim_after_days);
        (days > 0).then(|| Duration::from_secs(days * 24 * 3600))
    }
}

/// A tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Realm {
    /// Its id.
    pub id: RealmId,
    /// What people call it.
    pub name: Name,
    /// Whether it may act.
    pub state: RealmState,
    /// How much it may hold and do at once.
    pub limits: RealmLimits,
    /// What its agents may be made of.
    #[serde(default)]
    pub policy: RealmPolicy,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::Driver;
    use crate::text::Argument;

    #[test]
    fn an_agent_by_hand_is_the_policys_to_allow() {
        let strict = RealmPolicy { manual_agents: false, ..RealmPolicy::default() };
        let mut spec = AgentSpec::of(Driver::Acp);
        assert_eq!(strict.refuses(&spec), None, "what is built in is nobody's own");
        spec.command = vec![Argument::new("npx").unwrap()];
        assert!(strict.refuses(&spec).is_some());
        assert_eq!(RealmPolicy::default().refuses(&spec), None);
    }

    #[test]
    fn lifecycle() {
        insta::assert_snapshot!(crate::machine::mermaid::<RealmLifecycle>());
    }
}
