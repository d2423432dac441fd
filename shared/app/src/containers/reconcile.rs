//! Containers as the platform shows them: what lives is kept, what died is started again or has a clear
//! end, what nobody needs is removed.
//!
//! [`domain::reconcile`] decides, for whoever looks: the platform that tells of an exit, the errands that
//! look after one container, and the sweep over all of them, when a control plane starts and now and then.
//! The sweep compares two lists, the marks of what may run and what does: it costs a read for every
//! thousand marks and one list, and then what differs.

use std::collections::BTreeMap;
use std::time::Duration;

use domain::ContainerId;
use domain::Timestamp;
use domain::container::{Container, ContainerState};
use domain::due::Errand;
use domain::realm::Realm;
use domain::reconcile::{Cause, Decision, Seen, TRIES, decide};
use domain::run::End;
use futures::stream::{self, StreamExt};
use store::container::Bounds;
use store::document::{self, Loaded};
use store::{Scope, keys};
use wire::shim::failure;

use super::Containers;
use crate::Error;
use crate::commit::retry_conflict;
use crate::ports::Observed;

/// How many containers are seen to side by side.
const AT_ONCE: usize = 16;

/// How many are stopped side by side: a platform that takes fewer has the others wait.
const STOPS: usize = 64;

/// How long to wait for what is on its way out before it is looked at again.
const LOOK: Duration = Duration::from_secs(3);

/// What a sweep found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reconciled {
    /// Starts that run as they should.
    pub kept: usize,
    /// Starts that ran for nobody, and do not any more.
    pub removed: usize,
    /// Starts that were thought to run, and count as over now.
    pub over: usize,
    /// Those that could not be seen to: the next sweep finds them again.
    pub left: usize,
}

