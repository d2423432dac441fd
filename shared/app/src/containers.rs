//! Containers: started when a run needs one, looked after, started again or given up when they fail, and
//! stopped.

mod manage;
mod place;
mod reconcile;
mod settle;
mod start;

use domain::container::Container;
use domain::due::Errand;
use domain::run::{End, RunEvent};
use domain::session::SessionState;
use domain::{ContainerId, SessionId};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use store::document::{self, Loaded};
use store::{Scope, keys};

use crate::commit::retry_conflict;
use crate::turn::{Turn, load_run};
use crate::{App, Error};

pub use reconcile::Reconciled;

/// The most sessions or runs that one commit is about: it takes 100 writes, and has a few more.
const AT_ONCE: usize = 90;

/// The use cases about containers.
#[derive(Clone, Copy, Debug)]
pub struct Containers<'a>(pub(crate) &'a App);

impl App {
    /// The use cases about containers.
    pub const fn containers(&self) -> Containers<'_> {
        Containers(self)
    }
}

impl Containers<'_> {
    pub(crate) async fn load(
        &self,
        scope: Scope,
        id: ContainerId,
    ) -> Result<Option<Loaded<Container>>, Error> {
        Ok(document::get(self.0.table(), &keys::container(scope, id)).await?)
    }

    /// Marks what a session has in flight as to be stopped, and takes what waits out of the line.
    pub(crate) async fn call_off(&self, scope: Scope, session: SessionId) -> Result<(), Error> {
        while retry_conflict(self.0, || self.call_off_some(scope, session)).await? {}
        Ok(())
    }

    /// Answers whether more wait: one commit holds only so many.
    async fn call_off_some(&self, scope: Scope, session: SessionId) -> Result<bool, Error> {
        let app = self.0;
        let mut turn = Turn::of(app, scope, session).await?;
        let waiting: Vec<_> = turn.session.queue.iter().copied().take(AT_ONCE).collect();
        if waiting.is_empty() && turn.session.state != SessionState::Streaming {
            return Ok(false);
        }
        for id in waiting {
            let run = load_run(app, scope, id).await?;
            let expect = run.expect();
            let now = turn.now;
            turn.session.withdraw(id, now);
            let run = turn.step(run, RunEvent::Cancel, Some(End::plain()))?;
            turn.keep(run.value, expect);
        }
        let more = !turn.session.queue.is_empty();
        let in_flight = turn.session.active.is_some();
        if !more && in_flight && turn.session.state == SessionState::Streaming {
            let now = turn.now;
            turn.session.cancel(now)?;
            turn.errand(Errand::Dispatch { session });
        }
        app.commit_own("session.call_off", turn.into_writes(app).await?).await?;
        Ok(more)
    }
}

impl App {
    /// The token by which the shim of one start of a container proves itself:
    /// `st_<realm>_<container>_<generation>_<HMAC-SHA-256>`. It says nothing that is secret but its
    /// signature, and is worth nothing once that start is over.
    pub(crate) fn shim_token(
        &self,
        scope: Scope,
        id: ContainerId,
        generation: u32,
    ) -> Result<String, Error> {
        let claim = format!("st_{}_{}_{generation}", scope.realm().ulid(), id.ulid());
        let signature = self.sign(&claim)?;
        Ok(format!("{claim}_{signature}"))
    }

    pub(crate) fn sign(&self, claim: &str) -> Result<String, Error> {
        let key = self.settings.signing_key.ok_or(Error::Bug("who signs has the key"))?;
        let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(&key)
            .unwrap_or_else(|_| unreachable!("HMAC takes keys of any length"));
        mac.update(claim.as_bytes());
        Ok(hex::encode(mac.finalize().into_bytes()))
    }
}
