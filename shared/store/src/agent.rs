//! Agents in the table, and the labels they are found by.

use domain::agent::{Agent, Labels};
use domain::due::{Due, Errand};
use domain::text::{LabelKey, LabelValue};
use domain::{DueId, Timestamp};

use crate::document::{self, Document, Loaded};
use crate::{Expect, Index, Key, Scope, Write, keys};

impl Document for Agent {
    fn key(&self) -> Key {
        keys::agent(Scope::of(self.realm), self.id)
    }

    fn index(&self) -> Option<Index> {
        Some(keys::agent_state_index(Scope::of(self.realm), self.state.into(), self.id))
    }
}

fn label(agent: &Agent, label: (&LabelKey, &LabelValue)) -> Key {
    keys::agent_label(Scope::of(agent.realm), label.0, label.1, agent.id)
}

/// A label's row says nothing but that it is there.
fn mark(agent: &Agent, pair: (&LabelKey, &LabelValue)) -> Write {
    Write::Put {
        key: label(agent, pair),
        body: "{}".to_owned(),
        index: None,
        expires: None,
        expect: Expect::Absent,
    }
}

fn unmark(agent: &Agent, pair: (&LabelKey, &LabelValue)) -> Write {
    // Label rows are written once and never changed.
    Write::Delete { key: label(agent, pair), expect: Expect::Version(1) }
}

/// The errand that reclaims an agent. It has the agent's ULID, so that who needs the agent in time can
/// take it out of the line.
fn reclamation(agent: &Agent, at: Timestamp) -> Due {
    let errand = Errand::Reclaim { agent: agent.id };
    Due::new(DueId::new(agent.id.ulid()), agent.realm, errand, at)
}

/// Writes a new agent with its labels.
pub fn create(agent: &Agent) -> Vec<Write> {
    let mut writes = vec![document::put(agent, Expect::Absent)];
    writes.extend(agent.labels.iter().map(|pair| mark(agent, pair)));
    writes
}

/// Writes an agent that was read, at `now`, and what follows from how it differs: the labels it is
/// found by, and the timer that reclaims it.
pub fn update(before: &Loaded<Agent>, agent: &Agent, now: Timestamp) -> Vec<Write> {
    let lacks = |labels: &Labels, (key, value): (&LabelKey, &LabelValue)| {
        labels.get(key).is_none_or(|other| other != value)
    };
    let old = &before.value.labels;
    let mut writes = vec![document::put(agent, before.expect())];
    writes.extend(
        old.iter().filter(|&pair| lacks(&agent.labels, pair)).map(|pair| unmark(agent, pair)),
    );
    writes
        .extend(agent.labels.iter().filter(|&pair| lacks(old, pair)).map(|pair| mark(agent, pair)));
    let timer = |agent: &Agent| Some(reclamation(agent, agent.reclaim_at?));
    let (old, new) = (timer(&before.value), timer(agent));
    if old != new {
        // Before its time nobody has claimed it, so it is where it was put.
        writes.extend(old.filter(|due| now < due.at).as_ref().map(crate::due::call_off));
        writes.extend(new.as_ref().map(crate::due::put));
    }
    writes
}

/// Removes an agent that was read, with its labels.
pub fn remove(before: &Loaded<Agent>) -> Vec<Write> {
    let mut writes = vec![document::delete(before)];
    writes.extend(before.value.labels.iter().map(|pair| unmark(&before.value, pair)));
    writes
}