impl Containers<'_> {
    /// The platform says that a start of a container is over.
    pub async fn exited(&self, start: Observed) -> Result<(), Error> {
        #[expect(clippy::disallowed_methods, reason = "the platform names what it ran for us")]
        let scope = Scope::grant(start.realm);
        self.see(scope, start.container, Seen::Ended(start.generation), None).await.map(drop)
    }

    /// Compares what runs with what may run, and sees to what differs. One read for every thousand
    /// containers that may run and one list of the platform; for each that differs a read or two, a look, a
    /// stop and a commit. `reconcile_duration_seconds` is how long it takes.
    pub async fn reconcile(&self) -> Result<Reconciled, Error> {
        let app = self.0;
        let began = app.now();
        // Before what runs is listed: what begins meanwhile is seen to run, and then read.
        let mut marks = BTreeMap::new();
        let mut after = None;
        loop {
            let (page, next) = store::live::page(app.table(), after).await?;
            marks.extend(page.into_iter().map(|mark| {
                let store::live::Mark { realm, container, generation, since } = mark;
                (Observed { realm, container, generation }, since)
            }));
            match next {
                Some(next) => after = Some(next),
                None => break,
            }
        }
        let mut found = Reconciled::default();
        let mut differs = Vec::new();
        for start in app.ports.compute.list().await? {
            match marks.remove(&start) {
                Some(_) => found.kept += 1,
                None => differs.push((start, None)),
            }
        }
        let (now, lag) = (app.now(), app.ports.compute.lag());
        let missing = marks.into_iter().filter(|(_, since)| now.since(*since) >= lag);
        differs.extend(missing.map(|(start, since)| (start, Some(since))));
        let seen_to = stream::iter(
            differs
                .into_iter()
                .map(|(start, since)| async move { (start, self.see_to(start, since).await) }),
        );
        let mut seen_to = seen_to.buffer_unordered(AT_ONCE);
        while let Some((start, decided)) = seen_to.next().await {
            match decided {
                Ok(Decision::Leave | Decision::Adopt) => {}
                Ok(Decision::Remove) => found.removed += 1,
                Ok(
                    Decision::Stop
                    | Decision::Fail(_)
                    | Decision::Recover(..)
                    | Decision::GiveUp(_),
                ) => found.over += 1,
                Err(error) => {
                    tracing::warn!(container.id = %start.container, %error, "a container is left");
                    found.left += 1;
                }
            }
        }
        metrics::histogram!("reconcile_duration_seconds").record(app.now().since(began));
        Ok(found)
    }

    /// Sees to a start that runs and has no mark, or has had one `since` and was not listed.
    async fn see_to(&self, start: Observed, since: Option<Timestamp>) -> Result<Decision, Error> {
        #[expect(clippy::disallowed_methods, reason = "the platform names what it ran for us")]
        let scope = Scope::grant(start.realm);
        let seen = match since {
            None => Seen::Runs(start.generation),
            // It may have come up between the two lists.
            Some(since) => self.shown(start.container, since).await,
        };
        self.see(scope, start.container, seen, None).await
    }

    /// What the platform shows of a container whose present start has begun at `since`.
    pub(crate) async fn shown(&self, id: ContainerId, since: Timestamp) -> Seen {
        let app = self.0;
        match app.ports.compute.describe(id).await {
            Ok(Some(there)) => Seen::Runs(there.generation),
            Ok(None) if app.now().since(since) < app.ports.compute.lag() => Seen::Unknown,
            Ok(None) => Seen::Absent,
            Err(_) => Seen::Unknown,
        }
    }

    /// Sees to one container, of which this is seen: `why` says more of a start that failed. Answers with
    /// what was decided, and is done. One read; where something has changed, a stop, a read and a commit.
    pub(crate) async fn see(
        &self,
        scope: Scope,
        id: ContainerId,
        seen: Seen,
        why: Option<&str>,
    ) -> Result<Decision, Error> {
        retry_conflict(self.0, || async {
            let before = self.load(scope, id).await?;
            let now = self.0.now();
            let decision = decide(before.as_ref().map(|one| one.value.stored(now)), seen);
            match (decision, seen, before) {
                (Decision::Remove, Seen::Runs(generation) | Seen::Silent(generation), _) => {
                    let start = Observed { realm: scope.realm(), container: id, generation };
                    self.0.ports.compute.remove(start).await?;
                }
                (
                    Decision::Stop
                    | Decision::Fail(_)
                    | Decision::Recover(..)
                    | Decision::GiveUp(_),
                    _,
                    Some(before),
                ) => {
                    let end = end_of(&before.value, decision, seen, why);
                    self.over(scope, &before, decision, end).await?;
                }
                (_, _, _) => {}
            }
            Ok(decision)
        })
        .await
    }

    /// Ends a start because somebody says so: it counts as stopped where that was wished, as failed where
    /// not, and is not started again for that.
    pub(crate) async fn give_up(
        &self,
        scope: Scope,
        id: ContainerId,
        generation: u32,
        end: End,
    ) -> Result<(), Error> {
        retry_conflict(self.0, || async {
            let Some(before) = self.load(scope, id).await? else {
                return Ok(self.0.ports.compute.stop(id).await?);
            };
            if before.value.generation != generation {
                return Ok(());
            }
            if before.value.state.needs_start() {
                return Ok(self.0.ports.compute.stop(id).await?);
            }
            let wished = before.value.state == ContainerState::Hibernating;
            let decision = if wished { Decision::Stop } else { Decision::Fail(Cause::Lost) };
            self.over(scope, &before, decision, end.clone()).await
        })
        .await
    }

    /// A start is over, as was decided: the sessions it served are put in line to be settled, and where
    /// another start is to follow, somebody sees to it.
    async fn over(
        &self,
        scope: Scope,
        before: &Loaded<Container>,
        decision: Decision,
        end: End,
    ) -> Result<(), Error> {
        let app = self.0;
        let id = before.value.id;
        // Before it counts as over: no later start has begun until it does.
        app.ports.compute.stop(id).await?;
        let now = app.now();
        let Ok(mut next) = before.value.after(decision, end, now) else { return Ok(()) };
        let realm = document::get::<Realm>(app.table(), &keys::realm(scope)).await?;
        let rest = realm.and_then(|realm| realm.value.limits.archive_after());
        next.archive_at = rest.map(|rest| now.after(rest));
        let mut writes = store::container::write(Some(before), &next, Bounds::NONE, now);
        let settle = app.due(scope.realm(), Errand::Settle { container: id }, now);
        writes.push(store::due::put(&settle));
        if let Some(at) = next.failures.again_at {
            let recover = Errand::Recover { container: id, generation: next.generation };
            writes.push(store::due::put(&app.due(scope.realm(), recover, at)));
        }
        app.commit_own("container.over", writes).await
    }

    /// Stops every container of this platform, because the installation stops, some at a time, and
    /// returns when nothing of them is left. What is in flight fails as interrupted; what waits, waits.
    pub async fn stop_all(&self) -> Result<(), Error> {
        let mut left = self.0.ports.compute.list().await?;
        let mut failed = Ok(());
        loop {
            let stopped =
                stream::iter(left.drain(..).map(|one| async move { (one, self.halt(one).await) }));
            let stopped: Vec<_> = stopped.buffer_unordered(STOPS).collect().await;
            for (one, stopped) in stopped {
                match stopped {
                    Ok(()) => {}
                    Err(Error::Leaving) => left.push(one),
                    Err(error) => failed = Err(error),
                }
            }
            if left.is_empty() {
                return failed;
            }
            self.0.ports.clock.wait(LOOK).await;
        }
    }

    /// Stops what runs, and tells of what was in it: nobody carries out errands any more.
    async fn halt(&self, start: Observed) -> Result<(), Error> {
        #[expect(clippy::disallowed_methods, reason = "the platform names what it ran for us")]
        let scope = Scope::grant(start.realm);
        let end = End::failure(failure::INTERRUPTED, "the installation was stopped");
        self.give_up(scope, start.container, start.generation, end).await?;
        let Some(container) = self.load(scope, start.container).await? else { return Ok(()) };
        for &session in container.value.busy.keys() {
            retry_conflict(self.0, || async {
                match self.load(scope, start.container).await? {
                    Some(container) => self.settle(scope, session, &container).await,
                    None => Ok(false),
                }
            })
            .await?;
        }
        Ok(())
    }
}

/// Why a start is over, for its container and for what was in it.
fn end_of(container: &Container, decision: Decision, seen: Seen, why: Option<&str>) -> End {
    let cause = match decision {
        Decision::Fail(cause) | Decision::Recover(cause, _) | Decision::GiveUp(cause) => cause,
        Decision::Leave | Decision::Adopt | Decision::Remove | Decision::Stop => Cause::Lost,
    };
    let silent = matches!(seen, Seen::Silent(_));
    let (code, what) = match cause {
        Cause::Lost if silent => {
            (failure::CONTAINER_LOST, "the container was not heard of any more")
        }
        Cause::Lost if matches!(decision, Decision::Fail(_)) => {
            (failure::CONTAINER_LOST, "the container ended while nothing ran in it")
        }
        Cause::Lost => (failure::CONTAINER_LOST, "the container ended while it was needed"),
        Cause::Unavailable if silent => {
            (failure::CONTAINER_UNAVAILABLE, "the container did not come up in time")
        }
        Cause::Unavailable => {
            (failure::CONTAINER_UNAVAILABLE, "the container ended while it was being started")
        }
    };
    let what = why.unwrap_or(what);
    if matches!(decision, Decision::GiveUp(_)) && container.failures.tries >= TRIES {
        return End::failure(code, format!("{what}; it was started again {TRIES} times"));
    }
    End::failure(code, what)
}
