//! What is done outside, later or again: the one worker's work.
//!
//! An errand is claimed by a conditional write, carried out by looking at the state as it is, and
//! then removed or put back in line. Any number of schedulers may run. A claim that its scheduler
//! did not live to finish falls due again when its lease ends.
//!
//! A tick costs one read for each shard, another where all that it finds there is held, and a commit for
//! every hundred errands that are due; it does not grow with what exists.

mod archive;
mod bar;
mod disconnect;
mod dismantle;
mod dispatch;
mod erase;
mod expire;
mod forget;
mod look;
mod plan;
mod quell;
mod raze;
mod reclaim;
mod start;
mod stop;
mod wake;
mod watch;
mod withhold;

use std::time::Duration;

use domain::Timestamp;
use domain::due::{Due, Errand};
use domain::realm::Realm;
use futures::FutureExt;
use futures::future::join_all;
use store::document::{self, Loaded};
use store::{Direction, MAX_LIMIT, MAX_WRITES, Query, Range, Scope, keys};

use crate::{App, Error};

/// The worker's use cases.
#[derive(Clone, Copy, Debug)]
pub struct Errands<'a>(&'a App);

impl App {
    /// The worker's use cases.
    pub const fn errands(&self) -> Errands<'_> {
        Errands(self)
    }
}

/// An errand as it stands in the line, or as a scheduler holds it.
pub type Standing = Loaded<Due>;

/// What a tick found.
#[derive(Debug)]
pub struct Tick {
    /// What is due, oldest first.
    pub due: Vec<Standing>,
    /// When the next errand falls due, where one waits and none is due.
    pub next: Option<Timestamp>,
}

/// What became of an errand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// What it asks for is done, or not wanted any more.
    Done,
    /// It is to be tried again after this long.
    Again(Duration),
}

/// The most errands a tick takes from one shard.
const PER_SHARD: usize = 64;

/// The most errands claimed in one commit.
const CLAIMS: usize = MAX_WRITES;

