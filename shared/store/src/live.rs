//! Which containers may be running, of all realms: what the platform's own list is compared with.
//!
//! A mark is written in the commit that begins a start, and goes in the one that counts it as over. It
//! says which start it is, so that a container which is as it should be is not read: looking after
//! all of them costs a read for every thousand.

use domain::container::{Container, ContainerState};
use domain::{ContainerId, RealmId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::document::{self, Document};
use crate::{
    Cursor, Direction, Error, Expect, Key, MAX_LIMIT, Query, Range, Scope, Table, Write, keys,
};

/// That a start of a container may be running.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Whose it is.
    pub realm: RealmId,
    /// The container.
    pub container: ContainerId,
    /// Which start.
    pub generation: u32,
    /// When it began.
    pub since: Timestamp,
}

impl Document for Mark {
    fn key(&self) -> Key {
        keys::live(Scope::of(self.realm), self.container)
    }
}

/// The mark of a container. None where nothing of it runs, or what does is being taken apart.
fn mark(container: &Container) -> Option<Mark> {
    let &Container { id, realm, state, generation, begun_at, updated_at, .. } = container;
    let lives = state.may_run() && state != ContainerState::Deleting;
    let since = begun_at.unwrap_or(updated_at);
    lives.then_some(Mark { realm, container: id, generation, since })
}

/// What a change of a container means for its mark.
pub(crate) fn follow(before: Option<&Container>, after: Option<&Container>) -> Option<Write> {
    // Marks are written once and never changed.
    match (before.and_then(mark), after.and_then(mark)) {
        (None, Some(mark)) => Some(document::put(&mark, Expect::Absent)),
        (Some(mark), None) => Some(Write::Delete { key: mark.key(), expect: Expect::Version(1) }),
        (Some(_), Some(_)) | (None, None) => None,
    }
}

/// A page of all marks: one read.
pub async fn page(
    table: &dyn Table,
    after: Option<Cursor>,
) -> Result<(Vec<Mark>, Option<Cursor>), Error> {
    let query = Query {
        pk: keys::live_containers(),
        on_index: false,
        range: Range::Prefix(String::new()),
        direction: Direction::Ascending,
        after,
        limit: MAX_LIMIT,
    };
    let page = document::list::<Mark>(table, query).await?;
    Ok((page.items, page.next))
}
