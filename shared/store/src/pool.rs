//! Containers that take agents of any session: found by what they are like.
//!
//! A mark says only that there is such a container. It is written with the container and goes with it,
//! so that nothing has to be written here when a container changes.

use domain::container::Container;

use crate::{Expect, Key, Scope, Write, keys};

fn mark(container: &Container) -> Option<Key> {
    let class = container.pool.as_deref()?;
    Some(keys::pooled(Scope::of(container.realm), class, container.id))
}

/// Lets a new container be found; nothing where it is for one agent.
pub fn join(container: &Container) -> Option<Write> {
    mark(container).map(|key| Write::Put {
        key,
        body: "{}".to_owned(),
        index: None,
        expires: None,
        expect: Expect::Absent,
    })
}

/// Lets a container that goes be found no more; nothing where it never was.
pub fn leave(container: &Container) -> Option<Write> {
    // Marks are written once and never changed.
    mark(container).map(|key| Write::Delete { key, expect: Expect::Version(1) })
}