impl Errands<'_> {
    /// What is due. One read for each shard, and another where all that it finds there is held.
    pub async fn tick(&self) -> Result<Tick, Error> {
        let now = self.0.now();
        let mut tick = Tick { due: Vec::new(), next: None };
        for shard in 0..keys::DUE_SHARDS {
            self.look_into(shard, now, &mut tick).await?;
        }
        tick.due.sort_by_key(|errand| errand.value.at);
        Ok(tick)
    }

    /// Adds what is due of a shard, at most [`PER_SHARD`].
    async fn look_into(&self, shard: u8, now: Timestamp, tick: &mut Tick) -> Result<(), Error> {
        let before = tick.due.len();
        let (mut after, mut limit) = (None, PER_SHARD);
        loop {
            let (head, more) = store::due::head(self.0.table(), shard, after, limit).await?;
            for errand in head {
                let (at, free_at) = (errand.value.at, errand.value.free_at());
                if free_at <= now {
                    tick.due.push(errand);
                } else {
                    tick.next = Some(tick.next.map_or(free_at, |next| next.min(free_at)));
                }
                if at > now || tick.due.len() - before == PER_SHARD {
                    return Ok(());
                }
            }
            if more.is_none() || tick.due.len() > before {
                return Ok(());
            }
            (after, limit) = (more, MAX_LIMIT);
        }
    }

    /// Takes an errand for oneself. None where another scheduler was faster. One commit.
    pub async fn claim(&self, due: &Standing) -> Result<Option<Standing>, Error> {
        match self.claim_together(std::slice::from_ref(due)).await {
            Ok(held) => Ok(held.into_iter().next()),
            Err(Error::Conflict) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Takes errands for oneself, many in one commit, and one by one those of a commit in which
    /// another scheduler was faster with any. None in the place of each that another has.
    pub async fn claim_all(&self, due: &[Standing]) -> Vec<Result<Option<Standing>, Error>> {
        let commits = due.chunks(CLAIMS).map(async |due| match self.claim_together(due).await {
            Ok(held) => held.into_iter().map(|held| Ok(Some(held))).collect(),
            // Which it was, the others' own commits say.
            Err(Error::Conflict) if due.len() > 1 => {
                join_all(due.iter().map(async |due| self.claim(due).await)).await
            }
            Err(Error::Conflict) => vec![Ok(None)],
            Err(error) => vec![Err(error)],
        });
        join_all(commits).await.into_iter().flatten().collect()
    }

    async fn claim_together(&self, due: &[Standing]) -> Result<Vec<Standing>, Error> {
        let until = self.0.now().after(self.0.settings.lease);
        let (held, writes): (Vec<_>, Vec<_>) =
            due.iter().map(|due| store::due::claim(due, until)).unzip();
        self.0.commit_own("errand.claim", writes).await?;
        Ok(held)
    }

    /// Does what an errand one holds asks for, and removes it or puts it back in line.
    pub async fn carry_out(&self, held: &Standing) -> Result<Outcome, Error> {
        let Due { ref errand, attempt, .. } = held.value;
        let outcome = match self.attempt(&held.value).boxed().await {
            Ok(outcome) => outcome,
            // Nothing is there any more to do it to.
            Err(Error::NotFound(_)) => Outcome::Done,
            // It was told to stop. Whoever waited for it would hold up what is due meanwhile.
            Err(Error::Leaving) => Outcome::Again(pace(attempt)),
            Err(error) => {
                tracing::warn!(%errand, attempt, %error, "an errand failed");
                Outcome::Again(backoff(attempt))
            }
        };
        let writes = match outcome {
            Outcome::Done => vec![store::due::done(held)],
            Outcome::Again(wait) => store::due::release(held, self.0.now().after(wait), attempt),
        };
        match self.0.commit_own("errand.settle", writes).await {
            // The lease ended and another scheduler has it.
            Ok(()) | Err(Error::Conflict) => Ok(outcome),
            Err(error) => Err(error),
        }
    }

    /// Makes every errand free that somebody held: for a control plane that starts and knows that no
    /// other runs. Costs a look at what is in line, and a commit for each that was held.
    pub async fn take_over(&self) -> Result<(), Error> {
        for shard in 0..keys::DUE_SHARDS {
            let mut after = None;
            loop {
                let (page, next) = store::due::head(self.0.table(), shard, after, 100).await?;
                let now = self.0.now();
                for due in page {
                    let Due { attempt, held_until, .. } = due.value;
                    if held_until.is_some() && due.value.free_at() > now {
                        let writes = store::due::release(&due, now, attempt);
                        match self.0.commit_own("errand.take_over", writes).await {
                            Ok(()) | Err(Error::Conflict) => {}
                            Err(error) => return Err(error),
                        }
                    }
                }
                match next {
                    Some(next) => after = Some(next),
                    None => break,
                }
            }
        }
        Ok(())
    }

    async fn attempt(&self, held: &Due) -> Result<Outcome, Error> {
        #[expect(clippy::disallowed_methods, reason = "a stored errand names its realm")]
        let scope = Scope::grant(held.realm);
        match held.errand {
            Errand::Dispatch { session } => self.dispatch(scope, session, held.attempt).await,
            Errand::Expire { session, run } => self.expire(scope, session, run).await,
            Errand::Watch { container, generation } => {
                self.watch(scope, container, generation).await
            }
            Errand::Look { container, generation } => {
                self.look(scope, container, generation, held.attempt).await
            }
            Errand::Settle { container } => {
                self.0.containers().settle_all(scope, container).await?;
                self.0.containers().tell(scope, container).await?;
                // What it ran is over, so somebody who waits may have room.
                self.0.admission().serve(scope).await?;
                Ok(Outcome::Done)
            }
            Errand::Stop { container } => self.stop(scope, container, held.attempt).await,
            Errand::Wake { container } => self.wake(scope, container, held.attempt).await,
            Errand::Recover { container, generation } => {
                self.recover(scope, container, generation, held.attempt).await
            }
            Errand::Raze { container } => self.raze(scope, container).await,
            Errand::Dismantle { agent } => self.dismantle(scope, agent, held.attempt).await,
            Errand::Quell => self.quell(scope).await,
            Errand::Disconnect { key } => self.disconnect(scope, key, held.attempt).await,
            Errand::Snapshot { agent, run } => {
                self.0.files().after_loss(scope, agent, run).await?;
                Ok(Outcome::Done)
            }
            Errand::Restore { agent } => {
                self.0.files().restore(scope, agent).await?;
                Ok(Outcome::Done)
            }
            Errand::Collect { agent } => {
                self.0.files().collect(scope, agent).await?;
                Ok(Outcome::Done)
            }
            Errand::Clear { agent } => {
                self.0.files().clear_late(scope, agent).await?;
                Ok(Outcome::Done)
            }
            Errand::Admit => {
                self.0.admission().serve(scope).await?;
                Ok(Outcome::Done)
            }
            Errand::Archive { container } => self.archive(scope, container).await,
            Errand::Reclaim { agent } => self.reclaim(scope, agent).await,
            Errand::SyncRegistry { round } => {
                self.0.registry().sync(held.realm, round, held.attempt).await
            }
            Errand::Resolve { bundle, round } => {
                self.0.bundles().resolve(scope, bundle, round, held.attempt).await
            }
            Errand::Erase { session } => self.erase(scope, session, held.attempt).await,
            Errand::Forget { session } => self.forget(scope, session).await,
        }
    }

    async fn realm(&self, scope: Scope) -> Result<Realm, Error> {
        let realm = document::get::<Realm>(self.0.table(), &keys::realm(scope)).await?;
        realm.map(|realm| realm.value).ok_or(Error::NotFound("realm"))
    }
}

fn partition(pk: String, limit: usize) -> Query {
    Query {
        pk,
        on_index: false,
        range: Range::Prefix(String::new()),
        direction: Direction::Ascending,
        after: None,
        limit,
    }
}

/// 200 ms, doubling to 30 s.
fn backoff(attempt: u32) -> Duration {
    Duration::from_millis(200 << attempt.saturating_sub(1).min(8)).min(Duration::from_secs(30))
}

/// How long to wait for somebody else's word before looking again: 1 s, doubling to 30 s. The word
/// itself is acted on when it comes; looking is for when it is lost.
fn pace(attempt: u32) -> Duration {
    Duration::from_secs(1 << attempt.saturating_sub(1).min(5)).min(Duration::from_secs(30))
}

/// How long a container of this realm may be idle.
fn may_idle(realm: &Realm) -> Duration {
    Duration::from_secs(u64::from(realm.limits.idle_seconds))
}
