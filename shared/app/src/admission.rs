//! Room for containers: who gets it, who waits, and who gives it up.
//!
//! A prompt takes room for its container, or its place in line, in the commit that accepts it: who gets
//! neither is refused, and nothing has changed. What was accepted and needs room later asks for it here.
//! Room is given by [`Admission::serve`] alone, to who has waited longest; it is called when there may
//! be some, and by the errand of every run that waits, so that no room is ever forgotten.
//!
//! The counts say what is true; the index that says who is first may be late. What it shows is compared
//! with its version when it is written, so the worst of being late is to look again.

use domain::admission::{Counts, Place};
use domain::container::{Container, ContainerEvent};
use domain::due::Errand;
use domain::event::Draft;
use domain::realm::{Realm, RealmLimits, RealmState};
use domain::run::{Reason, RunState};
use domain::session::SessionState;
use domain::{ContainerId, SessionId};
use store::container::Bounds;
use store::document::{self, Loaded};
use store::{Scope, keys};

use crate::commit::retry_conflict;
use crate::turn::{Turn, load_run};
use crate::{App, Error};

/// The most containers that get room, or give it up, between two looks at the counts.
const AT_ONCE: usize = 32;

/// The most sessions of one container that are told at once that there is room: a commit has 100
/// writes. The others look for themselves.
const TOLD: usize = 80;

/// The most idle containers that are counted for who comes.
const IDLE: usize = 100;

/// Who may run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Admission<'a>(&'a App);

impl App {
    /// Who may run.
    pub(crate) const fn admission(&self) -> Admission<'_> {
        Admission(self)
    }
}

/// What one who comes finds: what they may take of it is held against this when it is written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seats {
    counts: Counts,
    limits: RealmLimits,
    idle: usize,
}

impl Seats {
    /// What becomes of one more.
    pub(crate) fn place(&self) -> Place {
        self.counts.place(&self.limits, self.idle)
    }

    /// Fails where the realm may hold no more containers.
    pub(crate) fn one_more(&self) -> Result<(), Error> {
        let limit = self.limits.max_containers;
        if self.counts.existing < i64::from(limit) {
            return Ok(());
        }
        Err(Error::QuotaReached { what: "containers", limit })
    }

    /// What the counts may come to, by who was told so.
    pub(crate) fn bounds(&self) -> Bounds {
        Bounds {
            existing: i64::from(self.limits.max_containers),
            running: i64::from(self.limits.max_running_containers),
            waiting: self.counts.line(&self.limits, self.idle),
            ..Bounds::NONE
        }
    }
}

