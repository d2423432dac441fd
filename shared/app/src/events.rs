//! The events of a session: a page of the past, or the past and then the present.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use domain::SessionId;
use domain::event::{Event, SESSION_DELETED};
use futures::stream::{self, BoxStream, StreamExt};
use store::event::Stretch;
use store::{Cursor, Scope};
use wire::Page;
use wire::event::EventView;

use crate::ports::{LiveEvent, Seen};
use crate::{App, Caller, Error};

/// The use cases about events.
#[derive(Clone, Copy, Debug)]
pub struct Events<'a>(&'a App);

impl App {
    /// The use cases about events.
    pub const fn events(&self) -> Events<'_> {
        Events(self)
    }
}

/// One thing a subscriber gets.
#[derive(Clone, Debug)]
pub enum Told {
    /// A durable event: each once, in order, without a gap.
    Event(Arc<Event>),
    /// A piece of what is being said right now.
    Live(Arc<LiveEvent>),
}

/// How many events are read from the table at a time.
const CHUNK: usize = 200;

impl Events<'_> {
    /// A page of the durable past behind `after`, or behind `cursor` where one is given. One read for whether
    /// there is such a session; at the same time one from the beginning on, or two from elsewhere.
    pub async fn list(
        &self,
        caller: &Caller,
        session: SessionId,
        after: u64,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page<EventView>, Error> {
        let after = match cursor {
            None => after,
            Some(text) => Cursor::parse(text)
                .ok()
                .and_then(|cursor| cursor.sk().parse().ok())
                .ok_or(Error::Cursor)?,
        };
        let (there, read) = futures::future::join(
            self.0.sessions().load(caller, session),
            store::event::read(self.0.table(), caller.scope, session, after, false, limit),
        )
        .await;
        there?;
        let Stretch { events, more, .. } = read?;
        let next = events.last().filter(|_| more).map(|last| store::keys::seq(last.seq));
        Ok(Page {
            next_cursor: next.map(|seq| Cursor::behind(seq).to_string()),
            items: events.into_iter().map(EventView).collect(),
        })
    }

    /// The durable past behind `after`, then the present, with no gap and no double. Ends with the session,
    /// when the feed does, or with an error. Reads the session once, then a chunk at a time, then nothing
    /// while the subscriber keeps up.
    pub async fn follow(
        &self,
        caller: &Caller,
        session: SessionId,
        after: u64,
    ) -> Result<BoxStream<'static, Result<Told, Error>>, Error> {
        self.0.sessions().load(caller, session).await?;
        // First the ear, then the past: what is published in between is heard and then skipped.
        let present = self.0.ports.feed.subscribe(caller.realm(), session);
        let follower = Follower {
            app: self.0.clone(),
            scope: caller.scope,
            session,
            last: after,
            whole: false,
            over: false,
            ready: VecDeque::new(),
            behind: true,
            present,
        };
        Ok(stream::try_unfold(follower, Follower::next).boxed())
    }

    /// Ends when the caller's key or realm stops working, within about `every`. Two reads each time.
    pub fn while_allowed(
        &self,
        caller: Caller,
        every: Duration,
    ) -> impl Future<Output = ()> + Send + 'static {
        let app = self.0.clone();
        async move {
            while app.still_works(&caller).await {
                app.ports.clock.wait(every).await;
            }
        }
    }
}

struct Follower {
    app: App,
    scope: Scope,
    session: SessionId,
    last: u64,
    /// Whether a batch is known to end with the last of `ready`, or at `last` where it is empty.
    whole: bool,
    /// Whether the session has told its last event.
    over: bool,
    ready: VecDeque<Event>,
    behind: bool,
    present: BoxStream<'static, Seen>,
}

impl Follower {
    async fn next(mut self) -> Result<Option<(Told, Self)>, Error> {
        loop {
            if self.over {
                return Ok(None);
            }
            if let Some(event) = self.ready.pop_front() {
                self.last = event.seq;
                self.over = event.kind == SESSION_DELETED;
                return Ok(Some((Told::Event(Arc::new(event)), self)));
            }
            if self.behind {
                let Stretch { events, more, whole, .. } = store::event::read(
                    self.app.table(),
                    self.scope,
                    self.session,
                    self.last,
                    self.whole,
                    CHUNK,
                )
                .await?;
                self.ready = events.into();
                (self.behind, self.whole) = (more, whole);
                continue;
            }
            match self.present.next().await {
                None => return Ok(None),
                Some(Seen::Lagged) => self.behind = true,
                Some(Seen::Live(live)) => return Ok(Some((Told::Live(live), self))),
                Some(Seen::Event(event)) if event.seq <= self.last => {}
                Some(Seen::Event(event)) if event.seq == self.last + 1 => {
                    (self.last, self.whole) = (event.seq, false);
                    self.over = event.kind == SESSION_DELETED;
                    return Ok(Some((Told::Event(event), self)));
                }
                // Something was missed: the table has it.
                Some(Seen::Event(_)) => self.behind = true,
            }
        }
    }
}

impl std::fmt::Debug for Follower {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Follower({} after {})", self.session, self.last)
    }
}
