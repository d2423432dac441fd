//! A shim comes, stays and goes.

use domain::container::{Container, ContainerEvent};
use domain::due::Errand;
use store::document;
use wire::shim::{Hello, PROTOCOL};

use super::ShimCaller;
use crate::commit::retry_conflict;
use crate::{App, Error};

/// Why a shim is told to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Dismissed {
    /// Its start is over.
    #[error("stale")]
    Stale,
    /// It speaks another version.
    #[error("protocol")]
    Protocol,
}

impl App {
    /// A shim connected, or connected again, on `connection`. One read, one commit.
    ///
    /// The first word of a start is what `container_start_duration_seconds` counts to: from the
    /// commit that asked for the container, or for a later start of it from its beginning.
    pub async fn shim_connected(
        &self,
        shim: ShimCaller,
        hello: &Hello,
        connection: &str,
    ) -> Result<Result<(), Dismissed>, Error> {
        if hello.protocol != PROTOCOL {
            return Ok(Err(Dismissed::Protocol));
        }
        if hello.container != shim.container || hello.generation != shim.generation {
            return Ok(Err(Dismissed::Stale));
        }
        retry_conflict(self, || async {
            let Some(before) = self.start_of(shim).await? else { return Ok(Err(Dismissed::Stale)) };
            let now = self.now();
            let Ok(mut container) = before.value.apply(ContainerEvent::Connected, now) else {
                return Ok(Err(Dismissed::Stale));
            };
            if !container.busy.is_empty() && container.state.is_connected() {
                container = container.apply(ContainerEvent::Occupied, now)?;
            }
            container.connection = Some(connection.to_owned());
            container.heard_of = container.generation;
            container.walls = hello.walls;
            container.seen_at = now;
            let mut writes = vec![document::put(&container, before.expect())];
            if container.is_idle() {
                // Nobody needs it any more, but somebody may wait for its room.
                let errand = self.due(shim.scope.realm(), Errand::Admit, now);
                writes.push(store::due::put(&errand));
            }
            self.commit_own("container.connected", writes).await?;
            if !before.value.state.is_connected() {
                let begun = match before.value.generation {
                    1 => before.value.created_at,
                    _ => before.value.seen_at,
                };
                let taken = self.now().since(begun);
                metrics::histogram!("container_start_duration_seconds").record(taken);
            }
            Ok(Ok(()))
        })
        .await
    }

    /// A shim is still there, on `connection`. Written down at most every ten seconds, unless another
    /// connection was thought to be the present one: of two greetings, the older may come last.
    pub async fn shim_heartbeat(&self, shim: ShimCaller, connection: &str) -> Result<(), Error> {
        let Some(before) = self.start_of(shim).await? else { return Ok(()) };
        let now = self.now();
        let known = before.value.connection.as_deref() == Some(connection);
        if known && now.since(before.value.seen_at) < self.settings.silence / 2 {
            return Ok(());
        }
        let connection = Some(connection.to_owned());
        let container = Container { seen_at: now, connection, ..before.value.clone() };
        let writes = vec![document::put(&container, before.expect())];
        match self.commit_own("container.seen", writes).await {
            // Whoever was faster knows the container to be there, too.
            Err(Error::Conflict) => Ok(()),
            done => done,
        }
    }

    /// A shim's connection has ended. Where it was the present one, somebody looks whether its container
    /// is still there. One read and, where it was, one commit.
    pub async fn shim_disconnected(&self, shim: ShimCaller, connection: &str) -> Result<(), Error> {
        retry_conflict(self, || async {
            let Some(before) = self.start_of(shim).await? else { return Ok(()) };
            if before.value.connection.as_deref() != Some(connection) {
                return Ok(());
            }
            let container = Container { connection: None, ..before.value.clone() };
            let (container_id, generation) = (shim.container, shim.generation);
            let look = Errand::Look { container: container_id, generation };
            let errand = self.due(shim.scope.realm(), look, self.now());
            let writes = vec![document::put(&container, before.expect()), store::due::put(&errand)];
            self.commit_own("container.disconnected", writes).await
        })
        .await
    }
}
