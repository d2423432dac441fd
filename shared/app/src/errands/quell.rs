//! What a suspended realm runs is stopped.

use domain::container::Container;
use domain::realm::RealmState;
use domain::run::End;
use store::{Scope, document, keys};
use wire::shim::failure;

use super::{Errands, Outcome, partition};
use crate::Error;

impl Errands<'_> {
    /// Stops whatever a suspended realm runs. Costs what the realm has.
    pub(super) async fn quell(&self, scope: Scope) -> Result<Outcome, Error> {
        let app = self.0;
        if self.realm(scope).await?.state == RealmState::Active {
            return Ok(Outcome::Done);
        }
        app.stream().cut_all(scope, None).await?;
        let mut query = partition(keys::containers(scope), 100);
        loop {
            let page = document::list::<Container>(app.table(), query.clone()).await?;
            for container in page.items {
                let line = container.line.iter().map(|waiting| waiting.session);
                for session in container.busy.keys().copied().chain(line) {
                    app.containers().call_off(scope, session).await?;
                }
                if container.state.may_run() {
                    let end = End::failure(failure::INTERRUPTED, "the realm was suspended");
                    app.containers()
                        .give_up(scope, container.id, container.generation, end)
                        .await?;
                }
            }
            match page.next {
                Some(next) => query.after = Some(next),
                None => return Ok(Outcome::Done),
            }
        }
    }
}
