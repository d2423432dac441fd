//! A realm: the tenant. Everything else lives inside exactly one.
//!
//! Invariants: a suspended realm's keys are refused and nothing of it runs; nothing of it is lost.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::{IntoStaticStr, VariantArray};

use crate::text::Name;
use crate::{Machine, RealmId, Timestamp};

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
    /// Prompts that may wait behind the one in flight, per session.
    #[schemars(range(min = 0, max = 1000))]
    pub max_queued_runs: u32,
    /// Seconds a container may be idle before it is stopped.
    #[schemars(range(min = 10, max = 86_400))]
    pub idle_seconds: u32,
    /// Days the events of a closed session are kept.
    #[schemars(range(min = 1, max = 3650))]
    pub retention_days: u32,
}

impl Default for RealmLimits {
    fn default() -> Self {
        Self { max_agents: 200_000, max_queued_runs: 100, idle_seconds: 1200, retention_days: 30 }
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
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lifecycle() {
        insta::assert_snapshot!(crate::machine::mermaid::<RealmLifecycle>());
    }
}