impl Admission<'_> {
    /// What a container that is needed and has no room finds. One read, and where nobody would get
    /// anything, another for who could make room.
    pub(crate) async fn seats(&self, scope: Scope, limits: RealmLimits) -> Result<Seats, Error> {
        let mut seats = Seats { counts: self.counts(scope).await?, limits, idle: 0 };
        if seats.place() == Place::Full {
            let pk = keys::containers_idle(scope);
            seats.idle = store::container::first(self.0.table(), pk, IDLE).await?.len();
        }
        Ok(seats)
    }

    /// Sees that a container that is needed and does not run has room, or waits for it. Whether it has.
    /// One that was accepted before is not refused: it waits, however many do.
    pub(crate) async fn seek(
        &self,
        scope: Scope,
        id: ContainerId,
        limits: &RealmLimits,
    ) -> Result<bool, Error> {
        retry_conflict(self.0, || async {
            let app = self.0;
            let Some(before) = app.containers().load(scope, id).await? else { return Ok(false) };
            let container = &before.value;
            let waits = container.waits_since.is_some() || container.busy.is_empty();
            if container.has_place() || waits || !container.state.needs_start() {
                return Ok(container.has_place());
            }
            let room = self.counts(scope).await?.place(limits, 0) == Place::Room;
            let now = app.now();
            let waits_since = (!room).then_some(now);
            let after = Container { room, waits_since, ..container.clone() };
            let running = i64::from(limits.max_running_containers);
            let bounds = Bounds { running, ..Bounds::NONE };
            let writes = store::container::write(Some(&before), &after, bounds, now);
            app.commit_own(if room { "container.room" } else { "container.wait" }, writes).await?;
            Ok(room)
        })
        .await
    }

    /// Gives what room there is to those who wait, longest first, and where it is not enough, stops
    /// as many idle containers as are missing, longest idle first. Costs one read where nobody waits.
    pub(crate) async fn serve(&self, scope: Scope) -> Result<(), Error> {
        let app = self.0;
        loop {
            let counts = self.counts(scope).await?;
            if counts.waiting == 0 {
                return Ok(());
            }
            let realm = document::get::<Realm>(app.table(), &keys::realm(scope)).await?;
            let Some(Loaded { value: Realm { limits, state: RealmState::Active, .. }, .. }) = realm
            else {
                return Ok(());
            };
            let mut moved = 0;
            let free = usize::try_from(counts.free(&limits)).unwrap_or(0).min(AT_ONCE);
            if free > 0 {
                let pk = keys::containers_waiting(scope);
                for next in store::container::first(app.table(), pk, free).await? {
                    moved += usize::from(self.give_room(scope, &next, &limits).await?);
                }
            }
            let short = counts.to_stop(&limits).min(AT_ONCE);
            if short > 0 {
                let pk = keys::containers_idle(scope);
                // Whoever sees to the same at this moment does not stop as many again.
                let most = counts.leaving.saturating_add(i64::try_from(short).unwrap_or(0));
                let bounds = Bounds { leaving: most, ..Bounds::NONE };
                for idle in store::container::first(app.table(), pk, short).await? {
                    moved += usize::from(self.take_room(scope, &idle, bounds).await?);
                }
            }
            if moved == 0 {
                return Ok(());
            }
        }
    }

    /// Whether it got room: somebody may have been faster, or there may be none.
    async fn give_room(
        &self,
        scope: Scope,
        next: &Loaded<Container>,
        limits: &RealmLimits,
    ) -> Result<bool, Error> {
        let app = self.0;
        if !next.value.state.needs_start() {
            return Ok(false);
        }
        let now = app.now();
        let after = Container { room: true, waits_since: None, ..next.value.clone() };
        let running = i64::from(limits.max_running_containers);
        let bounds = Bounds { running, ..Bounds::NONE };
        let mut writes = store::container::write(Some(next), &after, bounds, now);
        let told = after.busy.keys().take(TOLD).map(|&session| Errand::Dispatch { session });
        // One that no run needs was woken by somebody.
        let woken = after.busy.is_empty().then_some(Errand::Wake { container: after.id });
        for errand in told.chain(woken) {
            writes.push(store::due::put(&app.due(scope.realm(), errand, now)));
        }
        self.faster("container.admit", writes).await
    }

    /// Whether it is being stopped for another: somebody may just have needed it.
    async fn take_room(
        &self,
        scope: Scope,
        idle: &Loaded<Container>,
        bounds: Bounds,
    ) -> Result<bool, Error> {
        let app = self.0;
        if !idle.value.is_idle() {
            return Ok(false);
        }
        let now = app.now();
        let mut after = idle.value.apply(ContainerEvent::Hibernate, now)?;
        after.leaving = true;
        let mut writes = store::container::write(Some(idle), &after, bounds, now);
        let errand = app.due(scope.realm(), Errand::Stop { container: after.id }, now);
        writes.push(store::due::put(&errand));
        self.faster("container.leave", writes).await
    }

    async fn faster(&self, name: &'static str, writes: Vec<store::Write>) -> Result<bool, Error> {
        match self.0.commit_own(name, writes).await {
            Ok(()) => Ok(true),
            Err(Error::Conflict) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Tells that the run a session holds waits for room.
    pub(crate) async fn tell(&self, scope: Scope, id: SessionId) -> Result<(), Error> {
        retry_conflict(self.0, || async {
            let mut turn = Turn::of(self.0, scope, id).await?;
            let Some(active) = turn.session.active.filter(|_| turn.session.held) else {
                return Ok(());
            };
            let run = load_run(self.0, scope, active).await?;
            if run.value.state != RunState::Queued || run.value.reason.is_some() {
                return Ok(());
            }
            let expect = run.expect();
            let mut run = run.value;
            run.reason = Some(Reason::WaitingForCapacity);
            turn.draft(Draft::waiting_for_capacity(run.id));
            turn.keep(run, expect);
            self.0.commit_own("run.wait", turn.into_writes(self.0).await?).await
        })
        .await
    }

    /// Lets the run that a session holds go on, now that its container has room. False where it cannot.
    pub(crate) async fn let_go(&self, scope: Scope, id: SessionId) -> Result<bool, Error> {
        retry_conflict(self.0, || async {
            let app = self.0;
            let mut turn = Turn::of(app, scope, id).await?;
            let (Some(active), true, SessionState::Streaming) =
                (turn.session.active, turn.session.held, turn.session.state)
            else {
                return Ok(true);
            };
            let Some(container) = app.containers().load(scope, turn.place()).await? else {
                return Ok(true);
            };
            if !container.value.has_place() || !container.value.busy.contains_key(&id) {
                return Ok(false);
            }
            let run = load_run(app, scope, active).await?;
            let expect = run.expect();
            // The start it is given to is not to be over by then.
            let still = document::check(&container);
            let container_expect = container.expect();
            turn.with_container(container.value, container_expect);
            let run = turn.promote(run)?;
            turn.keep(run.value, expect);
            let mut writes = turn.into_writes(app).await?;
            if writes.iter().all(|write| write.key() != still.key()) {
                writes.push(still);
            }
            app.commit_own("run.let_go", writes).await?;
            Ok(true)
        })
        .await
    }

    async fn counts(&self, scope: Scope) -> Result<Counts, Error> {
        let found = self.0.table().batch_get(&store::container::counts(scope)).await?;
        Ok(store::container::counts_of(&found))
    }
}
