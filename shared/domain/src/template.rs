//! Templates: saved ways to make agents, one built in for each driver.
//!
//! Invariants: a built-in template belongs to no realm, is never stored and never changes; an agent
//! keeps a copy of what it was made from, so a template may change or go without touching it.

use serde::{Deserialize, Serialize};
use strum::VariantArray;

use crate::agent::{AgentSpec, Driver};
use crate::id::Ulid;
use crate::text::{Description, Name};
use crate::{RealmId, TemplateId, Timestamp};

/// A saved way to make agents.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Template {
    /// Its id.
    pub id: TemplateId,
    /// The realm it belongs to; none for a built-in one.
    pub realm: Option<RealmId>,
    /// What people call it.
    pub name: Name,
    /// What it is for.
    pub description: Description,
    /// What agents made from it are.
    pub spec: AgentSpec,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

impl Template {
    /// The templates every realm has, in the order of their ids: one for each driver that works
    /// without being told what to run.
    pub fn built_in() -> impl DoubleEndedIterator<Item = Self> {
        Driver::VARIANTS.iter().filter_map(|&driver| {
            let (ulid, name, description) = match driver {
                Driver::Acp => (1, "ACP agent", "A program that speaks the Agent Client Protocol; the echo agent until it is given a command."),
                Driver::Vanilla => (2, "Tool loop", "Reads, writes, searches and runs commands in its workspace over a model endpoint."),
                Driver::Process | Driver::Http => return None,
            };
            Some(Self {
                id: TemplateId::new(Ulid::from_parts(0, ulid)),
                realm: None,
                name: Name::new(name).unwrap_or_else(|_| unreachable!("a constant within limits")),
                description: Description::new(description)
                    .unwrap_or_else(|_| unreachable!("a constant within limits")),
                spec: AgentSpec::of(driver),
                created_at: Timestamp::default(),
                updated_at: Timestamp::default(),
            })
        })
    }

    /// The built-in template with this id, if there is one.
    pub fn find_built_in(id: TemplateId) -> Option<Self> {
        Self::built_in().find(|template| template.id == id)
    }
}
